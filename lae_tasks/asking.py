"""Asks a Classifier about some of many things, and gives all of them back in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

from lae_tasks.backends.protocols import Image, Reply

T = TypeVar("T")


def asked(
    items: Iterable[T],
    crop_of: Callable[[T], Image | None],
    reply: Callable[[Iterator[Image]], Iterator[Reply]],
) -> Generator[tuple[T, Reply | None]]:
    """Each item with the reply to its crop, in order; with None where it has no crop to ask about.

    Args:
        items: Taken as far ahead as `reply` takes crops.
        crop_of: What to ask about an item.
        reply: Gives one reply for each crop, in order.
    """
    waiting: deque[tuple[T, bool]] = deque()

    def crops() -> Iterator[Image]:
        for item in items:
            crop = crop_of(item)
            waiting.append((item, crop is not None))
            if crop is not None:
                yield crop

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
