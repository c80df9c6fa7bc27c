"""What every kind of storage can do."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from lae_tasks.errors import LaeError


class MissingObjectError(LaeError):
    """There is no object of that key."""


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a listing shows it.

    Attributes:
        etag: Changes whenever the content does.
        modified_at: When it was written by the store's clock, seconds since the epoch; to the
            second or finer, so it does not tell objects apart.
    """

    key: str
    etag: str
    size_bytes: int
    modified_at: float = field(compare=False)


class Storage(Protocol):
    """Where objects live. Keys are relative to `uri`, with `/` between their parts."""

    uri: str

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, ordered by key; or UnlistableError."""

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below one, without what is in them; ordered.

        Args:
            prefix: The folder, with a slash at its end.
        """

    def check(self) -> None:
        """Raises ConfigError if there is no such bucket or folder."""

    def stat(self, key: str) -> ObjectInfo | None:
        """The object's etag and size; None if it is not there."""

    def read(self, key: str) -> bytes:
        """The object's content. Raises MissingObjectError."""

    def open(self, key: str) -> BinaryIO:
        """The object as a file that can be read anywhere. Raises MissingObjectError.

        Of a remote object only what is read is fetched. If it changes meanwhile, reading on raises
        ConflictError.
        """

    def sha256(self, key: str) -> str:
        """Hex digest of the object's content, without holding it. Raises MissingObjectError."""

    def write(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> None:
        """Writes an object whole: a reader sees the old content or the new, never a part.

        Args:
            key: Where to.
            data: The content, or a file that is read from where it stands, and never held whole.
            if_absent: Only if no object of that key is there yet.
            if_match: Only if the object's etag is still this one.

        Raises:
            ConflictError: If the condition does not hold.
        """

    def download(self, key: str, path: Path) -> None:
        """Copies an object to a local file without holding it in memory."""

    def delete(self, key: str) -> None:
        """Removes an object; nothing happens if it is not there."""
