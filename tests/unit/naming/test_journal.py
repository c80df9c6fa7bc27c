"""The journal: what was paid for is found again, each reply once, whatever became of the rest."""

import logging
from pathlib import Path
from typing import BinaryIO

import pytest

from lae_tasks.backends.protocols import Reply
from lae_tasks.errors import TransientError
from lae_tasks.naming import journal as journals
from lae_tasks.naming.journal import Journal
from lae_tasks.storage import LocalStorage

PREFIX = "replies/2026-11-22/0000/"
WHOLE = Reply(
    '"café"\n',
    (1, 5, 7),
    (1.0, 0.5, 0.25),
    others=(Reply('"bar"', (5,), (0.1,)),),
    counts={"requests": 2, "cost_microusd": 30},
)


def test_a_reply_is_found_whole_and_once(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)
    with Journal(store, PREFIX) as journal:
        assert journal.take("a") is None
        for key, reply in (("a", WHOLE), ("a", Reply("second")), ("b", Reply("", problem="no"))):
            journal.keep(key, reply)
        journal.keep_cost({"cost_microusd": 5})
        assert (journal.answered, journal.spent) == (3, 35)
    with Journal(store, PREFIX) as journal:
        assert (journal.answered, journal.spent, journal.dearest) == (3, 35, 30)
        assert journal.take("a") == WHOLE
        assert journal.take("a") == Reply("second")
        assert journal.take("a") is None
        assert journal.take("b") == Reply("", problem="no")
        assert journal.take("") is None


def test_what_is_unwritten_is_never_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This is what an attempt that is killed loses, besides what was in flight."""
    store = LocalStorage(tmp_path)
    killed = Journal(store, PREFIX)
    for number in range(100):
        killed.keep(str(number), WHOLE)
    with Journal(store, PREFIX) as journal:
        assert journal.answered == 96
    monkeypatch.setattr(journals, "_SECONDS_AT_ONCE", 0.0)
    killed.keep("100", WHOLE)
    with Journal(store, PREFIX) as journal:
        assert journal.answered == 101


def test_attempts_at_the_same_time_do_not_write_over_each_other(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)
    with Journal(store, PREFIX) as one, Journal(store, PREFIX) as other:
        one.keep("a", WHOLE)
        other.keep("b", WHOLE)
    with Journal(store, PREFIX) as journal:
        assert journal.answered == 2


def test_a_damaged_part_is_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = LocalStorage(tmp_path)
    with Journal(store, PREFIX) as journal:
        journal.keep("a", WHOLE)
        journal.keep("b", WHOLE)
    (info,) = store.list(PREFIX)
    store.write(info.key, store.read(info.key)[:-20])
    store.write(f"{PREFIX}x.jsonl", b"\xff\x00 hello")
    store.write(f"{PREFIX}y.jsonl", b"")
    with caplog.at_level(logging.WARNING), Journal(store, PREFIX) as journal:
        assert journal.take("a") == WHOLE
        assert journal.take("b") is None
    assert "x.jsonl: 1 lines are damaged; what they held is asked again" in caplog.text
    assert "hello" not in caplog.text


def test_a_store_that_fails_loses_nothing(tmp_path: Path) -> None:
    class Flaky(LocalStorage):
        fails = True

        def write(self, key: str, data: bytes | BinaryIO, **conditions: object) -> None:
            if self.fails:
                raise TransientError("down")
            super().write(key, data)

    store = Flaky(tmp_path)
    journal = Journal(store, PREFIX)
    for number in range(31):
        journal.keep(str(number), WHOLE)
    with pytest.raises(TransientError):
        journal.keep("31", WHOLE)
    store.fails = False
    journal.flush()
    with Journal(store, PREFIX) as again:
        assert again.answered == 32
