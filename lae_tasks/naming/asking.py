"""Asks a Classifier about some of many things, and gives all of them back in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import TypeVar

from lae_tasks.backends.protocols import Image, Reply

T = TypeVar("T")

#: After so many in a row without a crop the Classifier shall say what it has: they wait for it.
_MOST_WITHOUT_CROP = 1000


def asked(
    items: Iterable[T],
    crop_of: Callable[[T], Image | None],
    reply: Callable[[Iterator[Image]], Iterator[Reply]],
) -> Generator[tuple[T, Reply | None]]:
    """Each item with the reply to its crop, in order; with None where it has no crop to ask about.

    Args:
        items: Taken as far ahead as `reply` takes crops.
        crop_of: What to ask about an item.
        reply: Gives one reply for each crop, in order; called anew after many items without one.
    """
    rest = iter(items)
    for first in rest:
        yield from _asked(chain([first], rest), crop_of, reply)


def _asked(
    items: Iterator[T],
    crop_of: Callable[[T], Image | None],
    reply: Callable[[Iterator[Image]], Iterator[Reply]],
) -> Generator[tuple[T, Reply | None]]:
    """The next items, until many in a row have no crop."""
    waiting: deque[tuple[T, bool]] = deque()

    def crops() -> Iterator[Image]:
        without_crop = 0
        for item in items:
            crop = crop_of(item)
            waiting.append((item, crop is not None))
            if crop is not None:
                yield crop
                without_crop = 0
                continue
            without_crop += 1
            if without_crop == _MOST_WITHOUT_CROP:
                return

    answers = reply(crops())
    try:
        for answer in answers:
            while not waiting[0][1]:
                yield waiting.popleft()[0], None
            yield waiting.popleft()[0], answer
    finally:
        close = getattr(answers, "close", None)  # of a generator, which stops what it has begun
        if close:
            close()
    # A Classifier that gave too few replies is found by the runner: its records are missing.
    yield from ((item, None) for item, has_crop in waiting if not has_crop)
