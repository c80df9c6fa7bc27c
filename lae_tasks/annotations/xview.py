"""xView: one GeoJSON file for all images, with a feature per object.

Of a feature's `properties` are read `bounds_imcoords`, a text "x0,y0,x1,y1" of pixels, `image_id`,
such as "2355.tif", and `type_id`. The published file holds some boxes of types 75 and 82, which its
table of classes lacks: their category is None. Images without objects do not occur in it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lae_tasks.annotations.annotation import (
    Annotation,
    AnnotationError,
    numbers,
    short,
    whole_number,
)
from lae_tasks.annotations.dataset_files import ImageIndex, dict_list, load_json, parsed
from lae_tasks.annotations.xview_classes import CATEGORIES, UNNAMED
from lae_tasks.storage import Storage

_READ = ("bounds_imcoords", "image_id", "type_id")


@dataclass(frozen=True)
class _Feature:
    """What one feature says, as it says it."""

    number: int
    bounds: object
    type_id: object


def read(
    storage: Storage, location: str, image_key: str, width_px: int, height_px: int
) -> list[Annotation] | None:
    """Reads what the file says of one image.

    Args:
        storage: Where the data set lies.
        location: The key of the GeoJSON file, such as `xView/xView_train.geojson`.
        image_key: The image's key; it ends with the `image_id`.
        width_px: Not used: the file does not say what size it is about.
        height_px: Not used.

    Returns:
        None if no feature is about the image.

    Raises:
        AnnotationError: If the file is not in this format, or several images fit the key.
    """
    features = parsed(storage, location, _parse).find(image_key, location)
    return None if features is None else [_object(each, location) for each in features]


def lists(storage: Storage, location: str, image_keys: Sequence[str]) -> bool:
    """Whether a feature is about any of the images. Raises as `read` does."""
    images = parsed(storage, location, _parse)
    return any(images.find(key, location) is not None for key in image_keys)


def _parse(data: bytes, key: str) -> ImageIndex[list[_Feature]]:
    whole = load_json(data, key, _slim)
    by_image: defaultdict[str, list[_Feature]] = defaultdict(list)
    for count, feature in enumerate(dict_list(whole, "features", key), start=1):
        said = feature.get("properties")
        if not isinstance(said, dict) or not isinstance(said.get("image_id"), str):
            raise AnnotationError(
                f"{key}, feature {count}", "it has no text image_id", "fill in its properties"
            )
        told = _Feature(count, said.get("bounds_imcoords"), said.get("type_id"))
        by_image[said["image_id"]].append(told)
    return ImageIndex(by_image.items())


def _slim(entry: dict[str, Any]) -> dict[str, Any]:
    """Drops, while parsing, what is not read: the file has 600,000 features of a kilobyte each."""
    if "bounds_imcoords" in entry:
        return {name: entry.get(name) for name in _READ}
    entry.pop("geometry", None)
    return entry


def _object(feature: _Feature, key: str) -> Annotation:
    place = f"{key}, feature {feature.number}"
    if not isinstance(feature.bounds, str):
        raise AnnotationError(
            place, f"bounds_imcoords is {short(feature.bounds)}", 'write "x0,y0,x1,y1"'
        )
    x0, y0, x1, y1 = numbers(feature.bounds.split(","), 4, "bounds_imcoords", place)
    type_id = whole_number(feature.type_id, place)
    if type_id not in CATEGORIES and type_id not in UNNAMED:
        raise AnnotationError(place, f"type_id {type_id} is not in xView", "use one of its table")
    return Annotation(CATEGORIES.get(type_id), (x0, y0, x1, y1))
