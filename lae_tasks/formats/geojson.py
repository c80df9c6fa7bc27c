"""GeoJSON (RFC 7946): the objects as polygons on the ground, for maps on the web.

`objects.geojson` is a FeatureCollection with a feature per object, not per image, of the scenes
whose place is known; if none is, there is no file. Properties are `region_id`, `category`, `score`,
`source`, `area_m2`, `scene_key`, `scene_crs` and `split`; coordinates are WGS 84 longitude and
latitude with eight decimals, a millimetre. See `lae_tasks.formats.geo` for the polygons, and
https://www.rfc-editor.org/rfc/rfc7946 for the format.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import shapely

from lae_tasks.formats.geo import Features, Gatherer
from lae_tasks.formats.writing import Source
from lae_tasks.releases.dataset import Annotation, ReleaseImage

PATH = "geojson/objects.geojson"

_DECIMALS = 8
_encode = json.JSONEncoder(ensure_ascii=False).encode


class Writer:
    """Writes a feature per line."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._path = folder / "objects.geojson"
        self._objects = Gatherer(source.dataset, self._write)
        self._file: TextIO | None = None

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """Takes an image's objects."""
        self._objects.add(image, annotations)

    def close(self) -> None:
        """Writes what is left and ends the file."""
        self._objects.close()
        if self._file:
            self._file.write("\n]}\n")
            self._file.close()

    def _write(self, features: Features) -> None:
        before = ","
        if self._file is None:
            self._file = self._path.open("w", encoding="utf-8", newline="\n")
            self._file.write('{"type": "FeatureCollection", "features": [')
            before = ""
        rounded = shapely.transform(features.geometry, lambda points: points.round(_DECIMALS))
        shapes = shapely.to_geojson(rounded)
        for shape, row in zip(shapes, features.table.to_pylist(), strict=True):
            properties = _encode(row)
            self._file.write(
                f'{before}\n{{"type": "Feature", "properties": {properties}, "geometry": {shape}}}'
            )
            before = ","
