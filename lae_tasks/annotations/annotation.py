"""What a data set says of one object in an image, whatever its format.

Coordinates are continuous pixels of the upright image: x to the right, y down, (0, 0) the upper
left corner of the first pixel. So a half-open box of whole numbers covers whole pixels.
"""

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from lae_tasks.errors import LaeError

BoxXyxy = tuple[float, float, float, float]
Points = tuple[tuple[float, float], ...]

#: The box of what a data set names without saying where it is, and of a crowd, which is not one
#: object. It counts as unusable.
NOWHERE: BoxXyxy = (math.nan, math.nan, math.nan, math.nan)


class AnnotationError(LaeError):
    """A label file is not what its format promises."""

    def __init__(self, place: str, problem: str, remedy: str) -> None:
        """Takes the file's key and line, what is wrong there, and what to do."""
        super().__init__(place, problem, remedy)

    def __str__(self) -> str:
        place, problem, remedy = self.args
        return f"{place}: {problem}; {remedy}"


@dataclass(frozen=True)
class Annotation:
    """One object that a data set names.

    Attributes:
        category: As the data set names it; None where its number has no name.
        bbox_xyxy_px: (x0, y0, x1, y1), half open, in the upright image. Of an oriented box the
            envelope; of a point x0 == x1 and y0 == y1; `NOWHERE` if the data set does not say.
        is_point: A point, not a box.
        difficult: The data set marks it as hard to see, ignored in evaluation, or a crowd.
    """

    category: str | None
    bbox_xyxy_px: BoxXyxy
    is_point: bool = False
    difficult: bool = False


@dataclass(frozen=True)
class Annotations:
    """What a data set says of one image.

    Attributes:
        items: The objects within the image; boxes are clipped to it.
        unusable: How many more there were, without area within the image or a finite place.
    """

    items: tuple[Annotation, ...]
    unusable: int


def envelope(points: Sequence[tuple[float, float]]) -> BoxXyxy:
    """The upright box (x0, y0, x1, y1) around points (x, y).

    It is `NOWHERE` if there are none, or one is not finite.
    """
    if not points or not all(math.isfinite(x) and math.isfinite(y) for x, y in points):
        return NOWHERE
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)


def short(value: object) -> str:
    """A value as error messages show it."""
    return reprlib.repr(value)


def number(value: object, place: str) -> float:
    """A number from a text or a JSON value; it need not be finite.

    Args:
        value: What the file holds.
        place: File key and line, for the error.

    Raises:
        AnnotationError: If it is no number.
    """
    readable = isinstance(value, int | float) and not isinstance(value, bool)
    if readable or (isinstance(value, str) and "_" not in value):
        try:
            return float(cast(str | int | float, value))
        except ValueError:
            pass
        except OverflowError:  # a whole number beyond any float
            return math.inf
    raise AnnotationError(place, f"{short(value)} is not a number", "write a decimal number")


def whole_number(value: object, place: str) -> int:
    """A whole number, such as a class's; `3`, `"3"` and `3.0` are the same.

    Raises:
        AnnotationError: If it is none.
    """
    as_float = number(value, place)
    if not as_float.is_integer():
        raise AnnotationError(place, f"{short(value)} is not a whole number", "write one")
    return int(as_float)


def numbers(values: object, count: int, what: str, place: str) -> list[float]:
    """A JSON list, or the parts of a text, of just so many numbers.

    Args:
        values: What the file holds.
        count: How many there must be.
        what: What they say, for the error.
        place: File key and line, for the error.

    Raises:
        AnnotationError: If there are more or fewer, or one is no number.
    """
    if not isinstance(values, list) or len(values) != count:
        raise AnnotationError(place, f"{what} is {short(values)}", f"give {count} numbers")
    return [number(each, place) for each in values]


def pairs(values: Sequence[float]) -> Points:
    """(x, y) points from x1, y1, x2, y2, …"""
    return tuple(zip(values[::2], values[1::2], strict=True))


def check_size(stated: tuple[float, float], actual: tuple[int, int], place: str) -> None:
    """Refuses annotations that were made on an image of another size.

    Args:
        stated: (width, height) that the label file gives; zeros stand for "not known".
        actual: (width, height) of the image.
        place: File key and line, for the error.

    Raises:
        AnnotationError: If they differ: the coordinates would mean other places.
    """
    if 0 not in stated and stated != actual:
        raise AnnotationError(
            place,
            f"it is about an image of {stated[0]:g} x {stated[1]:g} px, but the image has "
            f"{actual[0]} x {actual[1]} px",
            "use the image that was annotated, or correct the size",
        )
