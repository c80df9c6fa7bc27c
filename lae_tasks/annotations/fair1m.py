"""FAIR1M: one XML file per image, an oriented box per object.

`objects/object` holds `possibleresult/name` and `points` with five `<point>x,y</point>`, of which
the last repeats the first. Pixels, with decimals, taken as they stand. There is no `difficult`.
"""

from lae_tasks.annotations.annotation import (
    Annotation,
    AnnotationError,
    check_size,
    envelope,
    numbers,
    pairs,
    short,
)
from lae_tasks.annotations.label_files import label_key, read_or_none
from lae_tasks.annotations.xml_files import Element, child, parse, place_of, stated_size, text
from lae_tasks.storage import Storage


def read(
    storage: Storage, location: str, image_key: str, width_px: int, height_px: int
) -> list[Annotation] | None:
    """Reads `location/NAME.xml` of the image `NAME`.

    Args:
        storage: Where the data set lies.
        location: The folder of label files, such as `FAIR1M/train/part1/labelXml`.
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
    size = stated_size(root, "size/width", "size/height", key)
    check_size(size, (width_px, height_px), key)
    return [_object(each, key) for each in child(root, "objects", key).findall("object")]


def _object(element: Element, key: str) -> Annotation:
    place = place_of(element, key)
    unit = (element.findtext("coordinate") or "pixel").strip()
    if unit != "pixel":
        raise AnnotationError(place, f"<coordinate> is {short(unit)}", "give coordinates in pixels")
    points = child(element, "points", key).findall("point")
    corners = tuple(_point(each, key) for each in points)
    if len(corners) == 5 and corners[0] == corners[4]:
        corners = corners[:4]
    if len(corners) != 4:
        raise AnnotationError(
            place, f"the outline of {len(corners)} points is no closed box", "give four corners"
        )
    return Annotation(text(element, "possibleresult/name", key), envelope(corners))


def _point(element: Element, key: str) -> tuple[float, float]:
    parts = (element.text or "").split(",")
    return pairs(numbers(parts, 2, "<point>", place_of(element, key)))[0]
