"""Pascal VOC: one XML file per image, as DIOR, DIOR-R and RSOD have it.

Coordinates are whole pixels counted from 1, and the last pixel belongs to the box: the VOC2012
development kit says "the top-left pixel in the image has coordinates (1,1)". So `bndbox`
(1, 1, 4, 4) is (0, 0, 4, 4) here. Data sets that count from 0 against the rule are off by a pixel
at most.

DIOR-R has `robndbox` instead, with four corners. A corner's pixel is counted from 1, too, and the
corner taken as that pixel's centre: 1 is 0.5 here. DIOR's own files have no `difficult`.
"""

from lae_tasks.annotations.annotation import Annotation, AnnotationError, check_size, envelope
from lae_tasks.annotations.label_files import label_key, read_or_none
from lae_tasks.annotations.xml_files import (
    Element,
    child_number,
    flag,
    parse,
    place_of,
    stated_size,
    text,
)
from lae_tasks.storage import Storage

_CORNERS = ("left_top", "right_top", "right_bottom", "left_bottom")


def read(
    storage: Storage, location: str, image_key: str, width_px: int, height_px: int
) -> list[Annotation] | None:
    """Reads `location/NAME.xml` of the image `NAME`.

    Args:
        storage: Where the data set lies.
        location: The folder of label files, such as `DIOR/Annotations`.
        image_key: The image's key.
        width_px: Width of the upright image.
        height_px: Height of the upright image.

    Returns:
        None if there is no such file.

    Raises:
        AnnotationError: If it is not in this format, or about an image of another size.
    """
    key = label_key(location, image_key, ".xml")
    data = read_or_none(storage, key)
    if data is None:
        return None
    root = parse(data, key, "annotation")
    if root.find("objects") is not None:
        raise AnnotationError(key, "<objects> is FAIR1M's", "use the format fair1m")
    size = stated_size(root, "size/width", "size/height", key)
    check_size(size, (width_px, height_px), key)
    return [_object(each, key) for each in root.findall("object")]


def _object(element: Element, key: str) -> Annotation:
    category, difficult = text(element, "name", key), flag(element, "difficult", key)
    rotated, upright = element.find("robndbox"), element.find("bndbox")
    if rotated is not None:
        corners = tuple(
            (
                child_number(rotated, f"x_{corner}", key) - 0.5,
                child_number(rotated, f"y_{corner}", key) - 0.5,
            )
            for corner in _CORNERS
        )
        return Annotation(category, envelope(corners), difficult=difficult)
    if upright is None:
        raise AnnotationError(
            place_of(element, key), "<object> has no <bndbox> or <robndbox>", "add one"
        )
    x0, y0, x1, y1 = (child_number(upright, tag, key) for tag in ("xmin", "ymin", "xmax", "ymax"))
    return Annotation(category, (x0 - 1, y0 - 1, x1, y1), difficult=difficult)
