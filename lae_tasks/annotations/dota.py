"""DOTA: one text file per image, an oriented box per line.

    imagesource:GoogleEarth
    gsd:0.146343590398
    2753 2408 2861 2385 2888 2468 2805 2502 plane 0

The first two lines stand in v1.0 only. Eight coordinates x1 y1 … x4 y4 in pixels, the category, and
`difficult`: 0 or 1, and 2 where DOTA's own splitting has cut an object. Nine fields mean that it is
not difficult, as DOTA_devkit reads them.
"""

from lae_tasks.annotations.annotation import (
    Annotation,
    AnnotationError,
    envelope,
    numbers,
    pairs,
    short,
)
from lae_tasks.annotations.label_files import label_key, lines, read_or_none
from lae_tasks.storage import Storage

_HEADERS = ("imagesource:", "gsd:", "acquisition dates:")
_DIFFICULT = {"0": False, "1": True, "2": True}


def read(
    storage: Storage, location: str, image_key: str, width_px: int, height_px: int
) -> list[Annotation] | None:
    """Reads `location/NAME.txt` of the image `NAME`.

    Args:
        storage: Where the data set lies.
        location: The folder of label files, such as `DOTA/labelTxt`.
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
    return [
        _object(text, place)
        for place, text in lines(data, key)
        if not text.lower().startswith(_HEADERS)
    ]


def _object(text: str, place: str) -> Annotation:
    fields = text.split()
    if len(fields) not in (9, 10):
        raise AnnotationError(
            place,
            f"{short(text)} has {len(fields)} fields",
            "write x1 y1 x2 y2 x3 y3 x4 y4 category difficult",
        )
    corners = pairs(numbers(fields[:8], 8, "the box", place))
    said = fields[9] if len(fields) == 10 else "0"
    if said not in _DIFFICULT:
        raise AnnotationError(place, f"difficult is {short(said)}", "write 0, 1 or 2")
    return Annotation(fields[8], envelope(corners), difficult=_DIFFICULT[said])
