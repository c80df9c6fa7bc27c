"""The catalogue: valid by the schemas, without a network, and true to the release."""

import json
import shutil
import socket
from pathlib import Path

import pystac
import pytest
from pystac.extensions.projection import SCHEMA_URI
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from lae_tasks.formats import stac
from lae_tasks.formats.scenes import ReleaseScene
from tests.records import make_scene

#: https://github.com/stac-extensions/projection, tag v2.0.0, Apache 2.0
PROJECTION = Path(__file__).parent / "schemas" / "projection-v2.0.0.json"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(self, address):
        raise AssertionError(f"tried to reach {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def validator():
    validator = JsonSchemaSTACValidator()
    validator.schema_cache[SCHEMA_URI] = json.loads(PROJECTION.read_text())
    return validator


@pytest.fixture(scope="module")
def collection(published):
    return pystac.Collection.from_file(str(published.folder / stac.COLLECTION_PATH))


@pytest.fixture(scope="module")
def items(collection):
    return {item.properties["title"]: item for item in collection.get_items()}


def test_it_is_valid(collection, items, validator, no_network):
    assert collection.validate(validator=validator)
    assert len(items) == 5
    for item in items.values():
        assert item.validate(validator=validator)


def test_the_collection_tells_of_the_release(published, collection):
    manifest = published.manifest
    assert collection.id == f"lae-{manifest.version}"
    assert collection.license == "CC-BY-4.0"
    assert collection.extra_fields["lae:digest"] == manifest.digest
    assert collection.summaries.get_list("lae:split") == sorted(manifest.splits)
    ((west, south, east, north),) = collection.extent.spatial.bboxes
    assert 9 <= west < east < 9.1 and 47.8 < south < north < 47.9


def test_items_have_the_place_and_the_time_of_their_scene(published, items):
    placed = items["harbour/scene-003.tif"]
    assert placed.geometry["type"] == "Polygon"
    west, south, _, north = placed.bbox
    assert (west, north) == pytest.approx((9.0, 47.8544), abs=2e-3)
    # 448 pixels of half a metre.
    assert (north - south) * 111_200 == pytest.approx(224, rel=0.02)
    assert placed.properties["proj:code"] == "EPSG:32632"
    assert placed.datetime.isoformat() == "2026-05-01T10:30:00+00:00"
    assert placed.properties["lae:datetime_is_of"] == "the file's tags"
    unknown = items["harbour/scene-004.tif"]
    assert unknown.datetime.isoformat() == "2026-11-23T00:00:00+00:00"
    assert "the night it came in" in unknown.properties["lae:datetime_is_of"]
    nowhere = items["harbour/scene-007.tif"]
    assert nowhere.geometry is None and nowhere.bbox is None
    assert not nowhere.stac_extensions


def test_items_add_up_to_the_release(published, items):
    counts = published.manifest.counts
    for name in ("images", "annotations", "objects"):
        assert sum(item.properties[f"lae:{name}"] for item in items.values()) == counts[name]
    assert {item.properties["lae:split"] for item in items.values()} == set(
        published.manifest.splits
    )


def test_assets_are_files_of_the_release(published, collection, items):
    paths = set()
    for item in (collection, *items.values()):
        for asset in item.assets.values():
            assert asset.href.startswith("../")
            path = (published.folder / "stac" / asset.href).resolve()
            assert path.is_file()
            paths.add(path.relative_to(published.folder.resolve()).as_posix())
    released = {each.path for each in published.manifest.files if each.path.startswith("images/")}
    assert {path for path in paths if path.startswith("images/")} == released
    image = next(a for a in items["harbour/scene-003.tif"].assets.values() if "images/" in a.href)
    assert image.extra_fields["proj:shape"] == [256, 256]
    assert image.extra_fields["proj:transform"][:2] == [0.5, 0.0]


def test_links_are_relative(published):
    for path in (published.folder / "stac").iterdir():
        for link in json.loads(path.read_text())["links"]:
            assert link["href"].startswith("./"), (path, link)
            assert (path.parent / link["href"]).is_file()


def test_another_crs_and_the_date_line(published, tmp_path, validator, no_network):
    """Without a code there is WKT; a footprint in two parts has its west east of its east."""
    wkt = published_crs()
    parts = [
        [[[179.9, 1.0], [180.0, 1.0], [180.0, 1.1], [179.9, 1.0]]],
        [[[-180.0, 1.0], [-179.8, 1.0], [-180.0, 1.1], [-180.0, 1.0]]],
    ]
    scene = ReleaseScene(
        scene_id="abc",
        scene_key="sea.tif",
        split=None,
        images=(),
        annotations=0,
        objects={},
        footprint={"type": "MultiPolygon", "coordinates": parts},
        crs=wkt,
        scene=make_scene(crs=wkt, transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0), acquired_at="soon"),
        night=None,
    )
    stac.write(tmp_path, published.manifest.model_copy(update={"licence": "own, ask"}), [scene])
    item = pystac.Item.from_file(str(tmp_path / "stac" / "abc.json"))
    assert item.validate(validator=validator)
    assert item.bbox == [179.9, 1.0, -179.8, 1.1]
    assert item.properties["proj:code"] is None
    assert item.properties["proj:wkt2"].startswith("PROJCRS[")
    assert item.properties["lae:datetime_is_of"].startswith("the release")
    collection = pystac.Collection.from_file(str(tmp_path / stac.COLLECTION_PATH))
    assert collection.validate(validator=validator)
    assert collection.license == "other"
    assert collection.extra_fields["lae:licence"] == "own, ask"
    assert collection.extent.spatial.bboxes == [[-180, 1.0, 180, 1.1]]
    shutil.rmtree(tmp_path / "stac")


def published_crs():
    """An own projection, as GDAL writes it."""
    import rasterio.crs

    return rasterio.crs.CRS.from_proj4("+proj=laea +lat_0=3 +lon_0=179.9 +datum=WGS84").to_wkt()
