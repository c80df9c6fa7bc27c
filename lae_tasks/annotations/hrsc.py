"""HRSC2016: one XML file per image in a layout of its own, an oriented box per ship.

`HRSC_Objects/HRSC_Object` holds `Class_ID` and the oriented box: centre `mbox_cx`, `mbox_cy`, size
`mbox_w`, `mbox_h` in pixels, and `mbox_ang` in radians, which turns the x axis towards the y axis
(clockwise as seen). The upright `box_xmin` … beside it is not read: it fits the ship, not the box.
"""

import math

from lae_tasks.annotations.annotation import (
    Annotation,
    AnnotationError,
    Points,
    check_size,
    envelope,
    short,
)
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

#: By the last two digits of `Class_ID`, as in the data set's `sysdata.xml`, in mmrotate's spelling.
CATEGORIES = {
    1: "ship",
    2: "aircraft carrier",
    3: "warcraft",
    4: "merchant ship",
    5: "Nimitz",
    6: "Enterprise",
    7: "Arleigh Burke",
    8: "WhidbeyIsland",
    9: "Perry",
    10: "Sanantonio",
    11: "Ticonderoga",
    12: "Kitty Hawk",
    13: "Kuznetsov",
    14: "Abukuma",
    15: "Austen",
    16: "Tarawa",
    17: "Blue Ridge",
    18: "Container",
    19: "OXo|--)",
    20: "Car carrier([]==[])",
    22: "Hovercraft",
    24: "yacht",
    25: "CntShip(_|.--.--|_]=",
    26: "Cruise",
    27: "submarine",
    28: "lute",
    29: "Medical",
    30: "Car carrier(======|",
    31: "Ford-class",
    32: "Midway-class",
    33: "Invincible-class",
}
_BY_ID = {str(100_000_000 + number): name for number, name in CATEGORIES.items()}


def read(
    storage: Storage, location: str, image_key: str, width_px: int, height_px: int
) -> list[Annotation] | None:
    """Reads `location/NAME.xml` of the image `NAME`.

    Args:
        storage: Where the data set lies.
        location: The folder of label files, such as `HRSC2016/FullDataSet/Annotations`.
        image_key: The image's key.
        width_px: Width of the upright image.
        height_px: Height of the upright image.

    Returns:
        None if there is no such file, or it says that the image was not annotated.

    Raises:
        AnnotationError: If it is not in this format, or about an image of another size.
    """
    key = label_key(location, image_key, ".xml")
    data = read_or_none(storage, key)
    if data is None:
        return None
    root = parse(data, key, "HRSC_Image")
    size = stated_size(root, "Img_SizeWidth", "Img_SizeHeight", key)
    check_size(size, (width_px, height_px), key)
    objects = root.findall("HRSC_Objects/HRSC_Object")
    if not objects and (root.findtext("Annotated") or "").strip() == "0":
        return None
    return [_object(each, key) for each in objects]


def _object(element: Element, key: str) -> Annotation:
    class_id = text(element, "Class_ID", key)
    if class_id not in _BY_ID:
        raise AnnotationError(
            place_of(element, key),
            f"Class_ID {short(class_id)} is not in HRSC2016",
            "use an id of its sysdata.xml",
        )
    corners = _corners(
        *(child_number(element, f"mbox_{name}", key) for name in ("cx", "cy", "w", "h", "ang"))
    )
    difficult = flag(element, "difficult", key)
    return Annotation(_BY_ID[class_id], envelope(corners), difficult=difficult)


def _corners(cx: float, cy: float, width: float, height: float, angle_rad: float) -> Points:
    """The corners of a turned box, from its upper left one on, clockwise where the angle is 0."""
    if not math.isfinite(angle_rad):
        return ((math.nan, math.nan),) * 4
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    halves = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    return tuple(
        (cx + u * width * cos - v * height * sin, cy + u * width * sin + v * height * cos)
        for u, v in halves
    )
