"""What is said of versions after they were made: which one is the latest, and which are yanked.

releases/LATEST                the version that `latest` means; a second line tells of a rollback
releases/<version>/YANKED.json why a version should not be used any more; it stays as it is
"""

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from lae_tasks.errors import ConfigError, ConflictError, ContractError, TransientError
from lae_tasks.releases.manifest import (
    LATEST_KEY,
    folder,
    latest_version,
    list_versions,
    read_release,
    version_number,
)
from lae_tasks.storage import MissingObjectError, Storage

logger = logging.getLogger(__name__)

_ATTEMPTS = 20
_ROLLED_BACK = "rolled back from "


@dataclass(frozen=True)
class Yanked:
    """That a version should not be used any more.

    Attributes:
        reason: Why, for its users.
        at: When it was said, ISO 8601, UTC.
    """

    version: str
    reason: str
    at: str


def _yanked_key(version: str) -> str:
    return f"{folder(version)}YANKED.json"


def read_yanked(store: Storage, version: str) -> Yanked | None:
    """Why a version is yanked; None if it is not."""
    key = _yanked_key(version)
    try:
        told = json.loads(store.read(key))
        return Yanked(version, str(told["reason"]), str(told["at"]))
    except MissingObjectError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError(f"{store.uri}/{key}: does not tell of a yanked version") from error


def yank(store: Storage, version: str, reason: str) -> Yanked:
    """Marks a version; `latest` goes back to one that is not yanked, if it was this.

    That is the newest of the older ones, else the newest of all. Nothing is deleted: who has pinned
    the version still gets it, with the reason.

    Raises:
        NoReleaseError: If there is no such version.
        ConfigError: If it is the only one that is left, or the store cannot be written.
    """
    version = read_release(store, version).version
    was_yanked = read_yanked(store, version) is not None
    if not _instead_of(store, version):
        raise ConfigError(f"{version} is the only release that is not yanked; publish another one")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    store.write(_yanked_key(version), (json.dumps({"reason": reason, "at": at}) + "\n").encode())
    # Who yanks the others meanwhile looks again, too, after the mark: one of them sees all marks.
    if not was_yanked and not _instead_of(store, version):
        store.delete(_yanked_key(version))
        raise ConfigError(
            f"{version} is not yanked: all others were meanwhile; look at `lae releases`"
        )
    _leave_yanked(store)
    return Yanked(version, reason, at)


def _instead_of(store: Storage, version: str) -> str | None:
    """The version that `latest` goes to if this one is yanked; None if none is left."""
    others = [other for other in list_versions(store) if other != version]
    left = [other for other in others if read_yanked(store, other) is None]
    older = [other for other in left if version_number(other) < version_number(version)]
    among = older or left
    return among[-1] if among else None


def _leave_yanked(store: Storage) -> None:
    """Points LATEST to another version, if it names one that is yanked.

    Whoever has written LATEST, or a mark, calls this: of two at the same time one sees both.
    """

    def left(text: str) -> str | None:
        version = text.split("\n")[0]
        if not version or read_yanked(store, version) is None:
            return None
        other = _instead_of(store, version)
        return _pointing(other, [version, *_named(text)]) if other else None

    while _replace(store, left):
        pass


def roll_back(store: Storage, version: str) -> str:
    """Lets `latest` mean an older version, until a new one is published.

    Returns:
        The version that it meant.

    Raises:
        NoReleaseError: If there is no such version.
        ConfigError: If it is yanked, or is the latest already.
    """
    version = read_release(store, version).version
    _require_not_yanked(store, version)
    before = latest_version(store)
    if before == version:
        raise ConfigError(f"{version} is the latest already")
    published = list_versions(store)
    _replace(store, lambda text: _pointing(version, [*published, *_named(text)]))
    _leave_yanked(store)
    _require_not_yanked(store, version)
    return before or ""


def _require_not_yanked(store: Storage, version: str) -> None:
    if yanked := read_yanked(store, version):
        raise ConfigError(f"{version} is yanked ({yanked.reason}); choose another one")


def _pointing(version: str, instead_of: Iterable[str]) -> str:
    """LATEST for a version, so that none of the others takes its place by itself."""
    newest = max([version, *instead_of], key=version_number)
    return f"{version}\n" + (f"{_ROLLED_BACK}{newest}\n" if newest != version else "")


def _named(text: str) -> list[str]:
    """The versions that LATEST names: that which it means, and that it was rolled back from."""
    return [line.removeprefix(_ROLLED_BACK) for line in text.split("\n") if line]


def is_announced(store: Storage, version: str) -> bool:
    """Whether LATEST means a version, or was rolled back from it."""
    try:
        return version in _named(store.read(LATEST_KEY).decode())
    except MissingObjectError:
        return False


def move_latest(store: Storage, version: str) -> None:
    """Points LATEST to a version that was published.

    Not if it points to a newer one, was rolled back from this one, or this one is yanked.
    """
    if read_yanked(store, version):
        return

    def moved(text: str) -> str | None:
        newer = (version_number(version) > version_number(each) for each in _named(text))
        return f"{version}\n" if all(newer) else None

    if _replace(store, moved):
        _leave_yanked(store)


def _replace(store: Storage, change: Callable[[str], str | None]) -> bool:
    """Writes LATEST anew, by what it says; not if None comes back. Whether it did."""
    for _ in range(_ATTEMPTS):
        info = store.stat(LATEST_KEY)
        text = change(store.read(LATEST_KEY).decode() if info else "")
        if text is None:
            return False
        try:
            if info is None:
                store.write(LATEST_KEY, text.encode(), if_absent=True)
            else:
                store.write(LATEST_KEY, text.encode(), if_match=info.etag)
            return True
        except ConflictError:
            logger.info("LATEST was moved by somebody else; reading it again")
    raise TransientError(f"{store.uri}/{LATEST_KEY} was moved {_ATTEMPTS} times; try again")
