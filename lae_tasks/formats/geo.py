"""Objects as polygons on the ground, for the formats that maps are made of.

One feature is one object, also where several images show parts of it: these are put together in the
scene's pixels. The polygons are the mask's outline along its pixels' edges, in WGS 84 longitude and
latitude (OGC:CRS84), outer rings counterclockwise. What crosses the antimeridian is parted there.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyproj
import shapely

from lae_tasks.formats.outlines import Outlines, trace
from lae_tasks.releases.dataset import Annotation, Dataset, ReleaseImage

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
#: What an object's parts are: its annotations, each with its image.
Parts = Sequence[tuple[ReleaseImage, Annotation]]

#: Objects that are traced at a time, and how long their RLEs together may get before. With more the
#: work does not fit into the processor's cache, and takes longer.
_OBJECTS_AT_ONCE = 1000
_RLE_AT_ONCE = 1_000_000

COLUMNS = pa.schema(
    [
        pa.field("region_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("area_m2", pa.float64()),
        pa.field("scene_key", pa.string(), nullable=False),
        pa.field("scene_crs", pa.string(), nullable=False),
        pa.field("split", pa.string()),
    ]
)


@dataclass(frozen=True)
class Features:
    """Some objects.

    Attributes:
        geometry: Their Polygons and MultiPolygons (n,).
        table: What is known of them, by `COLUMNS`.
    """

    geometry: npt.NDArray[np.object_]
    table: pa.Table


class Gatherer:
    """Makes features of annotations while they come, many at a time.

    It holds what waits to be traced, and the objects of which other images have more.
    """

    def __init__(self, dataset: Dataset, write: Callable[[Features], None]) -> None:
        self._write = write
        counted = dataset.annotations.table.group_by("region_id").aggregate([([], "count_all")])
        several = counted.filter(pc.greater(counted["count_all"], 1))
        self._parts_of = dict(
            zip(several["region_id"].to_pylist(), several["count_all"].to_pylist(), strict=True)
        )
        self._begun: defaultdict[str, list[tuple[ReleaseImage, Annotation]]] = defaultdict(list)
        self._waiting: list[Parts] = []
        self._waiting_size = 0
        self._left_out = 0

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """Takes an image's annotations; those without a place on the ground are left out."""
        if image.place is None:
            return
        for annotation in annotations:
            parts: Parts = [(image, annotation)]
            self._waiting_size += len(annotation.mask_rle)
            wanted = self._parts_of.get(annotation.region_id, 1)
            if wanted > 1:
                parts = self._begun[annotation.region_id]
                parts.append((image, annotation))
                if len(parts) < wanted:
                    continue
                del self._begun[annotation.region_id]
            self._waiting.append(parts)
            if len(self._waiting) == _OBJECTS_AT_ONCE or self._waiting_size > _RLE_AT_ONCE:
                self._flush()

    def close(self) -> None:
        """Makes features of what is left."""
        if self._waiting:
            self._flush()
        if self._left_out:
            logger.warning("%d objects lie where WGS 84 has no place for them", self._left_out)

    def _flush(self) -> None:
        objects, self._waiting, self._waiting_size = self._waiting, [], 0
        geometry = _on_ground(objects)
        known = np.flatnonzero(~shapely.is_missing(geometry))
        self._left_out += len(objects) - len(known)
        if len(known):
            self._write(Features(geometry[known], _table([objects[n][0] for n in known])))


def _table(parts: Parts) -> pa.Table:
    columns = {
        name: [getattr(annotation, name) for _, annotation in parts]
        for name in ("region_id", "category", "score", "source", "area_m2")
    }
    images = [image for image, _ in parts]
    columns["scene_key"] = [image.scene_key for image in images]
    columns["scene_crs"] = [image.place.crs for image in images if image.place]
    columns["split"] = [image.split for image in images]
    return pa.table(columns, schema=COLUMNS)


