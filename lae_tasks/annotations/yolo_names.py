"""What a YOLO data set says of its rows: `data.yaml` or `classes.txt`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

import yaml

from lae_tasks.annotations.annotation import AnnotationError, short, whole_number
from lae_tasks.annotations.label_files import decoded, read_or_none
from lae_tasks.storage import Storage


@dataclass(frozen=True)
class YoloNames:
    """What a data set says of its rows.

    Attributes:
        by_class: The classes' names, by their numbers.
        keypoint_fields: How many numbers follow the box in a row, of data about poses.
    """

    by_class: dict[int, str]
    keypoint_fields: int = 0


def read_names(storage: Storage, location: str) -> YoloNames:
    """What the nearest file says, in the folder of labels or above it.

    Raises:
        AnnotationError: If there is none, or it is not in its format.
    """
    folder = PurePosixPath(location.strip("/"))
    for each in (folder, *folder.parents):
        for name, parse in (("data.yaml", _of_yaml), ("classes.txt", _of_text)):
            key = str(each / name)
            if (data := read_or_none(storage, key)) is not None:
                return parse(data, key)
    raise AnnotationError(
        location or "/", "it has no data.yaml or classes.txt", "put one there, or in a folder above"
    )


def _of_text(data: bytes, key: str) -> YoloNames:
    return YoloNames(_named(enumerate(decoded(data, key).split("\n"))))


def _named(names: Iterable[tuple[int, str]]) -> dict[int, str]:
    """Without those that are blank."""
    return {number: name.strip() for number, name in names if name.strip()}


def _of_yaml(data: bytes, key: str) -> YoloNames:
    try:
        # Every value stays a text: a class may be called `no` or `007`.
        whole = yaml.load(data, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = str(error).split("\n", 1)[0]
        raise AnnotationError(key, f"no YAML: {problem}", "mend or replace the file") from error
    told = whole if isinstance(whole, dict) else {}
    names = told.get("names")
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, dict) or not all(isinstance(each, str) for each in names.values()):
        raise AnnotationError(
            key, f"'names' is {short(names)}", "give a list of names, or numbers with names"
        )
    by_class = _named((whole_number(number, key), name) for number, name in names.items())
    return YoloNames(by_class, _keypoint_fields(told.get("kpt_shape"), key))


def _keypoint_fields(shape: object, key: str) -> int:
    """How many numbers `kpt_shape` means: [17, 3] are 17 points of x, y and visibility."""
    if not shape:
        return 0
    match shape:
        case [str(count), "2" | "3" as values] if re.fullmatch("[1-9][0-9]{0,3}", count):
            return int(count) * int(values)
    raise AnnotationError(
        key, f"'kpt_shape' is {short(shape)}", "give points and 2 or 3 numbers, such as [17, 3]"
    )
