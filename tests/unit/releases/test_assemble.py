import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from lae_tasks.contracts import Outcome, ReviewItem, VerdictAction
from lae_tasks.geometry import decode_mask, encode_mask, mask_in_window, tile_windows
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.releases.assemble import adjusted_mask, assemble
from lae_tasks.releases.dataset import Category
from tests.records import make_region, make_tile
from tests.release_world import coco_of
from tests.unit.regions.test_duplicates import moored


def objects_of(dataset):
    return {each.region_id: each for each in dataset.annotations}


def decode(annotation, image):
    rle = {"size": [image.height_px, image.width_px], "counts": annotation.mask_rle}
    return coco_mask.decode(rle).astype(bool)


def test_every_tile_is_an_image_in_reading_order(world):
    dataset = assemble(world.state, world.config)
    assert [image.image_id for image in dataset.images] == [*range(1, 5)]
    assert [image.window_px[:2] for image in dataset.images] == [
        (0, 0),
        (192, 0),
        (0, 192),
        (192, 192),
    ]
    assert [a.annotation_id for a in dataset.annotations] == [
        *range(1, len(dataset.annotations) + 1)
    ]


def test_masks_are_those_of_the_regions_cut_to_each_tile(world):
    dataset = assemble(world.state, world.config)
    images = {image.image_id: image for image in dataset.images}
    for annotation in dataset.annotations:
        region = world.state.regions[annotation.region_id]
        image = images[annotation.image_id]
        whole = decode_mask(region.mask_rle, region.bbox_xyxy_px)
        expected = mask_in_window(whole, region.bbox_xyxy_px, image.window_px)
        found = decode(annotation, image)
        assert (found == expected).all()
        assert annotation.area_px == found.sum()
        rows, columns = np.nonzero(found)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert annotation.bbox_xyxy_px == tuple(int(edge) for edge in box)
        assert annotation.bbox_scene_xyxy_px == region.bbox_xyxy_px


def test_an_object_is_on_each_tile_that_shows_half_of_it(world):
    dataset = assemble(world.state, world.config)
    on = {(a.region_id, a.image_id) for a in dataset.annotations}
    several = 0
    for region_id, region in world.state.regions.items():
        whole = decode_mask(region.mask_rle, region.bbox_xyxy_px)
        shares = {
            image.image_id: mask_in_window(whole, region.bbox_xyxy_px, image.window_px).sum()
            / whole.sum()
            for image in dataset.images
        }
        for image_id, share in shares.items():
            enough = share >= 0.5 or share == max(shares.values())
            assert ((region_id, image_id) in on) == enough
        several += sum(share >= 0.5 for share in shares.values()) > 1
    assert several, "the scene must have an object on two tiles"


def test_what_lies_on_the_ground_has_area_and_place(world):
    region_id = world.region_ids()[0]
    region = world.state.regions[region_id]
    # Half a metre to the pixel, from 9° east in UTM zone 32.
    transform = (0.5, 0.0, 500_000.0, 0.0, -0.5, 5_400_000.0)
    world.place(crs="EPSG:32632", transform=transform)
    dataset = assemble(world.state, world.config)
    for annotation in dataset.annotations:
        if annotation.region_id == region_id:
            assert annotation.area_m2 == pytest.approx(region.area_px / 4)
            assert annotation.lon_lat == pytest.approx((9.0, 48.75), abs=0.01)
    for image in dataset.images:
        x, y = image.window_px[:2]
        assert image.place.transform[2] == 500_000 + x / 2
        assert image.place.transform[5] == 5_400_000 - y / 2
    told = coco_of(dataset, world.config.release)
    assert all(entry["crs"] == "EPSG:32632" for entry in told["images"])
    assert all(entry["area_m2"] > 0 and len(entry["lon_lat"]) == 2 for entry in told["annotations"])


def test_an_object_larger_than_any_tile_is_on_all_that_show_as_much_as_they_can(world):
    scene_id = next(iter(world.state.tiles.values())).scene_id
    template = next(iter(world.state.regions.values()))
    verdict = world.judge("drawn", VerdictAction.ADD, category="lake", bbox=(0, 0, 448, 448))
    assert verdict.scene_id == scene_id == template.scene_id
    shown = [a for a in assemble(world.state, world.config).annotations if a.category == "lake"]
    assert [(a.image_id, a.area_px) for a in shown] == [(n, 256 * 256) for n in (1, 2, 3, 4)]


