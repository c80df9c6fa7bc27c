"""RangeFile: what was read is kept while it is open, and no longer."""

import gc
import weakref

import pytest

from lae_tasks.imagery.ranges import RangeFile


def test_a_closed_file_keeps_nothing() -> None:
    fetched: list[tuple[int, int]] = []

    def fetch(start: int, end: int) -> bytes:
        fetched.append((start, end))
        return bytes(end - start)

    file = RangeFile(fetch, 1000)
    assert file.read(10) == file.read(10)
    assert len(fetched) == 1
    cache = weakref.ref(file._cache)
    file.close()
    gc.collect()
    assert cache() is None
    with pytest.raises(ValueError, match="closed file"):
        file.read(10)
