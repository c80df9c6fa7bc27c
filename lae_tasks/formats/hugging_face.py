"""A Hugging Face dataset: Parquet shards with the images in them, which `load_dataset` opens.

    datasets.load_dataset("<release>/hugging_face")["train"]

`data/train-00000.parquet` and its like, of half a gigabyte or so, have a row per image: `image`,
`image_id`, `width`, `height`, `tile_id`, `scene_key` and `objects`, which has lists, as those of
object detection datasets do: `bbox` (x, y, width, height in pixels), `category` (a class label),
`area` (pixels of the mask), `region_id`, `score` and `rle`, the mask's COCO compressed RLE, of the
image's size. `README.md` says which shards are which split. Images in no split are not in.

The images are copies: `load_dataset` opens no file outside the dataset's folder.

See https://huggingface.co/docs/datasets/object_detection for the layout.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from lae_tasks.formats.coco import xywh
from lae_tasks.formats.writing import Source
from lae_tasks.releases.dataset import SPLITS, Annotation, ReleaseImage

PATH = "hugging_face/README.md"

#: What the images of a shard and those of a row group may come to.
SHARD_BYTES = 500_000_000
_GROUP_BYTES = 50_000_000

#: What `datasets` calls the splits.
NAME_OF = {"train": "train", "val": "validation", "test": "test"}


class Writer:
    """Writes row groups while the images come; a shard of each split is open at a time."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._read = source.read
        self._label_of = {each.category_id: n for n, each in enumerate(source.dataset.categories)}
        names = [each.name for each in source.dataset.categories]
        used = {image.split for image in source.dataset.images}
        (folder / "data").mkdir()
        self._shards = {
            split: _Shards(folder / "data", NAME_OF[split], _schema(names))
            for split in SPLITS
            if split in used
        }
        about = {
            "pretty_name": source.config.title,
            "task_categories": ["object-detection", "image-segmentation"],
            "configs": [
                {
                    "config_name": "default",
                    "data_files": [
                        {"split": shards.name, "path": f"data/{shards.name}-*.parquet"}
                        for shards in self._shards.values()
                    ],
                }
            ],
        }
        told = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
        text = f"---\n{told}---\n\nFor `datasets.load_dataset`; see the release's README.\n"
        (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """Takes an image, unless it is in no split."""
        if image.split:
            data = self._read(image)
            row = {
                "image": {"bytes": data, "path": f"{image.tile_id}.png"},
                "image_id": image.image_id,
                "width": image.width_px,
                "height": image.height_px,
                "tile_id": image.tile_id,
                "scene_key": image.scene_key,
                "objects": {
                    "bbox": [xywh(each.bbox_xyxy_px) for each in annotations],
                    "category": [self._label_of[each.category_id] for each in annotations],
                    "area": [each.area_px for each in annotations],
                    "region_id": [each.region_id for each in annotations],
                    "score": [each.score for each in annotations],
                    "rle": [each.mask_rle for each in annotations],
                },
            }
            self._shards[image.split].add(row, len(data))

    def close(self) -> None:
        """Writes what is left."""
        for shards in self._shards.values():
            shards.close()


class _Shards:
    """The files of a split."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self.name = name
        self._folder, self._schema = folder, schema
        self._number = 0
        self._file: pq.ParquetWriter | None = None
        self._written = 0
        self._rows: list[dict[str, Any]] = []
        self._waiting = 0

    def add(self, row: dict[str, Any], size: int) -> None:
        if self._written + self._waiting + size > SHARD_BYTES:
            self.close()
        self._rows.append(row)
        self._waiting += size
        if self._waiting >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Ends a shard; what comes later begins another."""
        if self._rows:
            self._flush()
        if self._file:
            self._file.close()
            self._file, self._written = None, 0
            self._number += 1

    def _flush(self) -> None:
        if self._file is None:
            path = self._folder / f"{self.name}-{self._number:05d}.parquet"
            self._file = pq.ParquetWriter(
                path, self._schema, compression="zstd", use_dictionary=["scene_key"]
            )
        self._file.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._written += self._waiting
        self._rows, self._waiting = [], 0


def _schema(names: Sequence[str]) -> pa.Schema:
    """The columns, and what `datasets` takes them for."""
    labels: dict[str, object] = {"names": list(names), "_type": "ClassLabel"}
    objects: dict[str, tuple[pa.DataType, dict[str, object]]] = {
        "bbox": (pa.list_(pa.int64(), 4), _list(_value("int64"), 4)),
        "category": (pa.int64(), labels),
        "area": (pa.int64(), _value("int64")),
        "region_id": (pa.string(), _value("string")),
        "score": (pa.float64(), _value("float64")),
        "rle": (pa.string(), _value("string")),
    }
    columns = {
        "image": (pa.struct({"bytes": pa.binary(), "path": pa.string()}), {"_type": "Image"}),
        "image_id": (pa.int64(), _value("int64")),
        "width": (pa.int64(), _value("int64")),
        "height": (pa.int64(), _value("int64")),
        "tile_id": (pa.string(), _value("string")),
        "scene_key": (pa.string(), _value("string")),
        "objects": (
            pa.struct({name: pa.list_(kind) for name, (kind, _) in objects.items()}),
            {name: _list(feature) for name, (_, feature) in objects.items()},
        ),
    }
    features = {name: feature for name, (_, feature) in columns.items()}
    schema = pa.schema({name: kind for name, (kind, _) in columns.items()})
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _value(kind: str) -> dict[str, object]:
    return {"dtype": kind, "_type": "Value"}


def _list(of: dict[str, object], length: int = -1) -> dict[str, object]:
    return {"feature": of, "_type": "List"} | ({"length": length} if length > 0 else {})