def test_a_part_that_a_steward_moves_keeps_what_lies_beyond_the_tile(world):
    region_id = world.region_ids()[0]
    tile = next(iter(world.state.tiles.values()))
    x, y, width, _ = tile.window_px
    bbox = (x + width - 60, y + 10, x + width + 40, y + 50)
    region = make_region(region_id=region_id, tile_id=tile.tile_id, bbox_xyxy_px=bbox)
    region = region.model_copy(update={"scene_id": tile.scene_id})
    world.state.regions[region_id] = region
    seen = (bbox[0], bbox[1], x + width, bbox[3])
    item = ReviewItem(
        region_id=region_id,
        task_key="task",
        tile_id=tile.tile_id,
        scene_id=tile.scene_id,
        window_px=tile.window_px,
        category="ship",
        bbox_xyxy_px=seen,
    )
    world.state.review_items[item.record_id] = item
    moved = (seen[0], seen[1] + 2, seen[2], seen[3])
    world.judge(region_id, VerdictAction.ADJUST, bbox=moved)
    boxes = {
        a.region_id: a.bbox_scene_xyxy_px for a in assemble(world.state, world.config).annotations
    }
    assert boxes[region_id] == (bbox[0], bbox[1] + 2, bbox[2], bbox[3])


def test_imported_neighbours_stay_beside_a_stewards_object(world):
    first, second = world.region_ids()[:2]
    for number, region_id in enumerate((first, second)):
        old = world.state.regions[region_id]
        x0, y0, x1, y1 = world.state.regions[first].bbox_xyxy_px
        values = {"bbox_xyxy_px": (x0, y0 + number, x1, y1), "scene_id": old.scene_id}
        region = make_region(region_id=region_id, tile_id=old.tile_id, **values)
        world.state.regions[region_id] = region
        change = {"rule": "imported", "category": "ship"}
        decision = world.state.decisions[region_id].model_copy(update=change)
        world.state.decisions[region_id] = decision
    world.judge(first, VerdictAction.ACCEPT)
    assert {first, second} <= set(objects_of(assemble(world.state, world.config)))


def test_what_waits_or_was_rejected_is_out_and_counted(world):
    first, second, third = world.region_ids()[:3]
    world.decide(first, Outcome.REVIEW, "ship")
    world.decide(second, Outcome.REJECT, None)
    world.judge(third, VerdictAction.REJECT)
    dataset = assemble(world.state, world.config)
    assert not {first, second, third} & objects_of(dataset).keys()
    assert dataset.left_out == {
        "rejected by a rule": 1,
        "rejected by a steward": 1,
        "waiting for a steward": 1,
    }


def test_a_verdict_outranks_the_engine(world):
    accepted, relabelled, reviewed = world.region_ids()[:3]
    world.decide(reviewed, Outcome.REVIEW, "ship")
    before = objects_of(assemble(world.state, world.config))
    world.judge(accepted, VerdictAction.ACCEPT)
    world.judge(relabelled, VerdictAction.RELABEL, category="greenhouse")
    world.judge(reviewed, VerdictAction.ACCEPT)
    after = objects_of(assemble(world.state, world.config))
    assert (after[accepted].source, after[accepted].score) == ("steward", 1.0)
    assert after[accepted].category == before[accepted].category
    assert after[relabelled].category == "greenhouse"
    assert after[relabelled].mask_rle == before[relabelled].mask_rle
    assert after[reviewed].category == "ship"
    untouched = world.region_ids()[3]
    assert (after[untouched].source, after[untouched].score) == ("engine:sure", 0.95)


def test_a_drawn_object_is_a_rectangle(world):
    world.judge("drawn", VerdictAction.ADD, category="ship", bbox=(10, 20, 50, 40))
    added = objects_of(assemble(world.state, world.config))["drawn"]
    assert added.bbox_xyxy_px == (10, 20, 50, 40)
    assert (added.area_px, added.score, added.source) == (800, 1.0, "steward")


