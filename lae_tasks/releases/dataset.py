"""What a release holds, before it is written in any format."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from operator import attrgetter
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from lae_tasks.contracts import BoxPx, WindowPx
from lae_tasks.imagery.georeference import Georeference
from lae_tasks.schema import dataclass_schema

STEWARD = "steward"
"""Source of an annotation that a steward decided."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Category:
    """A name with the number it has in every version of the dataset, from 1 on.

    Attributes:
        parent: The wider category that the vocabulary puts it in; empty without one.
    """

    category_id: int
    name: str
    parent: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseImage:
    """A tile as an image of the release.

    Attributes:
        image_id: Consecutive from 1.
        scene_key: The scene's key below the raw prefix.
        window_px: (x, y, width, height) in scene pixels.
        key: Key of the PNG in the store.
        sha256: Digest of that PNG.
        place: Where the image lies on the ground; None where that is not known.
        split: None for an image that is in no split, as its ground is in two of them.
    """

    image_id: int
    tile_id: str
    scene_id: str
    scene_key: str
    window_px: WindowPx
    key: str
    sha256: str
    place: Georeference | None = None
    split: Split | None = None

    @property
    def path(self) -> str:
        """Where the image lies in the release."""
        return f"images/{self.tile_id}.png"

    @property
    def width_px(self) -> int:
        """Width of the image."""
        return self.window_px[2]

    @property
    def height_px(self) -> int:
        """Height of the image."""
        return self.window_px[3]


@dataclass(frozen=True, slots=True)
class Object:
    """A thing on the ground; `mask_rle` is of the size of its box in scene pixels."""

    region_id: str
    scene_id: str
    category: str
    bbox_xyxy_px: BoxPx
    mask_rle: str
    area_px: int
    score: float
    source: str

    @property
    def is_rectangle(self) -> bool:
        """Whether the mask fills its box."""
        x0, y0, x1, y1 = self.bbox_xyxy_px
        return self.area_px == (x1 - x0) * (y1 - y0)


@dataclass(frozen=True, slots=True)
class Annotation:
    """An object as it shows on one image. An object on two tiles has two annotations.

    Attributes:
        annotation_id: Consecutive from 1.
        bbox_xyxy_px: Box in the image's pixels, half open.
        mask_rle: COCO compressed RLE of the size of the image.
        area_px: Pixels of the mask on this image.
        bbox_scene_xyxy_px: Box of the whole object, in scene pixels.
        area_m2: Ground that the whole object covers; None where the scene has no place.
        lon_lat: WGS 84 longitude and latitude of the middle of its box, in degrees; None likewise.
        score: Confidence; 1.0 for what a steward decided.
        source: `engine:<rule>` or `steward`.
    """

    annotation_id: int
    image_id: int
    region_id: str
    category_id: int
    category: str
    bbox_xyxy_px: BoxPx
    mask_rle: str
    area_px: int
    bbox_scene_xyxy_px: BoxPx
    score: float
    source: str
    area_m2: float | None = None
    lon_lat: tuple[float, float] | None = None


_ROWS_AT_ONCE = 20_000
_NAMES = [each.name for each in dataclasses.fields(Annotation)]
ANNOTATION_SCHEMA = dataclass_schema(Annotation)
#: Python has tuples where Arrow gives lists.
_TUPLES = [n for n in _NAMES if pa.types.is_fixed_size_list(ANNOTATION_SCHEMA.field(n).type)]


class Annotations:
    """The annotations of a release, in the order of their images, as columns.

    They come and go one by one, but a million of them take a few hundred megabytes.

    Attributes:
        table: The columns, by the fields of `Annotation`.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, annotations: Iterable[Annotation]) -> "Annotations":
        """Takes them one by one."""
        left = iter(annotations)
        batches = []
        while rows := list(islice(left, _ROWS_AT_ONCE)):
            arrays = [
                pa.array([getattr(row, field.name) for row in rows], field.type)
                for field in ANNOTATION_SCHEMA
            ]
            batches.append(pa.record_batch(arrays, schema=ANNOTATION_SCHEMA))
        return cls(pa.Table.from_batches(batches, schema=ANNOTATION_SCHEMA))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Annotation]:
        for batch in self.table.to_batches(_ROWS_AT_ONCE):
            yield from annotations_of(batch)

    def column(self, name: str) -> pa.ChunkedArray:
        """One field of all of them."""
        return self.table[name]


def annotations_of(batch: pa.RecordBatch) -> Iterator[Annotation]:
    """The annotations of a batch that has `ANNOTATION_SCHEMA`."""
    columns = [batch.column(name).to_pylist() for name in _NAMES]
    for name in _TUPLES:
        place = _NAMES.index(name)
        columns[place] = [None if value is None else tuple(value) for value in columns[place]]
    for values in zip(*columns, strict=True):
        yield Annotation(*values)


def by_image(
    images: Iterable[ReleaseImage], annotations: Iterable[Annotation]
) -> Iterator[tuple[ReleaseImage, list[Annotation]]]:
    """Each image with its annotations, if any; both in the order of the images' ids."""
    groups = groupby(annotations, attrgetter("image_id"))
    image_id, group = next(groups, (None, iter(())))
    for image in images:
        here: list[Annotation] = []
        if image.image_id == image_id:
            here = list(group)
            image_id, group = next(groups, (None, iter(())))
        yield image, here


@dataclass(frozen=True)
class Dataset:
    """The current truth, ready to be validated and written.

    Attributes:
        images: In the order of their ids.
        left_out: Regions and verdicts that are not in, by reason.
    """

    images: tuple[ReleaseImage, ...]
    annotations: Annotations
    categories: tuple[Category, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def by_image(self) -> Iterator[tuple[ReleaseImage, list[Annotation]]]:
        """Each image with its annotations, if any."""
        return by_image(self.images, self.annotations)

    def counts(self) -> dict[str, int]:
        """How much of each there is; an object on several tiles is one object."""
        return {
            "scenes": len({image.scene_id for image in self.images}),
            "images": len(self.images),
            "objects": int(pc.count_distinct(self.annotations.column("region_id")).as_py()),
            "annotations": len(self.annotations),
            "categories": len(self.categories),
        }

    def objects_by_category(self, scenes: Collection[str] | None = None) -> dict[str, int]:
        """Objects of each category, in the categories' order; of all scenes, or of these."""
        table = self.annotations.table.select(["region_id", "category", "image_id"])
        if scenes is not None:
            images = [image.image_id for image in self.images if image.scene_id in scenes]
            table = table.filter(pc.is_in(table["image_id"], pa.array(images, pa.int64())))
        objects = table.group_by(["category", "region_id"]).aggregate([])
        counted = Counter(objects["category"].to_pylist())
        return {category.name: counted[category.name] for category in self.categories}
