"""The Croissant description: mlcroissant takes it without a fault, and reads the records by it."""

import json
import socket

import mlcroissant as mlc
import pytest

from lae_tasks.formats import croissant
from lae_tasks.releases.reading import read_dataset

pytestmark = [
    # rdflib, as its own JSON-LD parser uses it
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
    # mlcroissant 1.1.1 with pandas 3
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index"),
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(self, address):
        raise AssertionError(f"tried to reach {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def described(published):
    """What `mlcroissant validate` makes of the file: it raises on errors."""
    return mlc.Dataset(jsonld=str(published.folder / croissant.PATH))


def records(described, name):
    return [
        {key.partition("/")[2]: value for key, value in record.items()}
        for record in described.records(name)
    ]


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def test_there_is_nothing_to_find_fault_with(published, described, caplog):
    issues = described.metadata.ctx.issues
    assert not issues.errors and not issues.warnings
    assert "not standard" not in caplog.text
    metadata, manifest = described.metadata, published.manifest
    assert metadata.version == manifest.version.removeprefix("v")
    assert metadata.license == ["CC-BY-4.0"]
    assert manifest.digest in metadata.cite_as
    values = json.loads((published.folder / croissant.PATH).read_text())
    assert values["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert values["datePublished"][:19] == manifest.created_at[:19]


def test_the_tables_are_named_with_their_digest(published, described):
    by_path = {file.path: file for file in published.manifest.files}
    for file in described.metadata.file_objects:
        assert file.sha256 == by_path[file.content_url].sha256
        assert file.content_size == f"{by_path[file.content_url].size_bytes} B"
    assert len(described.metadata.file_objects) == 3


def test_annotations_are_those_of_the_release(published, described):
    dataset = read_dataset(published.world.store, published.manifest)
    found = records(described, "annotations")
    assert len(found) == len(dataset.annotations)
    for record, annotation in zip(found, dataset.annotations, strict=True):
        for name in ("annotation_id", "image_id", "category_id", "score", "area_m2"):
            assert record[name] == getattr(annotation, name)
        assert tuple(record["bbox_xyxy_px"]) == annotation.bbox_xyxy_px
        assert text(record["mask_rle"]) == annotation.mask_rle


def test_images_have_their_place_and_split(published, described):
    dataset = read_dataset(published.world.store, published.manifest)
    found = records(described, "images")
    for record, image in zip(found, dataset.images, strict=True):
        assert text(record["path"]) == image.path
        assert text(record["split"]) == image.split
        assert tuple(record["window_px"]) == image.window_px
        place = tuple(record["transform"]) if record["transform"] else None
        assert place == (image.place.transform if image.place else None)


def test_pixels_can_be_read(described, published):
    found = records(described, "pixels")
    images = [each for each in published.manifest.files if each.path.startswith("images/")]
    assert {text(record["path"]) for record in found} == {each.path for each in images}
    assert {record["image"].size for record in found} == {(256, 256)}


def test_splits_are_croissant_s(described):
    assert {record["name"]: record["url"] for record in records(described, "splits")} == {
        "train": "http://mlcommons.org/croissant/TrainingSplit",
        "val": "http://mlcommons.org/croissant/ValidationSplit",
        "test": "http://mlcommons.org/croissant/TestSplit",
    }


def test_every_column_is_told(described):
    for record_set in described.metadata.record_sets:
        for field in record_set.fields:
            assert field.description or record_set.id == "splits"
