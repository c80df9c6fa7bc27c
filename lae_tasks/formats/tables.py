"""A release as Parquet tables: what readers, diffs and the release's digest go by.

`annotations.parquet` has the fields of `Annotation`, `images.parquet` those of `ImageRow`, and
`categories.parquet` those of `Category`, all documented in `lae_tasks.releases.dataset`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lae_tasks.contracts import WindowPx
from lae_tasks.formats.writing import TABLES, Source
from lae_tasks.imagery.georeference import Affine6, Georeference
from lae_tasks.releases.dataset import (
    ANNOTATION_SCHEMA,
    Annotation,
    Annotations,
    Category,
    ReleaseImage,
)
from lae_tasks.schema import dataclass_schema

ANNOTATIONS_PATH = f"{TABLES}/annotations.parquet"
IMAGES_PATH = f"{TABLES}/images.parquet"
CATEGORIES_PATH = f"{TABLES}/categories.parquet"

#: Rows of a row group: so many are read at a time.
ROWS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class ImageRow:
    """An image as the table has it.

    Attributes:
        path: Where it lies in the release.
        window_px: (x, y, width, height) in scene pixels.
        crs: `EPSG:n` or WKT; None without a place on the ground.
        transform: Of this image's pixels, six coefficients as rasterio has them; None likewise.
        split: `train`, `val` or `test`; None for none.
    """

    image_id: int
    path: str
    tile_id: str
    scene_id: str
    scene_key: str
    window_px: WindowPx
    sha256: str
    split: str | None
    crs: str | None
    transform: Affine6 | None


class Writer:
    """Writes the tables; it takes the annotations as columns, not one by one."""

    def __init__(self, source: Source, folder: Path) -> None:
        rows = map(_row, source.dataset.images)
        _write(folder / "images.parquet", dataclass_schema(ImageRow), _in_groups(ImageRow, rows))
        categories = _in_groups(Category, source.dataset.categories)
        _write(folder / "categories.parquet", dataclass_schema(Category), categories)
        annotations = source.dataset.annotations.table
        starts = range(0, annotations.num_rows, ROWS_AT_ONCE)
        groups = (annotations.slice(start, ROWS_AT_ONCE) for start in starts)
        _write(folder / "annotations.parquet", ANNOTATION_SCHEMA, groups)

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """All are written already."""

    def close(self) -> None:
        """All are written already."""


def _row(image: ReleaseImage) -> ImageRow:
    place = image.place
    return ImageRow(
        image_id=image.image_id,
        path=image.path,
        tile_id=image.tile_id,
        scene_id=image.scene_id,
        scene_key=image.scene_key,
        window_px=image.window_px,
        sha256=image.sha256,
        split=image.split,
        crs=place.crs if place else None,
        transform=place.transform if place else None,
    )


def _in_groups(row_type: type, rows: Iterable[Any]) -> Iterator[pa.Table]:
    every = list(rows)
    for start in range(0, len(every), ROWS_AT_ONCE):
        part = every[start : start + ROWS_AT_ONCE]
        columns = {
            field.name: [getattr(row, field.name) for row in part] for field in fields(row_type)
        }
        yield pa.table(columns, schema=dataclass_schema(row_type))


def _write(path: Path, schema: pa.Schema, groups: Iterable[pa.Table]) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for group in groups:
            file.write_table(group, row_group_size=ROWS_AT_ONCE)


def read_images(
    source: Path | pa.BufferReader, key_of: Mapping[str, str]
) -> tuple[ReleaseImage, ...]:
    """The images of `images.parquet`.

    Args:
        source: The table.
        key_of: The key in the store of each image, by its path in the release.
    """
    return tuple(
        ReleaseImage(
            image_id=row["image_id"],
            tile_id=row["tile_id"],
            scene_id=row["scene_id"],
            scene_key=row["scene_key"],
            window_px=tuple(row["window_px"]),
            key=key_of.get(row["path"], ""),
            sha256=row["sha256"],
            place=Georeference(row["crs"], tuple(row["transform"])) if row["crs"] else None,
            split=row["split"],
        )
        for row in read(source).to_pylist()
    )


def read_annotations(source: Path | pa.BufferReader) -> Annotations:
    """All of `annotations.parquet`, as columns."""
    return Annotations(read(source))


def read_categories(source: Path | pa.BufferReader) -> tuple[Category, ...]:
    """The categories of `categories.parquet`."""
    return tuple(Category(**row) for row in read(source).to_pylist())


def read(source: Path | pa.BufferReader) -> pa.Table:
    """A table, or raises pa.ArrowInvalid."""
    # Without threads: see `lae_tasks.tables`.
    with pq.ParquetFile(source, pre_buffer=False) as file:
        return file.read(use_threads=False)
