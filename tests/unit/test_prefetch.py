"""Prefetching: the same items, errors where they belong, and no thread left behind."""

import threading
import time
from collections.abc import Iterator

import pytest

from lae_tasks.prefetch import prefetch


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefetch"]


def test_the_items_come_in_order() -> None:
    assert list(prefetch(range(100), 3)) == list(range(100))
    assert threads() == []


def test_they_are_made_ahead_but_not_all() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    ahead = prefetch(items(), 2)
    assert next(ahead) == 0
    time.sleep(0.3)
    assert 2 <= len(made) <= 5
    ahead.close()  # type: ignore[attr-defined]
    assert threads() == []
    assert len(made) <= 6


def test_an_error_is_raised_after_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    ahead = prefetch(items(), 5)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)
    assert threads() == []
