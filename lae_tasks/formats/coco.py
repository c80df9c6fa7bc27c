"""COCO instances: a JSON file with RLE masks that pycocotools reads.

Beside COCO's own fields, an image carries `tile_id`, `scene_id`, `scene_key` and `window_px`
(x, y, width, height in scene pixels), and an annotation `region_id`, `score`, `source` and
`bbox_scene` (x, y, width, height of the whole object in scene pixels), so that what was cut into
tiles can be put together again. Where the scene has a place on the ground, an image carries `crs`
and `transform` (rasterio's six coefficients, of this image), and an annotation `area_m2` and
`lon_lat` (WGS 84, degrees) of the whole object.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from lae_tasks.config import ReleaseConfig
from lae_tasks.contracts import BoxPx
from lae_tasks.releases.dataset import Annotation, Dataset, ReleaseImage

PATH = "coco/instances.json"


def encode(dataset: Dataset, config: ReleaseConfig) -> bytes:
    """The file's bytes. The same dataset gives the same bytes."""
    return "".join(_chunks(dataset, config)).encode()


def _chunks(dataset: Dataset, config: ReleaseConfig) -> Iterator[str]:
    info = {"description": config.title, "url": "", "version": "", "contributor": ""}
    licence = {"id": 1, "name": config.licence, "url": ""}
    size_of = {image.image_id: (image.height_px, image.width_px) for image in dataset.images}
    categories = (
        {"id": category.category_id, "name": category.name, "supercategory": category.parent}
        for category in dataset.categories
    )
    yield f'{{"info": {_line(info)},\n"licenses": [{_line(licence)}],\n'
    yield from _array("categories", categories)
    yield ",\n"
    yield from _array("images", map(_image, dataset.images))
    yield ",\n"
    yield from _array(
        "annotations",
        (_annotation(each, size_of.get(each.image_id, (0, 0))) for each in dataset.annotations),
    )
    yield "}\n"


def _array(name: str, entries: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield f'"{name}": ['
    for number, entry in enumerate(entries):
        yield f"{',' if number else ''}\n{_line(entry)}"
    yield "]"


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True, ensure_ascii=False)


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
