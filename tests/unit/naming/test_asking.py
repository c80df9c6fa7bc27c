"""Asking: every item comes back in its place, however far ahead the crops are taken."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest

from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.naming.asking import asked


def crop_of(number: int) -> Image | None:
    """Multiples of three are not asked about."""
    return None if number % 3 == 0 else np.full((1, 1, 3), number, dtype=np.uint8)


def test_nobody_is_asked_on_if_the_answers_are_not_wanted() -> None:
    ended = []

    def reply(crops: Iterator[Image]) -> Iterator[Reply]:
        try:
            yield from (Reply("") for _ in crops)
        finally:
            ended.append(True)

    answered = asked(range(1, 9), crop_of, reply)
    next(answered)
    answered.close()
    assert ended == [True]


@pytest.mark.parametrize("at_once", [1, 4, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 31])
def test_items_come_back_in_order(count: int, at_once: int) -> None:
    def reply(crops: Iterator[Image]) -> Iterator[Reply]:
        while batch := list(islice(crops, at_once)):
            yield from (Reply(str(crop[0, 0, 0])) for crop in batch)

    answered = list(asked(range(count), crop_of, reply))
    assert [number for number, _ in answered] == list(range(count))
    for number, answer in answered:
        assert (answer.text if answer else None) == (str(number) if number % 3 else None)


def test_what_has_no_crop_does_not_wait_in_memory() -> None:
    taken = 0
    most = 0
    calls = []

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 20_000:
            yield taken
            taken += 1

    def reply(crops: Iterator[Image]) -> Iterator[Reply]:
        calls.append(True)
        return (Reply(str(crop[0, 0, 0])) for crop in crops)

    def rare(number: int) -> Image | None:
        return np.full((1, 1, 3), 7, dtype=np.uint8) if number in (5, 9_000, 9_001) else None

    answered = []
    for number, answer in asked(items(), rare, reply):
        most = max(most, taken - number)
        answered.append((number, answer is not None))
    assert answered == [(n, n in (5, 9_000, 9_001)) for n in range(20_000)]
    assert most < 2_000
    assert len(calls) < 30
