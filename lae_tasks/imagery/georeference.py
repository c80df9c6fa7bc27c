"""Where on the ground a raster lies: its CRS and transform, and pixels as metres and degrees."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.crs
import rasterio.transform
import rasterio.warp
from affine import Affine
from rasterio._err import CPLE_BaseError  # what its own errors do not cover
from rasterio.control import GroundControlPoint
from rasterio.errors import CRSError, RasterioError

from lae_tasks.contracts import Scene

Affine6 = tuple[float, float, float, float, float, float]

#: Of WGS 84: the equator's radius in metres, and the square of the eccentricity.
_RADIUS_M, _ECCENTRICITY_2 = 6_378_137.0, 0.006694379990141
#: What a grid's own metres may differ from those on the ground to be taken for them.
_GRID_TOLERANCE = 0.01
#: No place on the Earth has such a coordinate in any unit. From web Mercator GDAL takes one turn of
#: the Earth after another off a longitude: of damaged coordinates it never comes to an end.
_FARTHEST = 1e12


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
        places = self._lon_lats([(x_px, y_px)])
        return places[0] if places else None

    def _lon_lats(self, points_px: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """As `lon_lat`, of several points; empty if one of them has none."""
        grid = [self.to_ground(*point) for point in points_px]
        if not all(abs(x) < _FARTHEST and abs(y) < _FARTHEST for x, y in grid):
            return []
        grid_x, grid_y = zip(*grid, strict=True)
        try:
            longitudes, latitudes = rasterio.warp.transform(
                _crs(self.crs), "EPSG:4326", grid_x, grid_y
            )
        except (CRSError, RasterioError, CPLE_BaseError):
            return []
        places = list(zip(longitudes, latitudes, strict=True))
        if not all(math.isfinite(east) and abs(north) <= 90 for east, north in places):
            return []
        return [((float(east) + 180) % 360 - 180, float(north)) for east, north in places]

    def pixel_sides_m(self, x_px: float, y_px: float) -> tuple[float, float] | None:
        """Lengths in metres of a pixel's sides, along its row and along its column, at a point.

        Metres of the grid where they are those on the ground within 1 %, as in UTM and national
        grids, so that an image of 0.25 m on its grid has 0.25 m; else metres on the ground, as for
        degrees, any Mercator and plate carrée. Where the ground cannot be told, those of the grid.
        None if there is neither.
        """
        pixel = self._pixel_m(x_px, y_px)
        return pixel[:2] if pixel else None

    def pixel_area_m2(self, x_px: float, y_px: float) -> float | None:
        """What a pixel covers at a point, by the same metres as `pixel_sides_m`."""
        pixel = self._pixel_m(x_px, y_px)
        return pixel[2] if pixel and 0 < pixel[2] < math.inf else None

    def _pixel_m(self, x_px: float, y_px: float) -> tuple[float, float, float] | None:
        """Sides (m) along its row and along its column, and area (m²), of the pixel at a point."""
        grid, ground = self._pixel_on_grid(), self._pixel_on_ground(x_px, y_px)
        if grid is None or ground is None:
            return ground or grid
        is_true = all(abs(t - g) <= _GRID_TOLERANCE * t for g, t in zip(grid, ground, strict=True))
        return grid if is_true else ground

    def _pixel_on_grid(self) -> tuple[float, float, float] | None:
        """By the CRS's linear unit; None if it has none, as degrees and grads."""
        crs = _crs(self.crs)
        try:
            unit_m = 0.0 if crs.is_geographic else float(crs.linear_units_factor[1])
        except CRSError:  # an engineering or local system
            return None
        a, b, _, d, e, _ = self.transform
        sides = math.hypot(a, d) * unit_m, math.hypot(b, e) * unit_m
        return (*sides, abs(a * e - b * d) * unit_m**2) if unit_m else None

    def _pixel_on_ground(self, x_px: float, y_px: float) -> tuple[float, float, float] | None:
        """Between the middles of its edges, on the WGS 84 ellipsoid; None as for `lon_lat`."""
        edges = [(x_px - 0.5, y_px), (x_px + 0.5, y_px), (x_px, y_px - 0.5), (x_px, y_px + 0.5)]
        places = self._lon_lats(edges)
        if not places:
            return None
        left, right, top, bottom = (_geocentric_m(*place) for place in places)
        along, down = right - left, bottom - top
        area = np.linalg.norm(np.cross(along, down))
        return float(np.linalg.norm(along)), float(np.linalg.norm(down)), float(area)

    def window(self, x_px: int, y_px: int) -> "Georeference":
        """The place of a window of the raster that begins at a pixel."""
        a, b, _, d, e, _ = self.transform
        x, y = self.to_ground(x_px, y_px)
        return Georeference(self.crs, (a, b, x, d, e, y))


def _geocentric_m(longitude: float, latitude: float) -> npt.NDArray[np.float64]:
    """A point on the WGS 84 ellipsoid, in degrees, as metres from the middle of the Earth, (3,).

    By https://proj.org/en/stable/operations/conversions/cart.html; straight lines between such
    points know neither poles nor a date line.
    """
    east, north = math.radians(longitude), math.radians(latitude)
    normal = _RADIUS_M / math.sqrt(1 - _ECCENTRICITY_2 * math.sin(north) ** 2)
    across = normal * math.cos(north)
    up = normal * (1 - _ECCENTRICITY_2) * math.sin(north)
    return np.array([across * math.cos(east), across * math.sin(east), up])


@cache
def _crs(text: str) -> rasterio.crs.CRS:
    return rasterio.crs.CRS.from_user_input(text)


def georeference(
    source: rasterio.DatasetReader, world_file: Affine | None = None
) -> Georeference | None:
    """The place of an open raster: by its transform, else by its ground control points.

    Of many control points the affine transform that fits them best is taken, which for radar in its
    own geometry is an approximation. None where there is neither, or no CRS, or where the points
    are fewer than three or all on a line.

    Args:
        source: The raster.
        world_file: The transform of the world file beside it, for a raster that has a CRS only.
    """
    points, points_crs = source.gcps
    transform = world_file if world_file and source.transform.is_identity else source.transform
    if source.crs and not transform.is_identity:
        return _placed(source.crs, transform)
    if points_crs and _span_a_plane(points):
        return _placed(points_crs, rasterio.transform.from_gcps(points))
    return None


def _span_a_plane(points: Sequence[GroundControlPoint]) -> bool:
    """Whether control points are finite, three or more, and neither here nor there on a line."""
    if len(points) < 3:
        return False
    for places in ([(p.col, p.row) for p in points], [(p.x, p.y) for p in points]):
        if not np.isfinite(places).all():
            return False
        offsets = np.array(places, dtype=np.float64) - np.mean(places, axis=0)
        longest, across = np.linalg.svd(offsets, compute_uv=False)
        if not across > 1e-6 * longest:
            return False
    return True


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
