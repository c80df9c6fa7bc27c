import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from rich.console import Console

from lae_tasks.errors import ContractError
from lae_tasks.evaluate import as_tables, evaluate, notes
from lae_tasks.releases.assemble import assemble
from lae_tasks.storage import open_storage
from tests.release_world import SCENE_PX, World, coco_of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(open_storage(str(tmp_path_factory.mktemp("store"))))
    world.add_scene(3)
    return world


@pytest.fixture
def truth(world):
    """The scene's own truth, numbered from 0 as some tools do."""
    names = list(world.config.vocabulary.names)
    annotations = []
    for number, (region_id, region) in enumerate(world.state.regions.items()):
        x0, y0, x1, y1 = region.bbox_xyxy_px
        size = [y1 - y0, x1 - x0]
        rle = {"size": size, "counts": region.mask_rle}
        mask = coco_mask.decode(rle).astype(bool)
        full = np.zeros((SCENE_PX, SCENE_PX), dtype=np.uint8, order="F")
        full[y0:y1, x0:x1] = mask
        category = names.index(world.state.decisions[region_id].category)
        counts = coco_mask.encode(full)["counts"].decode()
        annotations.append(
            {
                "id": number,
                "image_id": 7,
                "category_id": category,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": region.area_px,
                "segmentation": {"size": [SCENE_PX, SCENE_PX], "counts": counts},
                "iscrowd": 0,
            }
        )
    image = {"id": 7, "file_name": "scene-003.tif", "width": SCENE_PX, "height": SCENE_PX}
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    return {"images": [image], "annotations": annotations, "categories": categories}


@pytest.fixture
def release(world):
    dataset = assemble(world.state, world.config)
    return coco_of(dataset, world.config.release)


@pytest.fixture
def compare(tmp_path):
    def write_and_compare(predicted, truth):
        for name, values in (("p.json", predicted), ("t.json", truth)):
            (tmp_path / name).write_text(json.dumps(values))
        return evaluate(tmp_path / "p.json", tmp_path / "t.json")

    return write_and_compare


def test_a_release_of_the_truth_is_perfect_in_the_scenes_frame(release, truth, compare, capsys):
    """Objects that tile borders cut are whole again, those on several tiles count once."""
    assert len(release["annotations"]) > len(truth["annotations"])
    found = compare(release, truth)
    for scores in (found.bbox, found.segm):
        assert scores.figures == {"AP": 1.0, "AP50": 1.0, "AP75": 1.0, "AR": 1.0}
        assert scores.overall.hits == len(truth["annotations"])
        assert scores.overall.false == scores.overall.missed == 0
    assert (found.images, found.images_unknown, found.images_without_prediction) == (1, 0, 0)
    assert capsys.readouterr().out == ""


def test_a_wrong_name_is_a_false_one_and_a_miss(release, truth, compare):
    region_id = release["annotations"][0]["region_id"]
    was = release["annotations"][0]["category_id"]
    other = next(c["id"] for c in release["categories"] if c["id"] != was)
    for entry in release["annotations"]:
        if entry["region_id"] == region_id:
            entry["category_id"] = other
    scores = compare(release, truth).segm
    names = {c["id"]: c["name"] for c in release["categories"]}
    assert (scores.overall.false, scores.overall.missed) == (1, 1)
    assert scores.by_category[names[other]].false == 1
    assert scores.by_category[names[was]].missed == 1
    assert scores.any_name.false == scores.any_name.missed == 0


def test_a_missing_object_costs_recall_only(release, truth, compare):
    region_id = release["annotations"][0]["region_id"]
    release["annotations"] = [a for a in release["annotations"] if a["region_id"] != region_id]
    overall = compare(release, truth).bbox.overall
    n = len(truth["annotations"])
    assert (overall.precision, overall.recall) == (1.0, pytest.approx((n - 1) / n))


def test_nothing_predicted(release, truth, compare):
    release["annotations"] = []
    scores = compare(release, truth).bbox
    assert (scores.overall.precision, scores.overall.recall) == (None, 0.0)
    assert scores.figures["AP"] == 0.0


def test_truth_with_boxes_only(release, truth, compare):
    for entry in truth["annotations"]:
        del entry["segmentation"], entry["area"], entry["iscrowd"]
    found = compare(release, truth)
    assert found.segm is None
    assert found.bbox.figures["AP"] == 1.0


def test_truth_against_itself(truth, compare):
    found = compare(truth, truth)
    assert found.segm.figures["AP"] == 1.0


def test_names_match_whatever_their_case(release, truth, compare):
    for category in truth["categories"]:
        category["name"] = category["name"].title()
    assert compare(release, truth).bbox.figures["AP"] == 1.0


def test_images_that_one_side_lacks_are_counted_not_scored(release, truth, compare):
    truth["images"].append({"id": 8, "file_name": "other.tif", "width": 9, "height": 9})
    truth["annotations"].append({"id": 99, "image_id": 8, "category_id": 0, "bbox": [0, 0, 5, 5]})
    stray = {**release["images"][0], "id": 50, "scene_key": "elsewhere.tif"}
    release["images"].append(stray)
    found = compare(release, truth)
    assert (found.images, found.images_unknown, found.images_without_prediction) == (1, 1, 1)
    assert found.segm.overall.missed == 0


def test_no_image_in_common(release, truth, compare):
    truth["images"][0]["file_name"] = "other.tif"
    with pytest.raises(ContractError, match=r"no image in common.*harbour/scene-003\.tif"):
        compare(release, truth)


def test_files_that_are_no_coco(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(ContractError, match="No such file"):
        evaluate(path, path)
    path.write_text("{")
    with pytest.raises(ContractError, match="not JSON"):
        evaluate(path, path)
    path.write_text('{"images": []}')
    with pytest.raises(ContractError, match="no annotations, categories"):
        evaluate(path, path)


def test_the_table_and_the_json(release, truth, compare):
    found = compare(release, truth)
    told = json.loads(json.dumps(found.as_dict()))
    assert told["segm"]["overall"]["precision"] == 1.0
    out = io.StringIO()
    Console(file=out, width=120).print(*as_tables(found), *notes(found), sep="\n")
    for word in ("(any name)", "AP50", "1.000", "masks at IoU 0.5", "1 images of the truth"):
        assert word in out.getvalue()


def test_swapped_files_are_told(release, truth, tmp_path):
    paths = tmp_path / "release.json", tmp_path / "truth.json"
    for path, content in zip(paths, (release, truth), strict=True):
        path.write_text(json.dumps(content))
    with pytest.raises(ContractError, match="are the two swapped"):
        evaluate(paths[1], paths[0])
