"""Brings the files of a release to a folder: several at a time, each on from where it stopped."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path

from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    wait_random_exponential,
)

from lae_tasks.errors import ConfigError, ContractError, TransientError
from lae_tasks.releases.manifest import ReleaseFile, named
from lae_tasks.storage import Storage

PART = ".part"

#: Called with the bytes that came so far, and with all that are to come.
Progress = Callable[[int, int], None]

_THREADS = 8
_ATTEMPTS = 4
_CHUNK_BYTES = 1 << 20
#: A file of this size or less comes by one request, and begins anew if that fails.
_WHOLE_BYTES = 4 << 20


class _StoppedError(Exception):
    """Another file failed, or the caller was interrupted."""


def missing_files(files: Sequence[ReleaseFile], dest: Path) -> list[ReleaseFile]:
    """Those of the files that a folder does not have, or has otherwise."""

    def is_there(file: ReleaseFile) -> bool:
        path = dest / file.path
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return False
        return sha256(path) == file.sha256

    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(is_there, files)
        return [file for file, there in zip(files, found, strict=True) if not there]


def fetch(
    store: Storage, files: Sequence[ReleaseFile], dest: Path, progress: Progress | None = None
) -> int:
    """Brings files to a folder; each appears under its name when it is whole and right.

    Until then it is `<name>.part`, which another call goes on with.

    Returns:
        How many bytes came.

    Raises:
        ContractError: If the store lacks one, or has other bytes than the manifest names.
        ConfigError: If the folder cannot take them.
        TransientError: If the store does not answer, at several attempts.
    """
    fetching = _Fetching(store, dest, progress, sum(_to_come(file, dest) for file in files))
    pool = ThreadPoolExecutor(_THREADS, "fetch")
    try:
        for future in as_completed([pool.submit(fetching.one, file) for file in files]):
            future.result()
    finally:
        # After an error, what has not begun does not begin, and what is under way ends soon.
        fetching.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return fetching.done


def part_of(path: Path) -> Path:
    """Where a file lies until it is whole."""
    return path.with_name(path.name + PART)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _begun(file: ReleaseFile, part: Path) -> int:
    """How many of its bytes are there already; 0 for one that begins anew."""
    if file.size_bytes <= _WHOLE_BYTES or not part.is_file():
        return 0
    size = part.stat().st_size
    return size if size <= file.size_bytes else 0


def _to_come(file: ReleaseFile, dest: Path) -> int:
    return file.size_bytes - _begun(file, part_of(dest / file.path))


class _Fetching:
    """One call's fetching, which several threads share.

    Attributes:
        done: Bytes that came.
        stop: Set when nothing more is wanted.
    """

    def __init__(self, store: Storage, dest: Path, progress: Progress | None, total: int) -> None:
        self.done = 0
        self.stop = threading.Event()
        self._store = store
        self._dest = dest
        self._progress = progress
        self._total = total
        self._lock = threading.Lock()

    def one(self, file: ReleaseFile) -> None:
        """Brings one file whole, at several attempts if need be."""
        attempts = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.5, max=10),
            retry=retry_if_exception_type(TransientError),
            sleep=sleep_using_event(self.stop),
            reraise=True,
        )
        path = self._dest / file.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with named(file.path):
                attempts(self._whole, file, path)
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror}; make room for it, or give another folder"
            ) from error

    def _whole(self, file: ReleaseFile, path: Path) -> None:
        part = part_of(path)
        went_on = _begun(file, part) > 0
        self._bring(file, part)
        found = sha256(part)
        if found != file.sha256 and went_on:
            # What was there before may have been of another version.
            part.unlink()
            with self._lock:
                self._total += file.size_bytes
            self._bring(file, part)
            found = sha256(part)
        if found != file.sha256:
            part.unlink()
            raise ContractError(
                f"{self._store.uri}/{file.key}: sha256 {found[:12]}…, but the manifest names "
                f"{file.sha256[:12]}… for {file.path}; the store's object is damaged: restore it"
            )
        part.replace(path)

    def _bring(self, file: ReleaseFile, part: Path) -> None:
        """Fetches what a part lacks."""
        if self.stop.is_set():
            raise _StoppedError
        if file.size_bytes <= _WHOLE_BYTES:
            self._store.download(file.key, part)
            self._count(file.size_bytes)
            return
        begun = _begun(file, part)
        with (
            closing(self._store.open(file.key)) as source,
            part.open("ab" if begun else "wb") as target,
        ):
            source.seek(begun)
            while chunk := source.read(_CHUNK_BYTES):
                target.write(chunk)
                self._count(len(chunk))
                if self.stop.is_set():
                    raise _StoppedError

    def _count(self, size_bytes: int) -> None:
        with self._lock:
            self.done += size_bytes
            if self._progress:
                self._progress(self.done, self._total)
