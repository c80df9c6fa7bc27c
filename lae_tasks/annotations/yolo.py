"""YOLO: one text file per image, a line per object, and a file with the classes' names.

    class cx cy width height          an upright box, by its centre
    class x1 y1 x2 y2 x3 y3 x4 y4     an oriented box (Ultralytics OBB): its envelope is taken
    class x1 y1 x2 y2 x3 y3 …         the outline of a segment: likewise

All coordinates are shares of the image's width and height. Names come from the nearest `data.yaml`
(`names`, a list or numbers with names) or `classes.txt` (one per line, from class 0 on), in the
folder of labels or one above it. If its `kpt_shape` says that keypoints follow each upright box,
they are left out. Ultralytics writes no file for an image without objects, so a missing file says
nothing.
"""

from lae_tasks.annotations.annotation import (
    Annotation,
    AnnotationError,
    envelope,
    numbers,
    pairs,
    short,
    whole_number,
)
from lae_tasks.annotations.label_files import label_key, lines, read_or_none
from lae_tasks.annotations.yolo_names import YoloNames, read_names
from lae_tasks.storage import Storage


def read(
    storage: Storage, location: str, image_key: str, width_px: int, height_px: int
) -> list[Annotation] | None:
    """Reads `location/NAME.txt` of the image `NAME`.

    Args:
        storage: Where the data set lies.
        location: The folder of label files, such as `ships/labels/train`.
        image_key: The image's key.
        width_px: Width of the upright image.
        height_px: Height of the upright image.

    Returns:
        None if there is no such file.

    Raises:
        AnnotationError: If it is not in this format, or a class has no name.
    """
    key = label_key(location, image_key, ".txt")
    data = read_or_none(storage, key)
    if data is None:
        return None
    objects = list(lines(data, key))
    names = read_names(storage, location) if objects else YoloNames({})
    return [_object(text, names, (width_px, height_px), place) for place, text in objects]


def _object(text: str, names: YoloNames, size_px: tuple[int, int], place: str) -> Annotation:
    fields = text.split()
    if names.keypoint_fields:
        if len(fields) not in (5, 5 + names.keypoint_fields):
            raise AnnotationError(
                place,
                f"{short(text)} has {len(fields)} fields",
                f"write class cx cy width height and {names.keypoint_fields} numbers of keypoints, "
                "as kpt_shape has it",
            )
        fields = fields[:5]
    if len(fields) < 5 or len(fields) % 2 == 0:
        raise AnnotationError(
            place,
            f"{short(text)} has {len(fields)} fields",
            "write class cx cy width height, or class x1 y1 x2 y2 x3 y3 …",
        )
    class_number = whole_number(fields[0], place)
    if class_number not in names.by_class:
        raise AnnotationError(
            place, f"class {class_number} has no name", "add it to data.yaml or classes.txt"
        )
    shares = numbers(fields[1:], len(fields) - 1, "the box", place)
    # An object may reach beyond the image, but coordinates in pixels are far beyond it.
    if any(abs(share - 0.5) > 1.5 for share in shares):
        raise AnnotationError(
            place,
            f"{short(text)} is not normalised",
            "divide x by the image's width, y by its height",
        )
    width_px, height_px = size_px
    points = tuple((x * width_px, y * height_px) for x, y in pairs(shares))
    category = names.by_class[class_number]
    if len(points) == 2:
        (cx, cy), (width, height) = points
        box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        return Annotation(category, box)
    return Annotation(category, envelope(points))
