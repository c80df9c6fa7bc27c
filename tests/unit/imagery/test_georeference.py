"""Where rasters lie: by transform, by control points, turned, and nowhere."""

import math
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio.crs
from affine import Affine
from PIL import Image
from rasterio.control import GroundControlPoint

from lae_tasks.imagery.georeference import Georeference, georeference
from lae_tasks.imagery.raster import RasterInfo, open_raster
from lae_tasks.storage import LocalStorage
from tests.unit.rasters import OWN_CRS, POINTS, gradient, write_raster

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
    path = write_raster(
        tmp_path / "gcps.tif", gradient(1, 10, 10), gcps=POINTS, crs=UTM31, transform=None
    )
    info = info_of(path)
    assert info.crs == UTM31
    assert info.gsd_m == pytest.approx(2.0)
    assert info.transform == pytest.approx((2, 0, 500_000, 0, -2, 5_000_000), abs=1e-6)


#: At 60° north a degree of longitude is 55,800 m and one of latitude 111,412 m on WGS 84
#: (https://en.wikipedia.org/wiki/Longitude#Length_of_a_degree_of_longitude).
EAST_M, NORTH_M = 55_800.0, 111_412.0
#: The spheres of these projections have 111,319.49 m in each degree of the equator.
DEGREE_M = 111_319.49


@pytest.mark.parametrize(
    ("crs", "x", "y", "side", "expected"),
    [
        ("EPSG:4326", 0, 60, 0.01, (EAST_M / 100, NORTH_M / 100)),
        ("EPSG:4326", 180, 60, 0.01, (EAST_M / 100, NORTH_M / 100)),  # on the date line
        # Of 400 grads, east of Paris.
        ("EPSG:4807", 0, 60 / 0.9, 0.01, (EAST_M * 0.009, NORTH_M * 0.009)),
        ("EPSG:3857", 0, 8_399_738, 2, (2 * EAST_M / DEGREE_M, NORTH_M / DEGREE_M)),
        # World Mercator is conformal, and so is one that is true at 60°.
        ("EPSG:3395", 0, 8_362_699, 2, (2 * EAST_M / DEGREE_M, 2 * EAST_M / DEGREE_M)),
        ("+proj=merc +lat_ts=60 +datum=WGS84", 0, 4_192_000, 2, (2, 2)),
        ("+proj=merc +lat_ts=30 +datum=WGS84", 0, 7_249_000, 2, (1.157, 1.157)),
        ("EPSG:32662", 0, 60 * DEGREE_M, 10, (10 * EAST_M / DEGREE_M, 10 * NORTH_M / DEGREE_M)),
        # Equal in area: as much longer along the meridian as it is shorter across.
        ("EPSG:6933", 0, 6_351_420, 10, (5.783, 17.29)),
        # The pole itself, where the scale is 0.994.
        ("EPSG:32661", 2_000_000, 2_000_000, 10, (10.0604, 10.0604)),
        ("EPSG:32631", 500_000, 5_000_000, 0.3, (0.3, 0.3)),
        ("EPSG:28992", 155_000, 463_000, 0.25, (0.25, 0.25)),
        ("EPSG:2229", 6_561_666, 1_640_416, 1, (0.3048, 0.3048)),  # US survey feet
    ],
)
def test_metres_of_a_pixel(
    crs: str, x: float, y: float, side: float, expected: tuple[float, float]
) -> None:
    place = Georeference(crs, (side, 0.0, x, 0.0, -side, y))
    assert place.pixel_sides_m(0, 0) == pytest.approx(expected, rel=1e-3)
    assert place.pixel_area_m2(0, 0) == pytest.approx(expected[0] * expected[1], rel=2e-3)


def test_a_grid_that_is_true_keeps_its_own_metres() -> None:
    """UTM's scale is 0.9996 on its meridian: 0.25 m of the grid are told as 0.25 m."""
    place = Georeference(UTM31, (0.25, 0.0, 500_000.0, 0.0, -0.25, 5_000_000.0))
    assert place.pixel_sides_m(0, 0) == (0.25, 0.25)


