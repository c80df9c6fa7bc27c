"""Data sets that are one file for all images: parsed once per process, and looked up by image."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any, Generic, TypeVar

from lae_tasks.annotations.annotation import AnnotationError, short
from lae_tasks.storage import MissingObjectError, Storage

T = TypeVar("T")

#: A night works on few data sets at a time, and a parsed one may be large. The last was used last.
_N_KEPT = 8
_kept: dict[tuple[str, str, str, str], Any] = {}


def parsed(storage: Storage, key: str, parse: Callable[[bytes, str], T]) -> T:
    """The parsed content of an object, kept as long as its etag stays the same.

    Of many objects the least recently used goes first.

    Args:
        storage: Where the object lies.
        key: Its key.
        parse: Makes the value of the object's content and key; a function at module level.

    Raises:
        AnnotationError: If there is no such object, or from `parse`.
    """
    info = storage.stat(key)
    if info is None:
        raise _no_such_file(key)
    name = (storage.uri, key, info.etag, parse.__module__)
    value: T
    if name in _kept:
        value = _kept.pop(name)
    else:
        try:
            value = parse(storage.read(key), key)
        except MissingObjectError as error:
            raise _no_such_file(key) from error
        while len(_kept) >= _N_KEPT:
            _kept.pop(next(iter(_kept)))
    _kept[name] = value
    return value


def _no_such_file(key: str) -> AnnotationError:
    return AnnotationError(key, "there is no such file", "correct the data set's location")


def load_json(
    data: bytes, key: str, object_hook: Callable[[dict[str, Any]], Any] | None = None
) -> dict[str, Any]:
    """The object that a JSON file holds.

    Args:
        data: The file, in UTF-8, -16 or -32, with or without a byte order mark.
        key: Its key, for errors.
        object_hook: As for `json.loads`.

    Raises:
        AnnotationError: If it is no JSON, or no object.
    """
    try:
        value = json.loads(data, object_hook=object_hook)
    except json.JSONDecodeError as error:
        raise AnnotationError(
            f"{key}, line {error.lineno}", f"no JSON: {error.msg}", "mend or replace the file"
        ) from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(key, f"no JSON: {error}", "mend or replace the file") from error
    if not isinstance(value, dict):
        raise AnnotationError(key, f"it holds {short(value)}", "give a JSON object")
    return value


def dict_list(holder: dict[str, Any], name: str, key: str) -> list[dict[str, Any]]:
    """A list of JSON objects in a file's object.

    Raises:
        AnnotationError: If it is missing or something else.
    """
    value = holder.get(name)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise AnnotationError(key, f"{name!r} is {short(value)}", "give a list of JSON objects")
    return value


def ident(value: object, what: str, place: str) -> str:
    """A whole number or a text that identifies something, as a text.

    Some tools write 7, some "7", and pandas 7.0 where another one was missing.

    Raises:
        AnnotationError: If it is neither.
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | str) and not isinstance(value, bool):
        return str(value)
    raise AnnotationError(place, f"{what} is {short(value)}", "give a whole number or a text")


class ImageIndex(Generic[T]):
    """What a data set holds of its images, found by an image's key."""

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        """Takes pairs of the image's name in the data set and what it holds of the image."""
        self._by_file: defaultdict[str, list[tuple[PurePosixPath, T]]] = defaultdict(list)
        for name, entry in entries:
            parts = name.replace("\\", "/").split("/")
            path = PurePosixPath("/".join(part for part in parts if part != ".."))
            self._by_file[path.name].append((path, entry))

    def find(self, image_key: str, key: str) -> T | None:
        """What the data set holds of an image; None if it does not know it.

        The name in the data set may be the image's key, the end of it, or longer at its front.

        Args:
            image_key: The image's key.
            key: The data set's key, for the error.

        Raises:
            AnnotationError: If several names fit, and not just one of them wholly.
        """
        wanted = PurePosixPath(image_key)
        found = [
            each for each in self._by_file.get(wanted.name, ()) if _ends_alike(each[0], wanted)
        ]
        exact = [each for each in found if each[0] == wanted]
        if len(exact) == 1 or len(found) == 1:
            return (exact or found)[0][1]
        if not found:
            return None
        names = ", ".join(sorted({str(path) for path, _ in found})[:3])
        raise AnnotationError(
            key,
            f"{len(found)} images fit the key {image_key!r}, such as {names}",
            "give each image one name that ends as its key does",
        )


def _ends_alike(one: PurePosixPath, other: PurePosixPath) -> bool:
    """Whether one path is the end of the other."""
    count = min(len(one.parts), len(other.parts))
    return one.parts[-count:] == other.parts[-count:]