def test_what_a_steward_relabels_leaves_no_twin_of_the_engine(world):
    region_id = world.region_ids()[0]
    twin = world.state.regions[region_id].model_copy(update={"region_id": "twin"})
    world.state.regions["twin"] = twin
    world.decide("twin", Outcome.ACCEPT, "greenhouse")
    assert {region_id, "twin"} <= objects_of(assemble(world.state, world.config)).keys()
    world.judge(region_id, VerdictAction.RELABEL, category="greenhouse")
    dataset = assemble(world.state, world.config)
    assert "twin" not in objects_of(dataset)
    assert objects_of(dataset)[region_id].category == "greenhouse"
    assert dataset.left_out == {"duplicate of a steward's object": 1}


def by_masks(config):
    route = config.route.model_copy(update={"nms_measure": "mask_containment"})
    return config.model_copy(update={"route": route})


def test_neighbours_of_a_stewards_object_stay_by_their_masks(world):
    template = world.state.regions[world.region_ids()[0]]
    for number, (box, mask) in enumerate(zip(*moored(), strict=True)):
        shape = {"bbox_xyxy_px": box, "mask_rle": encode_mask(mask), "area_px": int(mask.sum())}
        region = template.model_copy(update={"region_id": f"moored-{number}", **shape})
        world.state.regions[region.region_id] = region
        world.decide(region.region_id, Outcome.ACCEPT, "barge")
    world.judge("moored-2", VerdictAction.ACCEPT)
    config = world.config
    for settings, left_out in ((config, 2), (by_masks(config), 0)):
        found = assemble(world.state, settings).left_out
        assert found.get("duplicate of a steward's object", 0) == left_out


def test_what_a_steward_drew_a_box_around_is_compared_by_its_box(world):
    region_id = world.region_ids()[0]
    x0, y0, x1, y1 = world.state.regions[region_id].bbox_xyxy_px
    mask = np.eye(y1 - y0, x1 - x0, dtype=bool)  # of its box, hardly anything
    shape = {"mask_rle": encode_mask(mask), "area_px": int(mask.sum())}
    world.state.regions[region_id] = world.state.regions[region_id].model_copy(update=shape)
    world.decide(region_id, Outcome.ACCEPT, "barge")
    world.judge("drawn", VerdictAction.ADD, category="barge", bbox=(x0, y0, x1 - 1, y1))
    route = world.config.route.model_copy(update={"nms_measure": "mask_iou"})
    config = world.config.model_copy(update={"route": route})
    assert region_id not in objects_of(assemble(world.state, config))
    assert region_id not in objects_of(assemble(world.state, by_masks(config)))


def test_a_steward_who_draws_the_same_thing_on_two_tiles_adds_it_once(world):
    world.judge("a", VerdictAction.ADD, category="lake", bbox=(200, 20, 240, 40))
    world.judge("b", VerdictAction.ADD, category="lake", bbox=(201, 20, 240, 41))
    dataset = assemble(world.state, world.config)
    assert {a.region_id for a in dataset.annotations if a.category == "lake"} == {"a"}


def test_two_neighbours_that_a_steward_draws_are_two(world):
    world.judge("left", VerdictAction.ADD, category="ship", bbox=(300, 10, 340, 50))
    world.judge("right", VerdictAction.ADD, category="ship", bbox=(312, 10, 352, 50))
    assert {"left", "right"} <= objects_of(assemble(world.state, world.config)).keys()


def test_a_vocabulary_that_is_respelled_renames_what_was_said_before(world):
    engines, stewards, free = world.region_ids()[:3]
    for region_id in (engines, stewards):
        world.decide(region_id, Outcome.ACCEPT, "tennis court")
    world.decide(free, Outcome.ACCEPT, "one-way road")
    world.judge(stewards, VerdictAction.ACCEPT)
    world.judge(free, VerdictAction.ACCEPT)
    config = world.config.model_copy(
        update={"vocabulary": Vocabulary.model_validate(["Tennis-Court"])}
    )
    found = objects_of(assemble(world.state, config))
    assert {found[engines].category, found[stewards].category} == {"Tennis-Court"}
    assert found[free].category == "one-way road"


