"""COCO instances: JSON files with RLE masks that pycocotools reads.

`instances.json` has everything; `instances_train.json` and its like have the images of one split,
with the same ids. File names are relative to the release's root.

Beside COCO's own fields, an image carries `tile_id`, `scene_id`, `scene_key`, `split` and
`window_px` (x, y, width, height in scene pixels), and an annotation `region_id`, `score`, `source`
and `bbox_scene` (x, y, width, height of the whole object in scene pixels), so that what was cut
into tiles can be put together again. Where the scene has a place on the ground, an image carries
`crs` and `transform` (rasterio's six coefficients, of this image), and an annotation `area_m2` and
`lon_lat` (WGS 84, degrees) of the whole object.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from lae_tasks.contracts import BoxPx
from lae_tasks.formats.writing import Source
from lae_tasks.releases.dataset import Annotation, ReleaseImage

PATH = "coco/instances.json"

_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


class Writer:
    """Streams the files: the images first, which are known, then the annotations."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._files = ExitStack()
        images = source.dataset.images
        splits = sorted({image.split for image in images if image.split})
        self._whole = self._begin(folder / "instances.json", source, images)
        self._of_split = {
            split: self._begin(
                folder / f"instances_{split}.json",
                source,
                [image for image in images if image.split == split],
            )
            for split in splits
        }

    def _begin(
        self, path: Path, source: Source, images: Iterable[ReleaseImage]
    ) -> Callable[[str], None]:
        file = self._files.enter_context(path.open("w", encoding="utf-8", newline="\n"))
        info = {
            "description": source.config.title,
            "url": "",
            "version": "",
            "contributor": "",
        }
        licence = {"id": 1, "name": source.config.licence, "url": ""}
        file.write(f'{{"info": {_encode(info)},\n"licenses": [{_encode(licence)}],\n')
        categories = (
            {"id": each.category_id, "name": each.name, "supercategory": each.parent}
            for each in source.dataset.categories
        )
        for name, entries in (("categories", categories), ("images", map(_image, images))):
            file.write(f'"{name}": [')
            for number, entry in enumerate(entries):
                file.write(f"{',' if number else ''}\n{_encode(entry)}")
            file.write("],\n")
        return self._annotations(file)

    def _annotations(self, file: TextIO) -> Callable[[str], None]:
        """Begins the last array; what is returned takes its lines."""
        file.write('"annotations": [')
        self._files.callback(file.write, "]}\n")
        before = ""

        def add(line: str) -> None:
            nonlocal before
            file.write(f"{before}\n{line}")
            before = ","

        return add

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """Writes an image's annotations."""
        of_split = self._of_split[image.split] if image.split else None
        for annotation in annotations:
            line = _encode(_annotation(annotation, (image.height_px, image.width_px)))
            self._whole(line)
            if of_split:
                of_split(line)

    def close(self) -> None:
        """Ends the files."""
        self._files.close()


def _image(image: ReleaseImage) -> dict[str, Any]:
    place = image.place
    ground = {"crs": place.crs, "transform": list(place.transform)} if place else {}
    return ground | {
        "id": image.image_id,
        "file_name": image.path,
        "width": image.width_px,
        "height": image.height_px,
        "license": 1,
        "tile_id": image.tile_id,
        "scene_id": image.scene_id,
        "scene_key": image.scene_key,
        "split": image.split,
        "window_px": list(image.window_px),
    }


def _annotation(annotation: Annotation, size: tuple[int, int]) -> dict[str, Any]:
    ground: dict[str, Any] = {}
    if annotation.area_m2 is not None:
        ground["area_m2"] = annotation.area_m2
    if annotation.lon_lat is not None:
        ground["lon_lat"] = list(annotation.lon_lat)
    return ground | {
        "id": annotation.annotation_id,
        "image_id": annotation.image_id,
        "category_id": annotation.category_id,
        "bbox": xywh(annotation.bbox_xyxy_px),
        "area": annotation.area_px,
        "iscrowd": 0,
        "segmentation": {"size": list(size), "counts": annotation.mask_rle},
        "region_id": annotation.region_id,
        "bbox_scene": xywh(annotation.bbox_scene_xyxy_px),
        "score": annotation.score,
        "source": annotation.source,
    }


def xywh(bbox_xyxy_px: BoxPx) -> list[int]:
    """COCO's way of writing a box: x, y, width, height."""
    x0, y0, x1, y1 = bbox_xyxy_px
    return [x0, y0, x1 - x0, y1 - y0]
