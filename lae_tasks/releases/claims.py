"""Who publishes: one at a time, on every server that lists what was just written.

A publisher writes a claim, `publishing/<id>.json`, then lists all claims. Who finds only their own
may publish; who finds others takes theirs back, waits and tries again. Of two that came at the same
time both may find each other, never neither: whoever lists last sees both. So it needs no
conditional writes, which many servers answer wrongly when two come within milliseconds.

A claim is written anew while its publisher lives. One that stays as it is has a dead publisher: the
next one, once alone, deletes it, and what its publisher wrote and no release has. That is listed
beside the claim, in `publishing/<id>.files.json`, before it is written, and only once: there may be
a file per image. A list without a claim is that of a publisher that failed, and is cleared, too.

Times are compared as the server tells them, so no clock of a worker matters. A publisher that stood
still for so long that it may have been taken for dead gives up by itself: it never takes its claim
again.
"""

import json
import logging
import random
import socket
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from lae_tasks.errors import ConflictError, LaeError, TransientError
from lae_tasks.releases.manifest import list_versions, read_release, version_number
from lae_tasks.storage import MissingObjectError, Storage

logger = logging.getLogger(__name__)

PREFIX = "publishing/"

#: A claim that was not written anew for so long has a dead publisher.
DEAD_AFTER_S = 60.0
#: How long one waits for other publishers, all attempts together.
WAIT_S = 1800.0
_PAUSE_S = (0.2, 1.0)
_CLAIM, _LIST = ".json", ".files.json"
_THREADS = 8


class Claim:
    """The right to publish, for as long as the block of `claim` lasts.

    Attributes:
        key: Of the claim in the store.
    """

    def __init__(self, store: Storage, dead_after_s: float) -> None:
        name = f"{PREFIX}{uuid.uuid4().hex}"
        self.key = f"{name}{_CLAIM}"
        self._store = store
        self._dead_after_s = dead_after_s
        self._by = socket.gethostname()
        self._list_key, self._list = f"{name}{_LIST}", b""
        self._lock = threading.Lock()
        self._is_given_back = threading.Event()
        self._is_lost = False
        self._written_at = time.monotonic()

    def will_write(self, parent: str | None, keys: Collection[str]) -> None:
        """Lists the objects that are about to be written, for who has to clear them away.

        Args:
            parent: The newest version that there is; None before the first.
            keys: Of the objects.
        """
        told = {"by": self._by, "parent": parent, "files": sorted(keys)}
        self._list = json.dumps(told).encode()
        self._store.write(self._list_key, self._list)
        self.require_held()

    def write(self) -> None:
        """Writes the claim, also to say that its publisher lives."""
        with self._lock:
            if self._is_given_back.is_set() or self._has_stood_still():
                return
            began = time.monotonic()
            self._store.write(self.key, json.dumps({"by": self._by}).encode())
            if not self._has_stood_still():
                self._written_at = began

    def _has_stood_still(self) -> bool:
        """Whether others may have taken this publisher for dead; once so, for good."""
        self._is_lost |= time.monotonic() - self._written_at > self._dead_after_s
        return self._is_lost

    def is_held(self) -> bool:
        """Whether no other can have taken this publisher for dead."""
        return not self._has_stood_still() and self._store.stat(self.key) is not None

    def require_held(self) -> None:
        """Raises ConflictError if others may have taken this publisher for dead."""
        if not self.is_held():
            raise ConflictError(
                f"{self._store.uri}/{self.key}: stood still for {self._dead_after_s:g} s, or was "
                "cleared away; another one may publish by now"
            )

    def give_back(self, is_done: bool) -> None:
        """Ends the claim.

        Args:
            is_done: Whether a release has all that was listed. Else the list stays, so that the
                next one clears up.
        """
        with self._lock:
            self._is_given_back.set()
            if self._list and is_done:
                self._store.delete(self._list_key)
            elif self._list:
                # Who took this one for dead took the list away, and some was written since.
                self._store.write(self._list_key, self._list)
            self._store.delete(self.key)

    def keep_alive(self) -> None:
        """Writes the claim again and again, until it is given back."""
        while not self._is_given_back.wait(self._dead_after_s / 4):
            # A server that fails now and then is met again when the release is written.
            with suppress(LaeError, OSError):
                # The clock of a machine that slept stood still, too; others did not.
                self._is_lost |= self._store.stat(self.key) is None
                self.write()


@contextmanager
def claim(
    store: Storage, *, dead_after_s: float | None = None, wait_s: float = WAIT_S
) -> Iterator[Claim]:
    """Waits until nobody else publishes, and clears up after those who died.

    Args:
        store: Where releases go.
        dead_after_s: After how long a claim that is not written anew has a dead publisher; by
            default `DEAD_AFTER_S`.
        wait_s: How long to wait for others.

    Raises:
        TransientError: If others were at it for too long.
    """
    dead_after_s = DEAD_AFTER_S if dead_after_s is None else dead_after_s
    deadline = time.monotonic() + wait_s
    while True:
        ours = Claim(store, dead_after_s)
        ours.write()
        alive = threading.Thread(target=ours.keep_alive, daemon=True)
        alive.start()
        is_done = False
        try:
            dead = _dead(store, ours, dead_after_s)
            if dead is not None:
                for name in dead:
                    _clear(store, name, ours)
                yield ours
                is_done = True
                return
        finally:
            ours.give_back(is_done)
            alive.join()
        if time.monotonic() > deadline:
            raise TransientError(
                f"{store.uri}: others publish since {wait_s:.0f} s; publish again later"
            )
        time.sleep(random.uniform(*_PAUSE_S))


def _dead(store: Storage, ours: Claim, dead_after_s: float) -> list[str] | None:
    """What dead and failed publishers called their claims and lists, without the endings.

    None if there is a claim of somebody else who lives.
    """
    infos = {info.key: info for info in store.list(PREFIX)}
    own = infos.pop(ours.key, None)
    if own is None:  # cleared away meanwhile, as this process stood still
        return None
    times = [info.modified_at for key, info in infos.items() if not key.endswith(_LIST)]
    if any(own.modified_at - at <= dead_after_s for at in times):
        logger.info("%s: another publisher is at work", store.uri)
        return None
    return sorted({key.removesuffix(_LIST).removesuffix(_CLAIM) for key in infos})


def _clear(store: Storage, name: str, ours: Claim) -> None:
    """Deletes what a publisher wrote and no release has; then its claim, and last its list."""
    told = _read(store, f"{name}{_CLAIM}") | _read(store, f"{name}{_LIST}")
    if not told:
        return
    parent = told.get("parent")
    since = version_number(parent) if parent else (0, 0, 0)
    newer = [version for version in list_versions(store) if version_number(version) > since]
    used = {file.key for version in newer for file in read_release(store, version).files}
    orphans = [key for key in told.get("files", []) if key not in used]

    def delete(key: str) -> None:
        ours.require_held()  # else somebody may be writing the same content by now
        store.delete(key)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(delete, orphans))
    delete(f"{name}{_CLAIM}")
    delete(f"{name}{_LIST}")
    logger.warning(
        "a publisher on %s died or failed; cleared away %d objects of it", told["by"], len(orphans)
    )


def _read(store: Storage, key: str) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(store.read(key))
        return told
    except MissingObjectError:
        return {}
