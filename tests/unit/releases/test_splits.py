"""Splits: what may be apart, what must stay together, and that it stays so."""

import numpy as np
import pytest

from lae_tasks.config import ReleaseConfig
from lae_tasks.imagery.georeference import Georeference
from lae_tasks.releases.dataset import Annotation, Annotations, Category, Dataset, ReleaseImage
from lae_tasks.releases.splits import assign, count_splits, neighbours, with_splits

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
NAMES = ("ship", "plane", "kite")


def dataset(scenes: dict[str, tuple[int, ...]], images: int = 4, place=None) -> Dataset:
    """Scenes with so many annotations of each category; all on their first image."""
    made, annotations = [], []
    for scene, counts in scenes.items():
        for part in range(images):
            number = len(made) + 1
            made.append(
                ReleaseImage(
                    number,
                    f"{scene}-{part}",
                    scene,
                    f"raw/{scene}.tif",
                    (part * 10, 0, 10, 10),
                    "key",
                    "sha",
                    place=place(scene).window(part * 10, 0) if place else None,
                )
            )
        first = made[-images].image_id
        for category, count in enumerate(counts, start=1):
            for _ in range(count):
                number = len(annotations) + 1
                box = (0, 0, 5, 5)
                annotations.append(
                    Annotation(
                        *(number, first, f"r{number}", category, NAMES[category - 1]),
                        *(box, "", 25, box, 0.9, "engine:sure"),
                    )
                )
    categories = tuple(Category(number, name) for number, name in enumerate(NAMES, start=1))
    return Dataset(tuple(made), Annotations.of(annotations), categories)


def splits_of(found: Dataset) -> dict[str, str | None]:
    return {image.scene_id: image.split for image in found.images}


def many(count: int, seed: int = 0) -> dict[str, tuple[int, ...]]:
    generator = np.random.default_rng(seed)
    counts = generator.poisson([8, 3, 0.6], size=(count, 3)).tolist()
    return {f"scene-{number:03d}": tuple(each) for number, each in enumerate(counts)}


def test_a_single_scene_is_for_training():
    assert splits_of(with_splits(dataset({"a": (3, 0, 0)}), {}, ReleaseConfig())) == {"a": "train"}


def test_images_and_categories_get_their_shares():
    found = with_splits(dataset(many(200)), {}, ReleaseConfig())
    of_image = {image.image_id: image.split for image in found.images}
    counts = count_splits(found)
    assert {name: counts[name]["scenes"] / 200 for name in SHARES} == pytest.approx(
        SHARES, abs=0.015
    )
    for name in NAMES:
        own = [of_image[each.image_id] for each in found.annotations if each.category == name]
        shares = {split: own.count(split) / len(own) for split in SHARES}
        assert shares == pytest.approx(SHARES, abs=0.03), name


def test_no_scene_is_in_two_splits_and_the_order_does_not_matter():
    scenes = many(40)
    found = with_splits(dataset(scenes), {}, ReleaseConfig())
    for scene in scenes:
        assert len({image.split for image in found.images if image.scene_id == scene}) == 1
    turned = with_splits(dataset(dict(reversed(scenes.items()))), {}, ReleaseConfig())
    assert splits_of(turned) == splits_of(found)


def test_what_was_assigned_stays_whatever_comes():
    scenes = many(60)
    known: dict[str, str | None] = {}
    found = dataset({})
    for upto in (5, 6, 20, 60):
        part = dict(list(scenes.items())[:upto])
        found = with_splits(dataset(part), known, ReleaseConfig())
        now = splits_of(found)
        assert now | known == now
        known = now
    counts = count_splits(found)
    assert {name: counts[name]["images"] / 240 for name in SHARES} == pytest.approx(
        SHARES, abs=0.04
    )


def test_without_shares_everything_is_for_training():
    config = ReleaseConfig(val_share=0, test_share=0)
    assert set(splits_of(with_splits(dataset(many(20)), {}, config)).values()) == {"train"}


