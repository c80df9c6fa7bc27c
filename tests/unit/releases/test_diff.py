"""What changed between two releases."""

import io
import json
from dataclasses import replace

import pytest

from lae_tasks.releases.dataset import Annotation, Annotations, Category, Dataset, ReleaseImage
from lae_tasks.releases.diff import diff_datasets

NAMES = ("ship", "plane")


def image(number: int, tile: str, scene: str = "s") -> ReleaseImage:
    return ReleaseImage(number, tile, scene, f"raw/{scene}", (0, 0, 9, 9), f"images/{tile}", "sha")


def release(*objects, tiles=("t1", "t2"), names=NAMES) -> Dataset:
    """A release; each object is region id, name, box in the scene, tile, RLE, score, source."""
    annotations = [
        Annotation(
            annotation_id=number,
            image_id=tiles.index(tile) + 1,
            region_id=region_id,
            category_id=names.index(name) + 1,
            category=name,
            bbox_xyxy_px=box,
            mask_rle=rle,
            area_px=1,
            bbox_scene_xyxy_px=box,
            score=score,
            source=source,
        )
        for number, (region_id, name, box, tile, rle, score, source) in enumerate(objects, start=1)
    ]
    return Dataset(
        images=tuple(image(number, tile) for number, tile in enumerate(tiles, start=1)),
        annotations=Annotations.of(sorted(annotations, key=lambda each: each.image_id)),
        categories=tuple(Category(number, name) for number, name in enumerate(names, start=1)),
    )


A = ("a", "ship", (0, 0, 4, 4), "t1", "rle-a", 0.9, "engine:sure")
B = ("b", "plane", (5, 5, 9, 9), "t1", "rle-b", 0.9, "engine:sure")


def changed(entry, **changes):
    keys = ("region_id", "name", "box", "tile", "rle", "score", "source")
    return tuple({**dict(zip(keys, entry, strict=True)), **changes}.values())


def test_nothing_changed():
    assert not any(diff_datasets(release(A, B), release(A, B)).counts().values())


def test_before_the_first_there_is_nothing():
    diff = diff_datasets(None, release(A, B))
    assert not diff.added, "all of them: nobody has to be told"
    assert (diff.images_added, diff.scenes_added) == (["t1", "t2"], ["s"])
    assert diff.categories_added == ["plane", "ship"]


def test_added_and_removed_with_their_cause():
    diff = diff_datasets(release(A), release(B), lambda key, is_in: f"{key} {is_in}")
    box = [5, 5, 4, 4]
    added = {"region_id": "b", "category": "plane", "bbox_scene": box, "cause": "b True"}
    assert list(diff.added) == [added]
    (removed,) = diff.removed
    assert (removed["region_id"], removed["cause"]) == ("a", "a False")
    assert diff.by_category() == {"plane": {"added": 1}, "ship": {"removed": 1}}


def test_relabelled():
    diff = diff_datasets(release(A), release(changed(A, name="plane", score=1.0, source="steward")))
    (entry,) = diff.relabelled
    assert (entry["region_id"], entry["from"], entry["to"]) == ("a", "ship", "plane")
    assert diff.by_category() == {"plane": {"relabelled_to": 1}, "ship": {"relabelled_from": 1}}
    assert sum(diff.counts().values()) == 1


def test_any_name_is_told_as_it_is():
    names = ('9 "inch" tank', "Fähre\\")
    a, b = (changed(A, name=name, source="steward") for name in names)
    diff = diff_datasets(release(a, names=names), release(b, names=names))
    (entry,) = diff.relabelled
    assert (entry["from"], entry["to"]) == names
    assert diff.by_category() == {
        names[0]: {"relabelled_from": 1},
        names[1]: {"relabelled_to": 1},
    }


@pytest.mark.parametrize("change", [{"box": (0, 0, 5, 4)}, {"rle": "other"}])
def test_moved(change):
    diff = diff_datasets(release(A), release(changed(A, **change, score=1.0, source="steward")))
    assert [entry["region_id"] for entry in diff.moved] == ["a"]
    assert diff.moved.first(1)[0]["from"] == [0, 0, 4, 4]
    assert sum(diff.counts().values()) == 1


def test_moved_on_the_second_of_two_tiles():
    part = changed(A, tile="t2", rle="rle-2")
    diff = diff_datasets(release(A, part), release(A, changed(part, rle="other")))
    assert [entry["region_id"] for entry in diff.moved] == ["a"]


def test_rescored():
    diff = diff_datasets(release(A), release(changed(A, score=1.0, source="steward")))
    (entry,) = diff.rescored
    assert (entry["from"], entry["to"]) == ([0.9, "engine:sure"], [1.0, "steward"])
    assert sum(diff.counts().values()) == 1


def test_other_tiles_alone_move_nothing():
    diff = diff_datasets(release(A, tiles=("t1",)), release(changed(A, tile="t9"), tiles=("t9",)))
    assert diff.images_added == ["t9"] and diff.images_removed == ["t1"]
    assert not diff.moved and not diff.scenes_added


def test_a_tile_that_has_another_number_is_the_same_tile():
    diff = diff_datasets(release(A, tiles=("t1",)), release(A, tiles=("t0", "t1")))
    assert diff.counts() | {"images_added": 0} == dict.fromkeys(diff.counts(), 0)


def test_other_pixels_of_the_same_window_are_another_image():
    old, new = release(A), release(A)
    images = (replace(new.images[0], sha256="another"), *new.images[1:])
    diff = diff_datasets(old, replace(new, images=images))
    assert diff.images_changed == ["t1"] and sum(diff.counts().values()) == 1


def test_the_diff_is_json_with_its_counts():
    file = io.StringIO()
    diff_datasets(release(A), release(A, B)).write(file, {"parent": "v1.0.0"})
    told = json.loads(file.getvalue())
    assert (told["parent"], told["counts"]["added"]) == ("v1.0.0", 1)
    assert told["by_category"] == {"plane": {"added": 1}}
    assert [each["region_id"] for each in told["added"]] == ["b"] and told["moved"] == []


def test_of_many_only_what_differs_is_told():
    many = release(*(changed(A, region_id=f"r{n}") for n in range(3000)))
    one = changed(A, region_id="r7", name="plane")
    other = release(*(changed(A, region_id=f"r{n}") for n in range(3000) if n != 7), one)
    diff = diff_datasets(many, replace(other, left_out={}))
    assert diff.counts()["relabelled"] == sum(diff.counts().values()) == 1
