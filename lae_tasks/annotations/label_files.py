"""Label files that hold one image each: how they are found, and their text."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from lae_tasks.annotations.annotation import AnnotationError, short
from lae_tasks.storage import MissingObjectError, Storage


def label_key(location: str, image_key: str, suffix: str) -> str:
    """The key of an image's label file: `location/NAME.suffix`, NAME without its own suffix."""
    return f"{location.rstrip('/')}/{PurePosixPath(image_key).stem}{suffix}".lstrip("/")


def read_or_none(storage: Storage, key: str) -> bytes | None:
    """An object's content; None if there is no such object."""
    try:
        return storage.read(key)
    except MissingObjectError:
        return None


def decoded(data: bytes, key: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        AnnotationError: If it is in another encoding, which nothing in the file would tell.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AnnotationError(
            f"{key}, line {line}",
            f"{short(data[error.start : error.end])} is not UTF-8",
            "convert the file to UTF-8",
        ) from error


def lines(data: bytes, key: str) -> Iterator[tuple[str, str]]:
    """The lines of a text that are not blank, each with its place for error messages.

    Raises:
        AnnotationError: If the text is not in UTF-8.
    """
    for count, line in enumerate(decoded(data, key).split("\n"), start=1):
        if text := line.strip():
            yield f"{key}, line {count}", text
