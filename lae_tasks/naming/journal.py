"""Replies that were paid for, kept in the store.

    replies/<night>/<shard>/<attempt>-<n>.jsonl    a part, a reply on each line

An attempt that was killed leaves its parts, and the next one asks only for the rest: what was lost
is what was in flight, and at most `_REPLIES_AT_ONCE` replies that were not written yet. A shard
that is committed keeps them, too: with another vocabulary it is named anew for nothing.
"""

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import TypeAdapter, ValidationError

from lae_tasks.backends.protocols import Reply
from lae_tasks.storage import Storage

logger = logging.getLogger(__name__)

#: A part is written with so many replies, or with the first one that comes after so long.
_REPLIES_AT_ONCE, _SECONDS_AT_ONCE = 32, 5.0
#: The key of what was paid for no reply.
_FOR_NOTHING = ""


@dataclass(frozen=True)
class _Entry:
    key: str
    reply: Reply


_ENTRY = TypeAdapter(_Entry)


class Journal:
    """The replies to a shard's crops; used as a context, by several threads.

    Attributes:
        answered: Replies that were found or came in.
        spent: What all attempts together have paid, in millionths of a dollar.
        dearest: The dearest reply of the attempts before.
    """

    def __init__(self, store: Storage, prefix: str) -> None:
        self.answered = self.spent = self.dearest = 0
        self._store, self._prefix = store, prefix
        self._attempt = uuid.uuid4().hex[:12]
        self._parts = 0
        #: A crop that was asked about twice has two replies.
        self._found: dict[str, list[Reply]] = {}
        self._unwritten: list[bytes] = []
        self._written = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        for info in self._store.list(self._prefix):
            self._read(info.key)
        if self.answered:
            logger.info("%s: %d replies are there already", self._prefix, self.answered)
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def take(self, key: str) -> Reply | None:
        """The reply of an earlier attempt, each once; None if it has to be asked for."""
        found = self._found.get(key)
        if not found:
            return None
        reply = found.pop(0)
        if not found:
            del self._found[key]
        return reply

    def keep(self, key: str, reply: Reply) -> None:
        """Keeps a reply. Raises what the store raises."""
        self._add(_Entry(key, reply))

    def keep_cost(self, counts: Mapping[str, int]) -> None:
        """Keeps what was paid where no reply came of it."""
        self._add(_Entry(_FOR_NOTHING, Reply("", counts=counts)))

    def flush(self) -> None:
        """Writes what is not written yet. Raises what the store raises."""
        with self._lock:
            lines, self._unwritten = self._unwritten, []
            part, self._parts = self._parts, self._parts + 1
            self._written = time.monotonic()
        if not lines:
            return
        try:
            key = f"{self._prefix}{self._attempt}-{part:06}.jsonl"
            self._store.write(key, b"".join(lines))
        except BaseException:
            with self._lock:
                self._unwritten += lines  # the end tries again
            raise

    def _add(self, entry: _Entry) -> None:
        line = _ENTRY.dump_json(entry) + b"\n"
        with self._lock:
            self._count(entry)
            self._unwritten.append(line)
            waited_s = time.monotonic() - self._written
            due = len(self._unwritten) >= _REPLIES_AT_ONCE or waited_s >= _SECONDS_AT_ONCE
        if due:
            self.flush()

    def _count(self, entry: _Entry) -> None:
        self.answered += entry.key != _FOR_NOTHING
        self.spent += entry.reply.counts.get("cost_microusd", 0)

    def _read(self, key: str) -> None:
        damaged = 0
        for line in self._store.read(key).splitlines():
            try:
                entry = _ENTRY.validate_json(line)
            except ValidationError:
                damaged += 1
                continue
            self._count(entry)
            self.dearest = max(self.dearest, entry.reply.counts.get("cost_microusd", 0))
            if entry.key != _FOR_NOTHING:
                self._found.setdefault(entry.key, []).append(entry.reply)
        if damaged:
            logger.warning(
                "%s/%s: %d lines are damaged; what they held is asked again",
                self._store.uri,
                key,
                damaged,
            )
