"""WebDataset: tar shards, for training that reads one stream after another.

    webdataset.WebDataset("<release>/webdataset/train-{000000..000003}.tar").decode("rgb")

`train-000000.tar`, `val-000000.tar` and their like, of half a gigabyte or so, have two files for
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
import tarfile
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from lae_tasks.formats.coco import xywh
from lae_tasks.formats.writing import Source
from lae_tasks.releases.dataset import Annotation, ReleaseImage, Split

PATH = "webdataset"

#: About how large a shard may be, unless a single image is larger.
SHARD_BYTES = 500_000_000

_encode = json.JSONEncoder(ensure_ascii=False).encode


class Writer:
    """Writes shards while the images come; one of each split is open at a time."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._read = source.read
        numbers = {each.name: each.category_id for each in source.dataset.categories}
        told = json.dumps(numbers, indent=1, ensure_ascii=False)
        (folder / "categories.json").write_text(f"{told}\n", encoding="utf-8", newline="\n")
        self._folder = folder
        self._shards: dict[Split, tarfile.TarFile] = {}
        self._count: Counter[Split] = Counter()

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """Takes an image, unless it is in no split."""
        if not image.split:
            return
        told = _encode(_told(image, annotations)).encode()
        sample = {"json": told, "png": self._read(image)}
        shard = self._shards.get(image.split)
        if shard is None or shard.offset + sum(map(len, sample.values())) > SHARD_BYTES:
            if shard:
                shard.close()
            path = self._folder / f"{image.split}-{self._count[image.split]:06d}.tar"
            shard = self._shards[image.split] = tarfile.TarFile(path, "w")
            self._count[image.split] += 1
        for ending, data in sample.items():
            entry = tarfile.TarInfo(f"{image.tile_id}.{ending}")  # of 1970, and of nobody
            entry.size = len(data)
            shard.addfile(entry, BytesIO(data))

    def close(self) -> None:
        """Ends the shards."""
        for shard in self._shards.values():
            shard.close()


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