def test_a_part_that_a_steward_left_stays_beside_its_whole(world):
    world.judge("whole", VerdictAction.ADD, category="lake", bbox=(200, 20, 240, 40))
    world.judge("part", VerdictAction.ADD, category="lake", bbox=(200, 20, 215, 40))
    annotated = objects_of(assemble(world.state, world.config))
    assert {"whole", "part"} <= annotated.keys()


def test_an_adjusted_box_cuts_the_mask(world):
    region_id = next(r for r in world.region_ids() if len(world.tiles_of(r)) == 1)
    region = world.state.regions[region_id]
    x0, y0, x1, y1 = region.bbox_xyxy_px
    box = (x0 + 3, y0 + 2, x1, y1)
    world.judge(region_id, VerdictAction.ADJUST, bbox=box)
    adjusted = objects_of(assemble(world.state, world.config))[region_id]
    assert adjusted.bbox_scene_xyxy_px == box
    cut = decode_mask(region.mask_rle, region.bbox_xyxy_px)[2:, 3:]
    assert adjusted.area_px == cut.sum()


@pytest.mark.parametrize(
    ("box", "area"),
    [
        ((0, 0, 10, 10), 60),  # the mask fills 0.6 of its own box
        ((0, 0, 10, 20), 60),  # 0.3 of this: just half as well
        ((0, 0, 10, 21), 210),  # less: the box as a rectangle
        ((0, 0, 5, 10), 30),  # half of its pixels
        ((0, 0, 4, 10), 40),  # fewer: the box
    ],
)
def test_a_mask_that_no_longer_fits_gives_way_to_the_box(box, area):
    mask = np.zeros((10, 10), dtype=np.uint8, order="F")
    mask[:6] = 1
    rle = coco_mask.encode(mask)["counts"].decode()
    region = make_region(bbox_xyxy_px=(0, 0, 10, 10), mask_rle=rle, area_px=60)
    assert adjusted_mask(region, box).sum() == area


def test_a_verdict_on_a_region_that_is_gone_is_counted(world):
    world.judge("gone", VerdictAction.RELABEL, category="ship")
    dataset = assemble(world.state, world.config)
    assert "gone" not in objects_of(dataset)
    assert dataset.left_out == {"verdict on a region that is gone": 1}


def test_categories_are_the_vocabulary_then_other_names_sorted(world):
    first, second = world.region_ids()[:2]
    world.judge(first, VerdictAction.RELABEL, category="windmill")
    world.judge(second, VerdictAction.RELABEL, category="greenhouse")
    config = world.config
    categories = assemble(world.state, config).categories
    names = [*config.vocabulary.names, "greenhouse", "windmill"]
    assert categories == tuple(Category(n, name) for n, name in enumerate(names, start=1))


def test_a_category_knows_the_wider_one_that_it_belongs_to(world):
    vocabulary = Vocabulary.model_validate(["craft", {"name": "ship", "parent": "craft"}])
    config = world.config.model_copy(update={"vocabulary": vocabulary})
    dataset = assemble(world.state, config)
    assert [(c.name, c.parent) for c in dataset.categories][:2] == [
        ("craft", ""),
        ("ship", "craft"),
    ]
    told = coco_of(dataset, config.release)
    assert [c["supercategory"] for c in told["categories"]][:2] == ["", "craft"]


def test_an_object_as_large_as_its_scene_is_never_drawn(world):
    side = 6000
    sea = np.ones((side, side), dtype=bool)
    sea[1000:1010, 1000:1010] = False
    region = make_region(
        bbox_xyxy_px=(0, 0, side, side), mask_rle=encode_mask(sea), area_px=int(sea.sum())
    )
    world.state.regions[region.region_id] = region
    world.decide(region.region_id, Outcome.ACCEPT, "ship")
    for window in tile_windows(side, side, 500, 100):
        tile = make_tile(window)
        world.state.tiles[tile.tile_id] = tile
    del sea
    tracemalloc.start()
    dataset = assemble(world.state, world.config)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    on = [each for each in dataset.annotations if each.region_id == region.region_id]
    # Windows of 500 px, 400 apart: of those that begin at 800 and 1000, two by two show the hole.
    assert sorted({each.area_px for each in on}) == [500**2 - 100, 500**2]
    assert len(on) == 15**2
    assert peak < side**2 / 2, "bytes"
