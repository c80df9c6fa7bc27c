"""The names of a YOLO data set's classes: `data.yaml` or `classes.txt`."""

from pathlib import PurePosixPath

import yaml

from lae_tasks.annotations.annotation import AnnotationError, short, whole_number
from lae_tasks.annotations.label_files import decoded, read_or_none
from lae_tasks.storage import Storage


def read_names(storage: Storage, location: str) -> dict[int, str]:
    """The names by class number, from the nearest file in the folder of labels or above it.

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


def _of_text(data: bytes, key: str) -> dict[int, str]:
    names = enumerate(line.strip() for line in decoded(data, key).split("\n"))
    return {number: name for number, name in names if name}


def _of_yaml(data: bytes, key: str) -> dict[int, str]:
    try:
        # Every value stays a text: a class may be called `no` or `007`.
        whole = yaml.load(data, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = str(error).split("\n", 1)[0]
        raise AnnotationError(key, f"no YAML: {problem}", "mend or replace the file") from error
    names = whole.get("names") if isinstance(whole, dict) else None
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, dict) or not all(isinstance(each, str) for each in names.values()):
        raise AnnotationError(
            key, f"'names' is {short(names)}", "give a list of names, or numbers with names"
        )
    return {whole_number(number, key): name.strip() for number, name in names.items() if name}
