"""Where on the ground a raster lies: its CRS and transform, and pixels as metres and degrees."""

import math
from dataclasses import dataclass
from functools import cache

import rasterio
import rasterio.crs
import rasterio.transform
import rasterio.warp
from affine import Affine
from rasterio._err import CPLE_BaseError  # what its own errors do not cover
from rasterio.errors import CRSError, RasterioError

from lae_tasks.contracts import Scene

Affine6 = tuple[float, float, float, float, float, float]

#: Mercator stretches distances by 1 / cos(latitude).
_MERCATOR = (3857, 3395)


@dataclass(frozen=True)
class Georeference:
    """The place of a raster.

    Attributes:
        crs: `EPSG:n` or WKT.
        transform: Affine coefficients (a, b, c, d, e, f) from pixels, x to the right and y down,
            to the CRS, as rasterio has them.
    """

    crs: str
    transform: Affine6

    def to_ground(self, x_px: float, y_px: float) -> tuple[float, float]:
        """A point in pixels as coordinates of the CRS."""
        x, y = Affine(*self.transform) @ (x_px, y_px)
        return float(x), float(y)

    def lon_lat(self, x_px: float, y_px: float) -> tuple[float, float] | None:
        """A point in pixels as WGS 84 longitude and latitude in degrees.

        None if the CRS cannot be brought to WGS 84, as a local one, or if the point lies where it
        has no meaning, as beside the disc that a satellite sees.
        """
        x, y = self.to_ground(x_px, y_px)
        try:
            longitude, latitude = rasterio.warp.transform(_crs(self.crs), "EPSG:4326", [x], [y])
        except (CRSError, RasterioError, CPLE_BaseError):
            return None
        east, north = float(longitude[0]), float(latitude[0])
        if not (math.isfinite(east) and abs(north) <= 90):
            return None
        return (east + 180) % 360 - 180, north

    def pixel_sides_m(self, x_px: float, y_px: float) -> tuple[float, float] | None:
        """Lengths in metres of a pixel's sides, along its row and along its column, at a point.

        None if the CRS knows no metres.
        """
        units = self._units_m(x_px, y_px)
        if units is None:
            return None
        a, b, _, d, e, _ = self.transform
        return math.hypot(a * units[0], d * units[1]), math.hypot(b * units[0], e * units[1])

    def pixel_area_m2(self, x_px: float, y_px: float) -> float | None:
        """What a pixel covers at a point; None if the CRS knows no metres."""
        units = self._units_m(x_px, y_px)
        a, b, _, d, e, _ = self.transform
        area = abs(a * e - b * d) * units[0] * units[1] if units else 0.0
        return area if 0 < area < math.inf else None

    def _units_m(self, x_px: float, y_px: float) -> tuple[float, float] | None:
        """Metres of the CRS's units to the east and to the north, at a point.

        One degree of latitude is 110,574 m and one of longitude 111,320 m times the cosine of the
        latitude (https://en.wikipedia.org/wiki/Geographic_coordinate_system).
        """
        crs = _crs(self.crs)
        if crs.is_geographic:
            _, latitude = self.to_ground(x_px, y_px)
            if not abs(latitude) <= 90:
                return None
            return 111_320 * math.cos(math.radians(latitude)), 110_574.0
        try:
            factor = float(crs.linear_units_factor[1])
        except CRSError:  # an engineering or local system
            return None
        if crs.to_epsg() in _MERCATOR:
            place = self.lon_lat(x_px, y_px)
            if place is None:
                return None
            factor *= math.cos(math.radians(place[1]))
        return factor, factor

    def window(self, x_px: int, y_px: int) -> "Georeference":
        """The place of a window of the raster that begins at a pixel."""
        a, b, _, d, e, _ = self.transform
        x, y = self.to_ground(x_px, y_px)
        return Georeference(self.crs, (a, b, x, d, e, y))


@cache
def _crs(text: str) -> rasterio.crs.CRS:
    return rasterio.crs.CRS.from_user_input(text)


def georeference(
    source: rasterio.DatasetReader, world_file: Affine | None = None
) -> Georeference | None:
    """The place of an open raster: by its transform, else by its ground control points.

    Of many control points the affine transform that fits them best is taken, which for radar in its
    own geometry is an approximation. None where there is neither, or no CRS.

    Args:
        source: The raster.
        world_file: The transform of the world file beside it, for a raster that has a CRS only.
    """
    points, points_crs = source.gcps
    transform = world_file if world_file and source.transform.is_identity else source.transform
    if source.crs and not transform.is_identity:
        return _placed(source.crs, transform)
    if points and points_crs:
        return _placed(points_crs, rasterio.transform.from_gcps(points))
    return None


def place_of(scene: Scene) -> Georeference | None:
    """The place of a registered scene; None where it has none."""
    if scene.crs is None or scene.transform is None:
        return None
    return Georeference(scene.crs, scene.transform)


def _placed(crs: rasterio.crs.CRS, transform: Affine) -> Georeference | None:
    """The place; None if the transform maps the raster to nothing that there is."""
    a, b, c, d, e, f = (float(value) for value in tuple(transform)[:6])
    if not all(map(math.isfinite, (a, b, c, d, e, f))) or a * e == b * d:
        return None
    return Georeference(crs.to_string(), (a, b, c, d, e, f))
