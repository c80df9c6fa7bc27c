"""A JSON object in the midst of a text, and where each of its values stands."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_BRACE = re.compile(r"\{")
_OBJECT = re.compile(r'\{[ \t\n\r]*"')
_SPACE = re.compile(r"[ \t\n\r]*")


class AmbiguousJsonError(ValueError):
    """A key stands twice in one object."""


@dataclass(frozen=True)
class Member:
    """A value of an object, and the part of the text that it takes, with its quotes if any."""

    value: Any
    start: int
    end: int


def find_object(text: str, key: str) -> dict[str, Member] | None:
    """The members of the first whole JSON object that has a key; None where there is none.

    Raises:
        AmbiguousJsonError: If a key stands twice in one object.
    """
    for brace in _BRACE.finditer(text):
        try:
            members = _read(text, brace.start())
        except AmbiguousJsonError:
            raise
        except (ValueError, RecursionError):
            if _OBJECT.match(text, brace.start()):
                return None  # cut off: what it holds inside is not what was meant
            continue
        if key in members:
            return members
    return None


def _read(text: str, start: int) -> dict[str, Member]:
    members: dict[str, Member] = {}
    for key, member in _members(text, _skip(text, start + 1)):
        _check_new(key, members)
        members[key] = member
    return members


def _members(text: str, place: int) -> Iterator[tuple[str, Member]]:
    while not text.startswith("}", place):
        key, place = _DECODER.raw_decode(text, place)
        place = _skip(text, place)
        if not isinstance(key, str) or not text.startswith(":", place):
            raise ValueError(f"no key at {place}")
        start = _skip(text, place + 1)
        value, end = _DECODER.raw_decode(text, start)
        yield key, Member(value, start, end)
        place = _skip(text, end)
        if text.startswith(",", place):
            place = _skip(text, place + 1)
        elif not text.startswith("}", place):
            raise ValueError(f"no end at {place}")


def _skip(text: str, place: int) -> int:
    space = _SPACE.match(text, place)
    return space.end() if space else place


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        _check_new(key, made)
        made[key] = value
    return made


def _check_new(key: str, made: dict[str, Any]) -> None:
    if key in made:
        raise AmbiguousJsonError(f"the key {key!r} stands twice")


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
