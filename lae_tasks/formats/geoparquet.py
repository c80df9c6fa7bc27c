"""GeoParquet 1.1: the objects as polygons on the ground, for GIS tools and DuckDB.

`objects.parquet` has a row per object, not per image, of the scenes whose place is known; if none
is, there is no file. Columns are `region_id`, `category`, `score`, `source`, `area_m2`,
`scene_key`, `scene_crs`, `split`, `geometry` (WKB, WGS 84 longitude and latitude, OGC:CRS84) and
`bbox`, by which readers skip what lies elsewhere. See `lae_tasks.formats.geo` for the polygons, and
https://geoparquet.org/releases/v1.1.0/ for the format.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from lae_tasks.formats.geo import COLUMNS, Features, Gatherer
from lae_tasks.formats.writing import Source
from lae_tasks.releases.dataset import Annotation, ReleaseImage

PATH = "geoparquet/objects.parquet"

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_BOX = pa.struct([pa.field(side, pa.float64(), nullable=False) for side in _SIDES])
_SCHEMA = COLUMNS.append(pa.field("geometry", pa.binary(), nullable=False)).append(
    pa.field("bbox", _BOX, nullable=False)
)


#: Rows of a row group: so many are read at a time.
_ROWS_AT_ONCE = 20_000


class Writer:
    """Writes a row group for many objects."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._path = folder / "objects.parquet"
        self._objects = Gatherer(source.dataset, self._take)
        self._file: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._types: set[str] = set()
        self._bounds = np.empty((0, 4))

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """Takes an image's objects."""
        self._objects.add(image, annotations)

    def close(self) -> None:
        """Writes what is left, and what the file says of itself."""
        self._objects.close()
        if self._waiting:
            self._flush()
        if self._file:
            self._file.add_key_value_metadata({"geo": json.dumps(self._about(), sort_keys=True)})
            self._file.close()

    def _take(self, features: Features) -> None:
        bounds = shapely.bounds(features.geometry)
        boxes = pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], fields=list(_BOX))
        wkb = pa.array(shapely.to_wkb(features.geometry, byte_order=1), pa.binary())
        self._waiting.append(pa.table([*features.table.columns, wkb, boxes], schema=_SCHEMA))
        kinds = np.unique(shapely.get_type_id(features.geometry))
        self._types |= {shapely.GeometryType(kind).name for kind in kinds}
        reached = np.vstack([self._bounds, bounds])
        self._bounds = np.array([[*reached[:, :2].min(axis=0), *reached[:, 2:].max(axis=0)]])
        if sum(table.num_rows for table in self._waiting) >= _ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        table, self._waiting = pa.concat_tables(self._waiting), []
        if self._file is None:
            # Beside an Arrow schema, pyarrow's own readers would not see what the file tells at its
            # end.
            self._file = pq.ParquetWriter(
                self._path, _SCHEMA, compression="zstd", store_schema=False
            )
        self._file.write_table(table, row_group_size=table.num_rows)

    def _about(self) -> dict[str, object]:
        """The file's metadata; without a CRS it is OGC:CRS84."""
        names = {"POLYGON": "Polygon", "MULTIPOLYGON": "MultiPolygon"}
        column = {
            "encoding": "WKB",
            "geometry_types": sorted(names[kind] for kind in self._types),
            "orientation": "counterclockwise",
            "bbox": self._bounds[0].tolist(),
            "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
        }
        return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