def _on_ground(objects: Sequence[Parts]) -> npt.NDArray[np.object_]:
    """The geometries of objects; None where the ground has no place for a corner of it."""
    parts = [(n, image, part) for n, each in enumerate(objects) for image, part in each]
    outlines = trace(
        [part.mask_rle for _, _, part in parts],
        [image.height_px for _, image, _ in parts],
        [image.window_px[:2] for _, image, _ in parts],
        [n for n, _, _ in parts],
    )
    images = [each[0][0] for each in objects]
    points = _lon_lat(outlines, images)
    polygons = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, points, (outlines.rings, outlines.polygons)
    )
    geometry = np.full(len(objects), None, dtype=object)
    counts = np.bincount(outlines.object_of, minlength=len(objects))
    alone = counts[outlines.object_of] == 1
    geometry[outlines.object_of[alone]] = polygons[alone]
    if not alone.all():
        several = np.unique(outlines.object_of[~alone])
        _, number = np.unique(outlines.object_of[~alone], return_inverse=True)
        geometry[several] = shapely.multipolygons(polygons[~alone], indices=number)
    bounds = shapely.bounds(geometry)
    # Without a polygon they are not finite either.
    is_known = np.isfinite(bounds).all(axis=1) & (np.abs(bounds) <= (180, 90, 180, 90)).all(axis=1)
    geometry[~is_known] = None
    known = np.flatnonzero(is_known)
    for number in known[np.ptp(bounds[known, ::2], axis=1) > 180]:
        geometry[number] = _parted(geometry[number])
    oriented: npt.NDArray[np.object_] = shapely.orient_polygons(geometry)
    return oriented


def _lon_lat(outlines: Outlines, images: Sequence[ReleaseImage]) -> Floats:
    """The corners (n, 2) of outlines in scene pixels as longitude and latitude, in degrees.

    Args:
        outlines: Of objects.
        images: Of each object an image that shows it.
    """
    places = [image.place for image in images if image.place]
    object_of = np.repeat(outlines.object_of, np.diff(outlines.rings[outlines.polygons]))
    a, b, c, d, e, f = np.transpose([place.transform for place in places])
    left, top = np.transpose([image.window_px[:2] for image in images])
    # From the scene's pixels, not the image's.
    c, f = c - a * left - b * top, f - d * left - e * top
    a, b, c, d, e, f = np.stack([a, b, c, d, e, f])[:, object_of]
    x, y = outlines.points_px.T
    points = np.column_stack([a * x + b * y + c, d * x + e * y + f])
    names = sorted({place.crs for place in places})
    crs_of = np.array([names.index(place.crs) for place in places])[object_of]
    for number, crs in enumerate(names):
        chosen = np.flatnonzero(crs_of == number) if len(names) > 1 else slice(None)
        transformer = _transformer(crs)
        if transformer is None:
            points[chosen] = np.inf
        else:
            points[chosen] = np.column_stack(transformer.transform(*points[chosen].T))
    return points


@cache
def _transformer(crs: str) -> pyproj.Transformer | None:
    """What brings coordinates to longitude and latitude; None for a local CRS."""
    try:
        return pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    except pyproj.exceptions.ProjError:
        return None


def _parted(geometry: shapely.Geometry) -> shapely.Geometry | None:
    """What crosses the antimeridian as a MultiPolygon of what lies on either side of it.

    As RFC 7946 asks for in section 3.1.9. None of what lies around a pole, as no polygon of degrees
    is that.
    """
    rings = [ring for part in shapely.get_parts(geometry) for ring in shapely.get_rings(part)]
    if any(_turns(ring) for ring in rings):
        return None
    east = shapely.transform(geometry, lambda points: points + (points[:, :1] < 0) * (360.0, 0.0))
    west = shapely.transform(east, lambda points: points - (360.0, 0.0))
    shown = shapely.intersection([west, east], shapely.box(-180, -90, 180, 90))
    parts = shapely.get_parts(shapely.get_parts(shown))
    is_polygon = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    return shapely.MultiPolygon(list(parts[is_polygon]))


def _turns(ring: shapely.Geometry) -> bool:
    """Whether a ring goes round a pole: its steps east, each the short way, make a whole turn."""
    steps = np.diff(shapely.get_coordinates(ring)[:, 0])
    return bool(abs(((steps + 180) % 360 - 180).sum()) > 180)
