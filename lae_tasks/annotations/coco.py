"""COCO instances: one JSON file with `images`, `annotations` and `categories` for all images.

`bbox` is (x, y, width, height) in pixels from the image's upper left corner. Without it, or if it
has no area, the box is that of `segmentation`: polygons, or RLE which pycocotools reads. Without
that either it is the box around the visible keypoints (v = 2), or a point if they have no width or
no height; an annotation with none of these has no place and counts as unusable.

A crowd (`iscrowd`) is not one object: it has no place either. It and an annotation with `ignore`
are difficult: COCO's evaluation ignores both, as VOC's does objects that are difficult.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lae_tasks.annotations.annotation import (
    NOWHERE,
    Annotation,
    AnnotationError,
    BoxXyxy,
    check_size,
    envelope,
    number,
    numbers,
    pairs,
    short,
    whole_number,
)
from lae_tasks.annotations.coco_rle import rle_box
from lae_tasks.annotations.dataset_files import ImageIndex, dict_list, ident, load_json, parsed
from lae_tasks.storage import Storage


@dataclass(frozen=True)
class _Coco:
    """The file, its annotations by their image's id and its categories' names by their id."""

    images: ImageIndex[dict[str, Any]]
    annotations: dict[str, list[dict[str, Any]]]
    categories: dict[str, str]


def read(
    storage: Storage, location: str, image_key: str, width_px: int, height_px: int
) -> list[Annotation] | None:
    """Reads what the file says of one image.

    Args:
        storage: Where the data set lies.
        location: The key of the JSON file.
        image_key: The image's key; `file_name` may be the end of it, or end with it.
        width_px: Width of the upright image.
        height_px: Height of the upright image.

    Returns:
        None if the file does not list the image.

    Raises:
        AnnotationError: If the file is not in this format, or about an image of another size, or
            several images fit the key.
    """
    coco = parsed(storage, location, _parse)
    image = coco.images.find(image_key, location)
    if image is None:
        return None
    place = f"{location}, image {short(image['id'])}"
    stated = (number(image.get("width") or 0, place), number(image.get("height") or 0, place))
    check_size(stated, (width_px, height_px), place)
    return [
        _annotation(entry, coco, (width_px, height_px), location)
        for entry in coco.annotations.get(ident(image["id"], "an image's id", location), [])
    ]


def lists(storage: Storage, location: str, image_keys: Sequence[str]) -> bool:
    """Whether the file lists any of the images. Raises as `read` does."""
    images = parsed(storage, location, _parse).images
    return any(images.find(key, location) is not None for key in image_keys)


def _parse(data: bytes, key: str) -> _Coco:
    whole = load_json(data, key, _slim)
    images, categories = _by_id(whole, "images", key), _by_id(whole, "categories", key)
    by_image: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in dict_list(whole, "annotations", key):
        image_id = ident(entry.get("image_id"), "an annotation's image_id", key)
        if image_id not in images:
            raise AnnotationError(
                _place(entry, key),
                f"image_id {short(entry['image_id'])} is unknown",
                "list it in 'images', or remove the annotation",
            )
        by_image[image_id].append(entry)
    names = {each: _name(category, "name", key) for each, category in categories.items()}
    files = ((_name(image, "file_name", key), image) for image in images.values())
    return _Coco(ImageIndex(files), dict(by_image), names)


def _slim(entry: dict[str, Any]) -> dict[str, Any]:
    """Drops, while parsing, the outline of what has a box: it is most of the file."""
    with suppress(AnnotationError):  # which is told when the annotation is read
        if _box(entry, ""):
            entry.pop("segmentation", None)
    return entry


def _place(entry: dict[str, Any], key: str) -> str:
    return f"{key}, annotation {short(entry.get('id'))}"


def _by_id(whole: dict[str, Any], what: str, key: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in dict_list(whole, what, key):
        identity = ident(entry.get("id"), f"an id of {what!r}", key)
        if identity in found:
            raise AnnotationError(
                key, f"two of {what!r} have the id {identity}", "give each its own"
            )
        found[identity] = entry
    return found


def _name(entry: dict[str, Any], field: str, key: str) -> str:
    value = entry.get(field)
    if not isinstance(value, str) or not value.strip():
        raise AnnotationError(key, f"{field!r} of {short(entry)} is no text", "fill it in")
    return value.strip()


def _annotation(
    entry: dict[str, Any], coco: _Coco, size_px: tuple[int, int], key: str
) -> Annotation:
    place = _place(entry, key)
    category_id = ident(entry.get("category_id"), "category_id", place)
    if category_id not in coco.categories:
        raise AnnotationError(
            place,
            f"category_id {short(entry['category_id'])} is unknown",
            "list it in 'categories'",
        )
    category = coco.categories[category_id]
    difficult = _flag(entry, "ignore", place)
    if _flag(entry, "iscrowd", place):
        return Annotation(category, NOWHERE, difficult=True)
    if (stated := _box(entry, place)) is not None:
        box = stated
    elif entry.get("segmentation"):
        box = _segmentation_box(entry["segmentation"], size_px, place)
    else:
        points = _visible_points(entry.get("keypoints") or [], place)
        box = envelope(points)
        if box[0] == box[2] or box[1] == box[3]:
            x, y = points[0]
            return Annotation(category, (x, y, x, y), is_point=True, difficult=difficult)
    return Annotation(category, box, difficult=difficult)


def _box(entry: dict[str, Any], place: str) -> BoxXyxy | None:
    """What `bbox` says; None without one, or if it has no area: some tools write zeros for none."""
    if not entry.get("bbox"):
        return None
    x, y, width, height = numbers(entry["bbox"], 4, "bbox", place)
    has_area = all(map(math.isfinite, (x, y, width, height))) and min(width, height) > 0
    return (x, y, x + width, y + height) if has_area else None


def _flag(entry: dict[str, Any], name: str, place: str) -> bool:
    """What is 0 or 1, or false or true; False without it."""
    value = entry.get(name) or 0
    return value is True or whole_number(value, place) != 0


def _visible_points(keypoints: object, place: str) -> list[tuple[float, float]]:
    if not isinstance(keypoints, list) or len(keypoints) % 3:
        raise AnnotationError(place, f"keypoints is {short(keypoints)}", "give x, y, v, x, y, v …")
    told = numbers(keypoints, len(keypoints), "keypoints", place)
    triples = zip(told[::3], told[1::3], told[2::3], strict=True)
    return [(x, y) for x, y, visibility in triples if visibility == 2]


def _segmentation_box(segmentation: object, size_px: tuple[int, int], place: str) -> BoxXyxy:
    """The box (x0, y0, x1, y1) around polygons or an RLE of an image of (width, height)."""
    if isinstance(segmentation, dict):
        return rle_box(segmentation, size_px, place)
    if not isinstance(segmentation, list):
        raise AnnotationError(
            place, f"segmentation is {short(segmentation)}", "give polygons or an RLE"
        )
    points: list[tuple[float, float]] = []
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise AnnotationError(place, f"polygon is {short(polygon)}", "give x, y, x, y, x, y …")
        points += pairs(numbers(polygon, len(polygon), "polygon", place))
    return envelope(points)
