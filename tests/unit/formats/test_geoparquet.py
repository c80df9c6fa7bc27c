import json

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from rasterio.features import rasterize

from lae_tasks.formats import geojson, geoparquet
from lae_tasks.imagery.georeference import Georeference
from tests.format_world import (
    NAMES,
    OBJECTS,
    PLACE,
    DatasetMaker,
    awkward_dataset,
    empty_dataset,
    files,
    iou,
    mask_of,
    pulled,
)


@pytest.fixture(scope="module")
def dataset():
    return awkward_dataset()


def opened(root):
    return geopandas.read_parquet(root / geoparquet.PATH).set_index("region_id")


def in_pixels(geometry, place=PLACE):
    """A geometry of longitudes and latitudes in the pixels of its scene."""
    to_grid = pyproj.Transformer.from_crs("OGC:CRS84", place.crs, always_xy=True)
    a, b, c, d, e, f = place.transform
    back = np.linalg.inv([[a, b], [d, e]])

    def convert(points):
        x, y = to_grid.transform(*points.T)
        return (np.column_stack([x, y]) - (c, f)) @ back.T

    return shapely.transform(geometry, convert)


def test_geopandas_reads_a_row_for_each_object_with_a_place(dataset, tmp_path):
    frame = opened(pulled(dataset, "geoparquet", tmp_path))
    assert frame.crs == "OGC:CRS84"
    assert sorted(frame.index) == sorted([name for name, *_ in OBJECTS] + ["tested", "aside"])
    assert frame.geometry.is_valid.all()
    for name, category, boxes in OBJECTS:
        row, mask = frame.loc[name], mask_of(boxes)
        shape = in_pixels(row.geometry)
        assert shape.area == pytest.approx(mask.sum(), rel=1e-6), name
        assert iou(rasterize([shape], mask.shape).astype(bool), mask) == 1.0
        assert row.category == NAMES[category]
        assert (row.scene_key, row.scene_crs, row.split) == ("harbour.tif", "EPSG:32632", "train")
        assert (row.score, row.source) == (0.75, "engine:sure")
        assert row.area_m2 == pytest.approx(0.2501 * mask.sum(), abs=0.005)
    assert frame.loc["tested"].split == "test"
    assert frame.loc["aside"].isna()["split"]
    assert frame.loc["of-parts"].geometry.geom_type == "MultiPolygon"
    assert len(frame.loc["corners-meet"].geometry.geoms) == 2
    assert len(frame.loc["with-hole"].geometry.interiors) == 1


def test_the_file_tells_its_bounds_and_its_boxes_of_rows(dataset, tmp_path):
    root = pulled(dataset, "geoparquet", tmp_path)
    about = json.loads(pq.read_schema(root / geoparquet.PATH).metadata[b"geo"])
    column = about["columns"]["geometry"]
    frame = opened(root)
    assert about["version"] == "1.1.0"
    assert column["geometry_types"] == ["MultiPolygon", "Polygon"]
    assert column["bbox"] == list(frame.total_bounds)
    assert shapely.is_ccw(shapely.get_exterior_ring(shapely.get_parts(frame.geometry))).all()
    box = frame.loc["one-pixel"].geometry.bounds
    near = geopandas.read_parquet(root / geoparquet.PATH, bbox=box)
    assert near["region_id"].tolist() == ["one-pixel"]
    longitude, latitude = PLACE.lon_lat(3.5, 60.5)
    middle = frame.loc["one-pixel"].geometry.centroid
    assert (middle.x, middle.y) == pytest.approx((longitude, latitude), abs=1e-9)


def test_without_a_place_there_is_no_file(tmp_path):
    maker = DatasetMaker()
    maker.add_scene("a", {"r": (0, mask_of([(1, 1, 9, 9)]))}, "train")
    for name, dataset in (("one", maker.dataset), ("two", empty_dataset())):
        for kind in ("geoparquet", "geojson"):
            root = pulled(dataset, kind, tmp_path / name / kind)
            assert not [path for path in files(root) if path.startswith(kind)]


@pytest.mark.parametrize("kind", ["geoparquet", "geojson"])
def test_the_bytes_are_the_same_each_time(dataset, tmp_path, kind):
    one, two = (files(pulled(dataset, kind, tmp_path / each)) for each in ("one", "two"))
    assert one == two


def test_what_has_no_place_in_wgs_84_is_left_out_and_told(tmp_path, caplog):
    maker = DatasetMaker()
    thing = {"r": (0, mask_of([(1, 1, 9, 9)]))}
    local = 'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    maker.add_scene("site", thing, "train", Georeference(local, PLACE.transform))
    maker.add_scene(
        "off", {"s": thing["r"]}, "train", Georeference("EPSG:4326", (1, 0, 0, 0, 1, 90))
    )
    maker.add_scene("fine", {"t": thing["r"]}, "train", PLACE)
    assert opened(pulled(maker.dataset, "geoparquet", tmp_path)).index.tolist() == ["t"]
    assert "2 objects" in caplog.text


def test_what_lies_around_a_pole_is_left_out_and_told(tmp_path, caplog):
    maker = DatasetMaker()
    # The pole is at pixel (60, 20).
    pole = Georeference("EPSG:3413", (100.0, 0.0, -6_000.0, 0.0, -100.0, 2_000.0))
    objects = {"around": (0, mask_of([(55, 15, 65, 25)])), "beside": (0, mask_of([(1, 1, 9, 9)]))}
    maker.add_scene("pole", objects, "train", pole)
    assert opened(pulled(maker.dataset, "geoparquet", tmp_path)).index.tolist() == ["beside"]
    assert "1 objects" in caplog.text


def test_what_crosses_the_antimeridian_is_parted(tmp_path):
    maker = DatasetMaker()
    fiji = Georeference("EPSG:32760", (10.0, 0.0, 820_100.0, 0.0, -10.0, 8_195_600.0))
    objects = {"over": (0, mask_of([(1, 1, 110, 9)])), "west": (0, mask_of([(0, 20, 2, 22)]))}
    maker.add_scene("fiji", objects, "train", fiji)
    frame = opened(pulled(maker.dataset, "geoparquet", tmp_path))
    over = frame.loc["over"].geometry
    assert over.is_valid
    assert len(over.geoms) == 2
    assert over.bounds[::2] == (-180, 180)
    assert max(np.ptp(part.bounds[::2]) for part in over.geoms) < 0.02
    assert over.area == pytest.approx(109 * 8 / 4 * frame.loc["west"].geometry.area, rel=1e-3)


def test_a_geojson_file_says_the_same(dataset, tmp_path):
    root = pulled(dataset, "geojson", tmp_path / "json")
    frame = geopandas.read_file(root / geojson.PATH).set_index("region_id")
    expected = opened(pulled(dataset, "geoparquet", tmp_path / "parquet"))
    assert frame.crs == "EPSG:4326"  # what GDAL calls the CRS of all GeoJSON
    assert frame.index.tolist() == expected.index.tolist()
    columns = ["category", "score", "source", "area_m2", "scene_key", "scene_crs", "split"]
    assert frame[columns].to_dict("list") == expected[columns].to_dict("list")
    assert frame.geometry.is_valid.all()
    assert shapely.equals_exact(frame.geometry.values, expected.geometry.values, 1e-8).all()
    told = json.loads((root / geojson.PATH).read_text("utf-8"))
    assert told["type"] == "FeatureCollection"
    assert "crs" not in told
