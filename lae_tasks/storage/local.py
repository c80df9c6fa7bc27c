"""A local folder."""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lae_tasks.errors import ConfigError, ConflictError
from lae_tasks.storage.base import MissingObjectError, ObjectInfo

#: What a file system says where S3 would say that there is no such object.
_NO_OBJECT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class LocalStorage:
    """A local folder. Writes are atomic: to a temporary file first, then renamed or linked."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.uri = str(self.root)

    def _path(self, key: str) -> Path:
        # Lexically: a link to imagery elsewhere is fine, a key that climbs out is not.
        path = Path(os.path.normpath(self.root / key))
        if not path.is_relative_to(self.root):
            raise ConfigError(f"key {key!r} leaves the folder {self.root}; use keys without '..'")
        return path

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, ordered by key."""
        folder = self._path(prefix.rpartition("/")[0])
        found = (path for path in folder.rglob("*") if path.is_file() and path.name[:5] != ".tmp-")
        keys = sorted(path.relative_to(self.root).as_posix() for path in found)
        for key in keys:
            if key.startswith(prefix) and (info := self.stat(key)):
                yield info

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below one, ordered; see `Storage.folders`."""
        folder = self._path(prefix)
        if folder.is_dir():
            yield from sorted(path.name for path in folder.iterdir() if path.is_dir())

    def check(self) -> None:
        """Raises ConfigError if there is no such folder."""
        if not self.root.is_dir():
            raise ConfigError(f"storage {self.root}: there is no such folder")

    def stat(self, key: str) -> ObjectInfo | None:
        """The object's etag and size; None if it is not there."""
        # Size and time tell a change well enough, and a listing must not read every file.
        try:
            facts = self._path(key).stat()
        except _NO_OBJECT:  # also one that was deleted since it was listed
            return None
        if not stat.S_ISREG(facts.st_mode):
            return None
        etag = f"{facts.st_size:x}-{facts.st_mtime_ns:x}"
        return ObjectInfo(key, etag, facts.st_size, facts.st_mtime)

    def read(self, key: str) -> bytes:
        """The object's content. Raises MissingObjectError."""
        try:
            return self._path(key).read_bytes()
        except _NO_OBJECT as error:
            raise MissingObjectError(f"{self.root}/{key}: no such object") from error

    def write(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> None:
        """Writes an object whole; see `Storage.write`.

        `if_match` compares and renames in two steps: enough for one machine's own use.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    shutil.copyfileobj(data, file, 1 << 20)
            temporary.chmod(0o644)
            if if_absent:
                os.link(temporary, path)
            else:
                if if_match is not None:
                    now = self.stat(key)
                    if now is None or now.etag != if_match:
                        raise ConflictError(f"{self.root}/{key}: changed by somebody else")
                temporary.replace(path)
        except FileExistsError as error:
            raise ConflictError(f"{self.root}/{key}: is there already") from error
        finally:
            temporary.unlink(missing_ok=True)

    def open(self, key: str) -> BinaryIO:
        """The object as a file. Raises MissingObjectError."""
        try:
            return self._path(key).open("rb")
        except _NO_OBJECT as error:
            raise MissingObjectError(f"{self.root}/{key}: no such object") from error

    def sha256(self, key: str) -> str:
        """Hex digest of the object's content. Raises MissingObjectError."""
        try:
            with self._path(key).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except _NO_OBJECT as error:
            raise MissingObjectError(f"{self.root}/{key}: no such object") from error

    def download(self, key: str, path: Path) -> None:
        """Copies an object to a local file without holding it in memory."""
        try:
            shutil.copyfile(self._path(key), path)
        except _NO_OBJECT as error:
            raise MissingObjectError(f"{self.root}/{key}: no such object") from error

    def delete(self, key: str) -> None:
        """Removes an object; nothing happens if it is not there."""
        self._path(key).unlink(missing_ok=True)
