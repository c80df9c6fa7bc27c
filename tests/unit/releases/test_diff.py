import json

import pytest

from lae_tasks.releases.diff import Diff, diff_coco, next_version
from lae_tasks.releases.manifest import CategoryEntry, ReleaseManifest


def coco(*objects, tiles=("t1", "t2"), names=("ship", "plane")):
    """A release's COCO file; each object is region id, name, box, tile, RLE, score, source."""
    return {
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
        "images": [{"id": n, "tile_id": t, "scene_id": "s"} for n, t in enumerate(tiles, start=1)],
        "annotations": [
            {
                "region_id": region_id,
                "category_id": names.index(name) + 1,
                "image_id": tiles.index(tile) + 1,
                "bbox_scene": box,
                "segmentation": {"counts": rle},
                "score": score,
                "source": source,
            }
            for region_id, name, box, tile, rle, score, source in objects
        ],
    }


A = ("a", "ship", [0, 0, 4, 4], "t1", "rle-a", 0.9, "engine:sure")
B = ("b", "plane", [5, 5, 4, 4], "t1", "rle-b", 0.9, "engine:sure")


def changed(entry, **changes):
    keys = ("region_id", "name", "box", "tile", "rle", "score", "source")
    return tuple({**dict(zip(keys, entry, strict=True)), **changes}.values())


def test_nothing_changed():
    assert not any(diff_coco(coco(A, B), coco(A, B)).counts().values())


def test_added_and_removed():
    diff = diff_coco(coco(A), coco(B))
    assert diff.added == [{"region_id": "b", "category": "plane", "bbox_scene": [5, 5, 4, 4]}]
    assert diff.removed == [{"region_id": "a", "category": "ship", "bbox_scene": [0, 0, 4, 4]}]
    assert diff.by_category() == {"plane": {"added": 1}, "ship": {"removed": 1}}


def test_relabelled():
    diff = diff_coco(coco(A), coco(changed(A, name="plane", score=1.0, source="steward")))
    assert diff.relabelled == [{"region_id": "a", "from": "ship", "to": "plane"}]
    assert diff.by_category() == {"plane": {"relabelled_to": 1}, "ship": {"relabelled_from": 1}}
    assert sum(diff.counts().values()) == 1


@pytest.mark.parametrize("change", [{"box": [0, 0, 5, 4]}, {"rle": "other"}])
def test_moved(change):
    diff = diff_coco(coco(A), coco(changed(A, **change, score=1.0, source="steward")))
    assert [entry["region_id"] for entry in diff.moved] == ["a"]
    assert sum(diff.counts().values()) == 1


def test_moved_on_the_second_of_two_tiles():
    part = changed(A, tile="t2", rle="rle-2")
    diff = diff_coco(coco(A, part), coco(A, changed(part, rle="other")))
    assert [entry["region_id"] for entry in diff.moved] == ["a"]


def test_rescored():
    diff = diff_coco(coco(A), coco(changed(A, score=1.0, source="steward")))
    assert [entry["region_id"] for entry in diff.rescored] == ["a"]
    assert sum(diff.counts().values()) == 1


def test_other_tiles_alone_move_nothing():
    diff = diff_coco(coco(A, tiles=("t1",)), coco(changed(A, tile="t9"), tiles=("t9",)))
    assert diff.images_added == ["t9"] and diff.images_removed == ["t1"]
    assert not diff.moved and not diff.scenes_added


def test_the_file_says_what_changed():
    diff = diff_coco(coco(A), coco(A, B))
    told = json.loads(diff.encode("v1.0.0"))
    assert told["parent"] == "v1.0.0" and told["counts"]["added"] == 1
    assert told["added"][0]["region_id"] == "b"


def parent(version="v1.4.2", schema_version=1):
    return ReleaseManifest(
        version=version,
        digest="d",
        schema_version=schema_version,
        dataset="lae",
        title="",
        licence="",
        parent=None,
        created_at="",
        reason="",
        counts={},
        left_out={},
        categories=(CategoryEntry(category_id=1, name="ship", objects=0, annotations=0),),
        next_category_id=2,
        vocabulary=(),
        nights=(),
        config_sha256={},
        model_revisions={},
        diff={},
        validation_key="",
        files=(),
    )


@pytest.mark.parametrize(
    ("diff", "version", "word"),
    [
        (Diff(added=[{}, {}]), "v1.4.3", "2 objects added"),
        (Diff(relabelled=[{}], moved=[{}]), "v1.4.3", "1 relabelled, 1 moved"),
        (Diff(rescored=[{}]), "v1.4.3", "score"),
        (Diff(), "v1.4.3", "metadata"),
        (Diff(images_added=["t"], added=[{}]), "v1.5.0", "1 image more"),
        (Diff(scenes_removed=["s"], images_removed=["t"]), "v1.5.0", "1 scene less"),
        (Diff(categories_added=["barn"]), "v1.5.0", "1 category more"),
        (Diff(categories_removed=["ship"], images_added=["t"]), "v2.0.0", "without ship"),
    ],
)
def test_the_version_follows_from_the_change(diff, version, word):
    found, reason = next_version(parent(), diff, ["v1.0.0", "v1.4.2"])
    assert found == version
    assert word in reason


def test_first_version():
    assert next_version(None, Diff(added=[{}]), [])[0] == "v1.0.0"


def test_another_schema_is_major():
    assert next_version(parent(schema_version=0), Diff(), [])[0] == "v2.0.0"


def test_the_number_is_above_all_that_are_published():
    assert next_version(parent("v1.4.2"), Diff(), ["v1.4.2", "v1.10.0"])[0] == "v1.10.1"
