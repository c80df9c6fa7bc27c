"""Reading any of the formats: the table of them, and what is common to all."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from lae_tasks.annotations import coco, dota, fair1m, hrsc, nwpu, voc, xview, yolo
from lae_tasks.annotations.annotation import Annotation, Annotations
from lae_tasks.annotations.label_files import label_key
from lae_tasks.errors import ConfigError
from lae_tasks.storage import Storage

Reader = Callable[[Storage, str, str, int, int], list[Annotation] | None]

FORMATS: dict[str, Reader] = {
    "coco": coco.read,
    "dota": dota.read,
    "voc": voc.read,
    "hrsc": hrsc.read,
    "fair1m": fair1m.read,
    "xview": xview.read,
    "nwpu": nwpu.read,
    "yolo": yolo.read,
}

_LABEL_SUFFIXES = {
    "dota": ".txt",
    "voc": ".xml",
    "hrsc": ".xml",
    "fair1m": ".xml",
    "nwpu": ".txt",
    "yolo": ".txt",
}
#: Whether the one file of a data set lists any of some images, by format.
_LISTS = {"coco": coco.lists, "xview": xview.lists}


def label_file(format: str, location: str, image_key: str) -> str:
    """The key of the file that speaks of an image, if there is one."""
    suffix = _LABEL_SUFFIXES.get(format)
    return label_key(location, image_key, suffix) if suffix else location


def says_something(storage: Storage, format: str, location: str, image_keys: Sequence[str]) -> bool:
    """Whether anything is said of any of the images, be it that it shows nothing.

    Args:
        storage: Where the data set lies.
        format: A key of `FORMATS`.
        location: As for `read_annotations`.
        image_keys: The keys of images whose `label_file` is there.

    Raises:
        AnnotationError: If that cannot be told, as the file cannot be read.
    """
    return bool(image_keys) and (
        format not in _LISTS or _LISTS[format](storage, location, image_keys)
    )


def read_annotations(
    storage: Storage,
    format: str,
    location: str,
    image_key: str,
    width_px: int,
    height_px: int,
) -> Annotations | None:
    """What a data set says of one image, clipped to it.

    Args:
        storage: Where the data set lies.
        format: A key of `FORMATS`.
        location: The folder of its label files, or the key of its one file (coco, xview).
        image_key: The image's key; the folder need not be that of the labels.
        width_px: Width of the upright image.
        height_px: Height of the upright image.

    Returns:
        None if the data set says nothing of the image.

    Raises:
        ConfigError: If the format is unknown.
        AnnotationError: If what it says cannot be read.
    """
    if format not in FORMATS:
        raise ConfigError(f"annotation format {format!r}: use one of {', '.join(FORMATS)}")
    found = FORMATS[format](storage, location, image_key, width_px, height_px)
    if found is None:
        return None
    clipped = [_clipped(each, width_px, height_px) for each in found]
    items = tuple(each for each in clipped if each is not None)
    return Annotations(items, unusable=len(found) - len(items))


def _clipped(annotation: Annotation, width_px: int, height_px: int) -> Annotation | None:
    """The part of an annotation within the image; None if there is none."""
    x0, y0, x1, y1 = annotation.bbox_xyxy_px
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        return None
    if annotation.is_point:
        return annotation if 0 <= x0 < width_px and 0 <= y0 < height_px else None
    x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, width_px), min(y1, height_px)
    if x0 >= x1 or y0 >= y1:
        return None
    return replace(annotation, bbox_xyxy_px=(x0, y0, float(x1), float(y1)))
