"""The version number that a change deserves."""

import pyarrow as pa
import pytest

from lae_tasks.releases.diff import Changes, Diff
from lae_tasks.releases.manifest import CategoryEntry, ReleaseManifest
from lae_tasks.releases.numbering import next_version

NAMES = ("ship", "plane")


def objects(count: int) -> Changes:
    return Changes(pa.table({"region_id": [str(number) for number in range(count)]}))


def manifest(version="v1.2.3", **changes) -> ReleaseManifest:
    values = {
        "version": version,
        "digest": "d",
        "dataset": "lae",
        "title": "",
        "licence": "",
        "parent": None,
        "created_at": "2026-11-01T00:00:00+00:00",
        "reason": "",
        "counts": {},
        "left_out": {},
        "categories": (CategoryEntry(category_id=1, name="ship", objects=1, annotations=1),),
        "next_category_id": 2,
        "vocabulary": NAMES,
        "nights": (),
        "config_sha256": {},
        "model_revisions": {},
        "formats": ("coco",),
        "diff": {},
        "validation_key": "",
        "files": (),
    }
    return ReleaseManifest.model_validate(values | changes)


def version(diff, parent=None, published=(), vocabulary=NAMES, formats=("coco",)):
    return next_version(parent or manifest(), diff, published, vocabulary, formats)


def test_the_first_version():
    assert next_version(None, Diff(), (), (), ())[0] == "v1.0.0"


@pytest.mark.parametrize(
    ("diff", "expected", "reason"),
    [
        (Diff(categories_removed=["kite"]), "v2.0.0", "major: without kite"),
        (Diff(categories_added=["kite"]), "v1.3.0", "minor: 1 category more"),
        (Diff(scenes_added=["s"], images_added=["t", "u"]), "v1.3.0", "minor: 1 scene more, 2"),
        (Diff(images_removed=["t"]), "v1.3.0", "minor: 1 image less"),
        (Diff(images_changed=["t"]), "v1.3.0", "minor: 1 image with other pixels"),
        (Diff(removed=objects(1), moved=objects(2)), "v1.2.4", "patch: 1 removed, 2 moved"),
        (Diff(), "v1.2.4", "patch: other metadata"),
    ],
)
def test_what_changed_makes_the_version(diff, expected, reason):
    found = version(diff)
    assert found[0] == expected and found[1].startswith(reason)


def test_another_vocabulary_or_schema_is_major():
    assert version(Diff(), vocabulary=(*NAMES, "kite")) == (
        "v2.0.0",
        "major: vocabulary with kite",
    )
    assert version(Diff(), vocabulary=("ship",))[1] == "major: vocabulary without plane"
    assert version(Diff(), vocabulary=NAMES[::-1])[1] == "major: vocabulary in another order"
    old = manifest().model_copy(update={"schema_version": 1})
    assert version(Diff(), parent=old) == ("v2.0.0", "major: schema 1 -> 2")


def test_another_format_is_a_patch():
    assert version(Diff(), formats=("coco", "yolo"))[1] == "patch: written in coco, yolo"


def test_a_version_is_above_all_that_were_published():
    assert version(Diff(), published=("v1.0.0", "v3.4.5"))[0] == "v3.4.6"
