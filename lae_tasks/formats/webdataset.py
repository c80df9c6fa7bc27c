"""WebDataset: tar shards, for training that reads one stream after another.

    webdataset.WebDataset("<release>/webdataset/train-{000000..000003}.tar").decode("rgb")

`train-000000.tar`, `val-000000.tar` and their like, of half a gigabyte at most, have two files for
each image: `<tile_id>.png`, the image, and `<tile_id>.json`:

    {"image_id", "tile_id", "scene_key", "width", "height", "annotations": [{"bbox": [x, y, width,
    height], "category", "category_id", "area", "region_id", "score", "segmentation": {"size",
    "counts"}}]}

Boxes are in pixels, and `segmentation` is COCO's compressed RLE. `categories.json` has the number
of each category. Images in no split are not in. A split's images follow each other as in the
release, scene by scene: shuffle them.

See https://github.com/webdataset/webdataset for the layout.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from webdataset import ShardWriter

from lae_tasks.formats.coco import xywh
from lae_tasks.formats.writing import Source
from lae_tasks.releases.dataset import SPLITS, Annotation, ReleaseImage

PATH = "webdataset"

#: What the files in a shard may come to.
SHARD_BYTES = 500_000_000

_encode = json.JSONEncoder(ensure_ascii=False).encode


class Writer:
    """Writes shards while the images come; one of each split is open at a time."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._read = source.read
        numbers = {each.name: each.category_id for each in source.dataset.categories}
        told = json.dumps(numbers, indent=1, ensure_ascii=False)
        (folder / "categories.json").write_text(f"{told}\n", encoding="utf-8", newline="\n")
        used = {image.split for image in source.dataset.images}
        begin = str(folder).replace("%", "%%")
        self._shards = {
            split: ShardWriter(
                f"{begin}/{split}-%06d.tar",
                maxcount=10**9,
                maxsize=10**15,  # it looks only after it has written
                verbose=0,
                encoder=False,
                mtime=0,
            )
            for split in SPLITS
            if split in used
        }

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """Takes an image, unless it is in no split."""
        if image.split:
            shards = self._shards[image.split]
            sample = {"png": self._read(image), "json": _encode(_told(image, annotations)).encode()}
            if shards.count and shards.size + sum(map(len, sample.values())) > SHARD_BYTES:
                shards.next_stream()
            shards.write({"__key__": image.tile_id, **sample})

    def close(self) -> None:
        """Ends the shards."""
        for shards in self._shards.values():
            shards.close()


def _told(image: ReleaseImage, annotations: Sequence[Annotation]) -> dict[str, Any]:
    size = [image.height_px, image.width_px]
    return {
        "image_id": image.image_id,
        "tile_id": image.tile_id,
        "scene_key": image.scene_key,
        "width": image.width_px,
        "height": image.height_px,
        "annotations": [
            {
                "bbox": xywh(each.bbox_xyxy_px),
                "category": each.category,
                "category_id": each.category_id,
                "area": each.area_px,
                "region_id": each.region_id,
                "score": each.score,
                "segmentation": {"size": size, "counts": each.mask_rle},
            }
            for each in annotations
        ],
    }
