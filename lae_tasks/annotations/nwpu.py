"""NWPU VHR-10: one text file per image, an upright box per line.

    (563,478),(630,573),1
    ( 53, 71),(140,147),4

Upper left and lower right corner in pixels, and the class's number, as the data set's own readme
has it; spaces stand anywhere, and blank lines at the end. The corners are taken as the box's edges.
Images of the negative set have no file: the data set says nothing of them.
"""

import re

from lae_tasks.annotations.annotation import Annotation, AnnotationError, number, short
from lae_tasks.annotations.label_files import label_key, lines, read_or_none
from lae_tasks.storage import Storage

#: Class numbers begin with 1.
CATEGORIES = (
    "airplane",
    "ship",
    "storage tank",
    "baseball diamond",
    "tennis court",
    "basketball court",
    "ground track field",
    "harbor",
    "bridge",
    "vehicle",
)

_CORNER = r"\( ([^,() ]+) , ([^,() ]+) \)"
_BOX = re.compile(f"{_CORNER} , {_CORNER} , ([0-9]{{1,4}})".replace(" ", r"\s*"))


def read(
    storage: Storage, location: str, image_key: str, width_px: int, height_px: int
) -> list[Annotation] | None:
    """Reads `location/NAME.txt` of the image `NAME`.

    Args:
        storage: Where the data set lies.
        location: The folder of label files, such as `NWPU VHR-10 dataset/ground truth`.
        image_key: The image's key.
        width_px: Not used: the file does not say what size it is about.
        height_px: Not used.

    Returns:
        None if there is no such file.

    Raises:
        AnnotationError: If it is not in this format.
    """
    key = label_key(location, image_key, ".txt")
    data = read_or_none(storage, key)
    if data is None:
        return None
    return [_object(text, place) for place, text in lines(data, key)]


def _object(text: str, place: str) -> Annotation:
    match = _BOX.fullmatch(text)
    if not match:
        raise AnnotationError(place, f"{short(text)} is no box", "write (x1,y1),(x2,y2),class")
    class_number = int(match[5])
    if not 1 <= class_number <= len(CATEGORIES):
        raise AnnotationError(
            place, f"class {class_number} is not in NWPU VHR-10", f"use 1 to {len(CATEGORIES)}"
        )
    x0, y0, x1, y1 = (number(each, place) for each in match.groups()[:4])
    return Annotation(CATEGORIES[class_number - 1], (x0, y0, x1, y1))
