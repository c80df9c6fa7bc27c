"""Bringing a release to a local folder, and checking one that lies there."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from lae_tasks.contracts import first_problem
from lae_tasks.errors import ConfigError, ContractError
from lae_tasks.releases.manifest import (
    ReleaseFile,
    ReleaseManifest,
    read_release,
    release_digest,
)
from lae_tasks.storage import Storage

logger = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.json"
_THREADS = 8
_PART = ".part"


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file of a pulled release: `missing`, `changed` or `extra`."""

    path: str
    kind: str
    detail: str


@dataclass(frozen=True)
class Pulled:
    """What a pull did."""

    manifest: ReleaseManifest
    fetched: int
    skipped: int
    fetched_bytes: int


def pull(
    store: Storage,
    version: str,
    dest: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Pulled:
    """Brings a release to a folder; what is there already and right is not fetched again.

    Each file appears under its name only when it is whole and its checksum is right, and
    `manifest.json` last; until then it is `manifest.json.part`. Files of another version that was
    pulled there before go. A folder with anything else in it is not touched.

    Args:
        store: Where the release is.
        version: `v1.4.0` or `latest`.
        dest: The folder, made if missing.
        progress: Called after each file with the number of files done and of all.

    Raises:
        NoReleaseError: If there is no such release.
        ConfigError: If `dest` is a file, or a folder with files but no release.
        ContractError: If the store's bytes are not those that the manifest names.
    """
    manifest = read_release(store, version)
    before = _pulled_before(dest)
    part = dest / (MANIFEST_NAME + _PART)
    try:
        dest.mkdir(parents=True, exist_ok=True)
        for path in before - {file.path for file in manifest.files}:
            (dest / path).unlink(missing_ok=True)
        part.write_bytes(encode_manifest(manifest))  # tells a later pull that the folder is ours
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; give another folder") from error
    (dest / MANIFEST_NAME).unlink(missing_ok=True)
    fetched = fetched_bytes = done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(lambda file: (file, _fetch(store, file, dest)), manifest.files)
        for file, was_fetched in results:
            done += 1
            fetched += was_fetched
            fetched_bytes += file.size_bytes if was_fetched else 0
            if progress:
                progress(done, len(manifest.files))
    part.replace(dest / MANIFEST_NAME)
    return Pulled(manifest, fetched, len(manifest.files) - fetched, fetched_bytes)


def _pulled_before(dest: Path) -> set[str]:
    """The files that pulls brought to the folder before, or were about to bring."""
    if dest.exists() and not dest.is_dir():
        raise ConfigError(f"{dest} is a file; give a folder")
    if not dest.is_dir() or not any(dest.iterdir()):
        return set()
    whole, part = dest / MANIFEST_NAME, dest / (MANIFEST_NAME + _PART)
    if not whole.exists() and not part.exists():
        raise ConfigError(f"{dest} has files but no release; give an empty or a new folder")
    files = list(_read_manifest(whole).files) if whole.exists() else []
    try:
        files += _read_manifest(part).files if part.exists() else ()
    except ContractError:
        # A pull may have died while it wrote this, its first file.
        if not whole.exists() and len(list(dest.iterdir())) > 1:
            raise
    return {file.path for file in files}


def _fetch(store: Storage, file: ReleaseFile, dest: Path) -> bool:
    """Brings one file; false if it was there."""
    path = dest / file.path
    if path.is_file() and _sha256(path) == file.sha256:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + _PART)
    store.download(file.key, part)
    found = _sha256(part)
    if found != file.sha256:
        part.unlink()
        raise ContractError(
            f"{store.uri}/{file.key}: sha256 {found[:12]}…, but the manifest names "
            f"{file.sha256[:12]}… for {file.path}; the store's object is damaged: restore it"
        )
    part.replace(path)
    return True


def encode_manifest(manifest: ReleaseManifest) -> bytes:
    """A manifest's bytes."""
    return (manifest.model_dump_json(indent=1) + "\n").encode()


def read_local(dest: Path) -> ReleaseManifest:
    """The manifest of a pulled release. Raises ContractError if the folder holds none."""
    return _read_manifest(dest / MANIFEST_NAME)


def _read_manifest(path: Path) -> ReleaseManifest:
    try:
        return ReleaseManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ContractError(
            f"{path} is missing: no release, or its pull did not end; `lae pull` goes on with it"
        ) from error
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise ContractError(
            f"{path} is not a release's manifest ({first_problem(error)}); pull to another folder"
        ) from error


def verify(dest: Path) -> list[Problem]:
    """Hashes every file of a pulled release again; an empty list means that all is right.

    Raises:
        ContractError: If the folder holds no release.
    """
    manifest = read_local(dest)
    problems = []
    for file in manifest.files:
        path = dest / file.path
        if not path.is_file():
            problems.append(Problem(file.path, "missing", "the manifest lists it"))
        elif (found := _sha256(path)) != file.sha256:
            detail = f"sha256 {found[:12]}…, the manifest says {file.sha256[:12]}…"
            problems.append(Problem(file.path, "changed", detail))
    known = {file.path for file in manifest.files} | {MANIFEST_NAME}
    for name in sorted(_local_paths(dest) - known):
        problems.append(Problem(name, "extra", "the manifest does not list it"))
    digest = release_digest({f.path: f.sha256 for f in manifest.files if f.is_data})
    if digest != manifest.digest:
        detail = f"its files make the digest {digest[:12]}…, it says {manifest.digest[:12]}…"
        problems.append(Problem(MANIFEST_NAME, "changed", detail))
    return problems


def _local_paths(dest: Path) -> set[str]:
    return {path.relative_to(dest).as_posix() for path in _files(dest)}


def _files(dest: Path) -> Iterator[Path]:
    return (path for path in dest.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