def utm(scene: str) -> Georeference:
    """`at-12` lies 12 m east of `at-0`; each scene is 40 m wide."""
    east = int(scene.split("-")[1])
    return Georeference("EPSG:32632", (1.0, 0.0, 500_000.0 + east, 0.0, -1.0, 5_000_000.0))


def test_scenes_on_the_same_ground_are_neighbours_and_those_that_touch_are_not():
    found = neighbours(dataset(dict.fromkeys(("at-0", "at-30", "at-70"), (1,)), place=utm).images)
    assert found == {"at-0": {"at-30"}, "at-30": {"at-0"}}
    assert neighbours(dataset({"a": (1,), "b": (1,)}).images) == {}


def test_the_same_ground_seen_by_another_grid_is_the_same_ground():
    def either(scene: str) -> Georeference:
        if scene == "degrees":
            return Georeference("EPSG:4326", (1e-5, 0.0, 9.0, 0.0, -1e-5, 45.1535))
        return utm("at-0")

    found = neighbours(dataset({"degrees": (1,), "metres": (1,)}, place=either).images)
    assert found == {"degrees": {"metres"}, "metres": {"degrees"}}


def test_scenes_that_hang_together_are_in_one_split():
    scenes = {f"at-{30 * number}": (1, 0, 0) for number in range(12)}
    alone = {f"at-{1000 * number}": (1, 0, 0) for number in range(1, 13)}
    found = splits_of(with_splits(dataset(scenes | alone, place=utm), {}, ReleaseConfig()))
    assert {found[scene] for scene in scenes} == {"train"}
    assert set(found.values()) == set(SHARES)


def test_a_new_scene_joins_the_split_on_its_ground_and_between_two_it_is_in_none():
    split_of = {"at-0": "train", "at-70": "test"}
    new = dataset(dict.fromkeys(("at-0", "at-70", "at-90", "at-35", "at-120"), (1,)), place=utm)
    found = splits_of(with_splits(new, split_of, ReleaseConfig()))
    assert found == split_of | {"at-90": "test", "at-120": "test", "at-35": None}
    assert count_splits(with_splits(new, split_of, ReleaseConfig()))["none"]["scenes"] == 1


def test_what_is_in_no_split_pulls_nobody_in():
    counts = {name: np.ones(1) for name in ("a", "b", "c")}
    near = {"b": {"a", "c"}, "a": {"b"}, "c": {"b"}}
    found = assign(counts, near, {"a": "train", "b": None}, SHARES)
    assert found["b"] is None and found["c"] is not None


def test_what_a_release_before_the_last_said_of_a_scene_holds():
    """A night that ran again may leave a scene out of one version."""
    known = {"a": "test", "gone": "val"}
    found = with_splits(dataset({"a": (1,), "gone": (1,)}), known, ReleaseConfig())
    assert splits_of(found) == known


def test_scenes_that_turn_out_to_share_ground_are_taken_apart():
    """As when a world file comes after the scenes have been assigned."""
    known = {"at-0": "train", "at-30": "test", "at-60": "val", "at-500": "train"}
    found = splits_of(
        with_splits(dataset(dict.fromkeys(known, (1,)), place=utm), known, ReleaseConfig())
    )
    assert found == known | {"at-0": None, "at-60": None}


def across(scene: str) -> Georeference:
    """Near the date line on the equator, each 0.01° wide; named by its western edge in 0.001°."""
    return Georeference("EPSG:4326", (2.5e-4, 0.0, int(scene) / 1000, 0.0, -2.5e-4, 1.0))


def test_ground_at_the_date_line_is_shared_and_the_other_side_of_the_earth_is_not():
    found = neighbours(
        dataset(dict.fromkeys(("179995", "-179997", "0"), (1,)), place=across).images
    )
    assert found == {"179995": {"-179997"}, "-179997": {"179995"}}