def test_a_grid_that_lies_nowhere_on_the_earth_has_its_own_metres() -> None:
    place = Georeference("+proj=eqc +R=1737400 +units=m", (2.0, 0.0, 0.0, 0.0, -2.0, 1e6))
    assert place.lon_lat(0, 0) is None
    assert (place.pixel_sides_m(0, 0), place.pixel_area_m2(0, 0)) == ((2, 2), 4)


@pytest.mark.parametrize(
    "pixels",
    [
        [],
        [(1, 1)],
        [(0, 0), (9, 9)],
        [(0, 0), (4, 4), (9, 9)],
        [(3, 3)] * 3,
        [(0, 5), (4, 5), (9, 5)],
        [(0, 0), (9, 0), (0, math.nan)],
        [(0, 0), (9, 0), (0, math.inf)],
        [(0, 0), (9, 0), (0, 1e300)],
    ],
)
def test_control_points_on_a_line_are_no_place(pixels: list[tuple[float, float]]) -> None:
    points = [
        GroundControlPoint(row=row, col=col, x=500_000.1 + col / 3, y=5e6 - row / 7)
        for col, row in pixels
    ]
    crs = rasterio.crs.CRS.from_epsg(32631)
    source = SimpleNamespace(gcps=(points, crs), crs=None, transform=Affine.identity())
    assert georeference(source) is None


@pytest.mark.parametrize("place", [{}, {"gcps": POINTS, "transform": None}])
@pytest.mark.parametrize("part", ["PROJCS", "GEOGCS", "DATUM", "SPHEROID"])
def test_a_crs_with_a_name_in_latin_1_is_no_place(
    tmp_path: Path, part: str, place: dict[str, Any]
) -> None:
    named = OWN_CRS.replace(f'{part}["', f'{part}["Rxseau ')
    path = write_raster(tmp_path / "a.tif", gradient(3, 10, 10), **{"crs": named, **place})
    assert info_of(path).gsd_m == pytest.approx(2.0 if place else 0.5)
    content = path.read_bytes()
    assert b"Rxs" in content
    path.write_bytes(content.replace(b"Rxs", b"R\xe9s"))
    with open_raster(LocalStorage(tmp_path), "a.tif") as raster:
        info = raster.info
        rgb, _ = raster.read_rgb((0, 0, 10, 10), None)
    assert (info.crs, info.transform, info.gsd_m) == (None, None, None)
    assert (rgb == gradient(3, 10, 10).transpose(1, 2, 0)).all()


def test_a_local_crs_with_a_name_in_latin_1_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_raster(tmp_path / "a.tif", gradient(1, 9, 9), crs='LOCAL_CS["Rxs",UNIT["m",1]]')
    path.write_bytes(path.read_bytes().replace(b"Rxs", b"R\xe9s"))
    assert info_of(path).crs is None
    assert f"{path}: taken without a place: its CRS cannot be read ('utf-8' codec" in caplog.text


@pytest.mark.parametrize("place", [{}, {"gcps": POINTS, "transform": None}])
def test_a_geo_key_of_an_unknown_type_is_no_place(tmp_path: Path, place: dict[str, Any]) -> None:
    path = write_raster(tmp_path / "a.tif", gradient(1, 9, 9), **place)
    keys = struct.pack("<3H", 1024, 0, 1)  # GTModelTypeGeoKey, its place, its count
    content = path.read_bytes()
    assert keys in content
    path.write_bytes(content.replace(keys, struct.pack("<3H", 1024, 77, 1)))
    assert info_of(path).crs is None


@pytest.mark.timeout(20)
@pytest.mark.parametrize("x", [1e17, -1e200, 1e300])
def test_coordinates_beyond_all_places_are_on_no_ground(x: float) -> None:
    """GDAL takes turns off a longitude one by one, from web Mercator, and would not end."""
    assert Georeference("EPSG:3857", (1.0, 0.0, x, 0.0, -1.0, 5e6)).lon_lat(0, 0) is None


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
