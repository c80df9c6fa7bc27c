"""Where rasters lie: by transform, by control points, turned, and nowhere."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio.crs
from affine import Affine
from PIL import Image
from rasterio.control import GroundControlPoint

from lae_tasks.georeference import Georeference, georeference
from lae_tasks.raster import RasterInfo, open_raster
from lae_tasks.storage import LocalStorage
from tests.unit.rasters import gradient, write_raster

UTM31 = "EPSG:32631"


def info_of(path: Path) -> RasterInfo:
    with open_raster(LocalStorage(path.parent), path.name) as raster:
        return raster.info


def test_a_turned_raster_keeps_its_resolution_and_place(tmp_path: Path) -> None:
    turned = Affine.translation(500_000, 5_000_000) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5)
    info = info_of(write_raster(tmp_path / "a.tif", gradient(1, 10, 10), transform=turned))
    assert info.gsd_m == pytest.approx(0.5)
    assert info.transform == pytest.approx(tuple(turned)[:6])
    place = Georeference(UTM31, info.transform)
    assert place.to_ground(0, 0) == (500_000, 5_000_000)
    # 500,000 m east is the zone's central meridian.
    assert place.lon_lat(0, 0) == pytest.approx((3.0, 45.1538), abs=1e-3)


def test_control_points_give_a_place(tmp_path: Path) -> None:
    points = [
        GroundControlPoint(row=row, col=column, x=500_000 + 2 * column, y=5_000_000 - 2 * row)
        for row in (0, 5, 10)
        for column in (0, 5, 10)
    ]
    path = write_raster(
        tmp_path / "gcps.tif", gradient(1, 10, 10), gcps=points, crs=UTM31, transform=None
    )
    info = info_of(path)
    assert info.crs == UTM31
    assert info.gsd_m == pytest.approx(2.0)
    assert info.transform == pytest.approx((2, 0, 500_000, 0, -2, 5_000_000), abs=1e-6)


@pytest.mark.parametrize(
    ("crs", "north", "side_m"),
    [("EPSG:3857", 8_399_738, 1.0), ("EPSG:4326", 60.0, 2 * 111_320 * 0.5)],
)
def test_metres_of_a_pixel_at_sixty_degrees_north(crs: str, north: float, side_m: float) -> None:
    place = Georeference(crs, (2.0, 0.0, 0.0, 0.0, -2.0, north))
    sides = place.pixel_sides_m(0, 0)
    assert sides
    assert sides[0] == pytest.approx(side_m, rel=1e-3)


def test_a_window_lies_where_its_pixels_do() -> None:
    place = Georeference(UTM31, (0.5, 0.1, 500_000.0, 0.2, -0.5, 5_000_000.0))
    assert place.window(30, 40).to_ground(2, 3) == pytest.approx(place.to_ground(32, 43))


def test_the_area_of_a_pixel_is_not_that_of_a_skewed_ones_sides() -> None:
    assert Georeference(UTM31, (2.0, 0.0, 0.0, 0.0, -3.0, 0.0)).pixel_area_m2(0, 0) == 6.0
    skewed = Georeference(UTM31, (2.0, 1.0, 0.0, 0.0, -3.0, 0.0))
    assert skewed.pixel_area_m2(0, 0) == 6.0


@pytest.mark.parametrize(
    "transform",
    [(math.nan, 0, 0, 0, -1, 0), (1, 0, math.inf, 0, -1, 0), (1, 1, 0, 1, 1, 0), (0,) * 6],
)
def test_a_transform_that_maps_to_nothing_is_no_place(transform: tuple[float, ...]) -> None:
    crs = rasterio.crs.CRS.from_epsg(32631)
    source = SimpleNamespace(gcps=([], None), crs=crs, transform=Affine(*transform))
    assert georeference(source) is None


@pytest.mark.parametrize(
    "crs",
    ['LOCAL_CS["site",UNIT["metre",1]]', "ESRI:54009", "+proj=ortho +lat_0=0 +lon_0=0"],
)
def test_a_point_where_the_crs_has_no_meaning_has_no_longitude(crs: str) -> None:
    place = Georeference(crs, (1000.0, 0.0, 1.7e7, 0.0, -1000.0, 8.9e6))
    assert place.lon_lat(0, 0) is None


def test_degrees_are_those_of_the_earth() -> None:
    east = Georeference("EPSG:4326", (0.01, 0.0, 340.0, 0.0, -0.01, 52.0))
    assert east.lon_lat(0, 0) == pytest.approx((-20.0, 52.0))
    beyond = Georeference("EPSG:4326", (0.01, 0.0, 0.0, 0.0, -0.01, 110.0))
    assert (beyond.lon_lat(0, 0), beyond.pixel_area_m2(0, 0)) == (None, None)
    huge = Georeference(UTM31, (1e200, 0.0, 0.0, 0.0, -1e200, 0.0))
    assert huge.pixel_area_m2(0, 0) is None


def test_a_place_outside_the_world_has_no_longitude() -> None:
    place = Georeference(UTM31, (1.0, 0.0, math.inf, 0.0, -1.0, 0.0))
    assert place.lon_lat(0, 0) is None


def test_a_world_file_beside_a_picture_gives_no_crs(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(path)
    (tmp_path / "a.pgw").write_text("1\n0\n0\n-1\n100\n200\n")
    assert info_of(path).crs is None


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("suffix", ["tfw", "tiffw", "wld", "TFW"])
def test_a_world_file_completes_a_crs(tmp_path: Path, suffix: str) -> None:
    path = write_raster(tmp_path / "a.tiff", gradient(1, 9, 9), transform=None)
    world = tmp_path / f"a.{suffix}"
    world.write_text("2\n0\n0\n-2\n500001\n4999999\n")
    assert info_of(path).transform == (2, 0, 500_000, 0, -2, 5_000_000)
    world.write_text("no numbers")
    assert info_of(path).transform is None


MAPINFO = """!table
!version 300
Definition Table
  File "a.jpg"
  Type "RASTER"
  (500100,5000200) (0,0) Label "1",
  (500109,5000200) (9,0) Label "2",
  (500109,5000191) (9,9) Label "3"
  CoordSys Earth Projection 8, 104, "m", 3, 0, 0.9996, 500000, 0
"""


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_a_mapinfo_file_is_read_neither_here_nor_on_s3(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(tmp_path / f"a.{suffix}")
    (tmp_path / "a.tab").write_text(MAPINFO.replace("a.jpg", f"a.{suffix}"))
    assert info_of(tmp_path / f"a.{suffix}").crs is None
