"""Bringing a release to a local folder, and checking one that lies there."""

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from lae_tasks.contracts import first_problem
from lae_tasks.errors import ConfigError, ContractError
from lae_tasks.releases.choice import (
    CHOICE_NAME,
    Choice,
    read_choice,
    require_formats,
    write_choice,
)
from lae_tasks.releases.fetching import Progress, fetch, missing_files, part_of, sha256
from lae_tasks.releases.manifest import ReleaseManifest, read_release, release_digest
from lae_tasks.releases.marks import Yanked, read_yanked
from lae_tasks.storage import Storage

logger = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.json"
#: What Ultralytics keeps of `labels/` once it has trained on them.
LABELS_CACHE = "labels.cache"


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file of a pulled release: `missing`, `changed` or `extra`."""

    path: str
    kind: str
    detail: str


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes:
        choice: What the folder holds of the version now.
        yanked: Why the version should not be used; None if nobody says so.
    """

    manifest: ReleaseManifest
    fetched: int
    skipped: int
    fetched_bytes: int
    choice: Choice
    yanked: Yanked | None


def pull(
    store: Storage,
    version: str,
    dest: Path,
    progress: Progress | None = None,
    *,
    formats: Collection[str] | None = None,
    images: bool = True,
) -> Pulled:
    """Brings a release to a folder; what is there already and right is not fetched again.

    Each file appears under its name only when it is whole and its checksum is right, and
    `manifest.json` last; until then it is `manifest.json.part`. What was asked for is kept in
    `pull.json`: another pull to the same folder adds to it. Files of another version that was
    pulled there before go. A folder with anything else in it is not touched.

    Args:
        store: Where the release is.
        version: `v1.4.0` or `latest`.
        dest: The folder, made if missing.
        progress: Called with the number of bytes that came, and of all that are to come; by
            several threads, one at a time.
        formats: Only the files of these formats, with tables and card; None for all.
        images: Whether the images come, too.

    Raises:
        NoReleaseError: If there is no such release.
        ConfigError: If the release has no such format, or `dest` is a file, or a folder with files
            but no release.
        ContractError: If the store's bytes are not those that the manifest names.
        TransientError: If the store does not answer.
    """
    manifest = read_release(store, version)
    require_formats(manifest, formats or ())
    asked = None if formats is None else tuple(sorted(set(formats)))
    before = _pulled_before(dest)
    choice = Choice(formats=asked, images=images)
    if earlier := _chosen_before(dest):
        choice = earlier.with_more(asked, images)
    files = choice.files(manifest)
    part = part_of(dest / MANIFEST_NAME)
    try:
        dest.mkdir(parents=True, exist_ok=True)
        for path in before - {file.path for file in files}:
            (dest / path).unlink(missing_ok=True)
            part_of(dest / path).unlink(missing_ok=True)
        # An older Ultralytics looks at sizes only, and would not see that labels are others now.
        (dest / LABELS_CACHE).unlink(missing_ok=True)
        part.write_bytes(manifest.encode())  # tells a later pull that the folder is ours
        write_choice(dest, choice)
        (dest / MANIFEST_NAME).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; give another folder") from error
    missing = missing_files(files, dest)
    fetched_bytes = fetch(store, missing, dest, progress)
    part.replace(dest / MANIFEST_NAME)
    skipped = len(files) - len(missing)
    yanked = read_yanked(store, manifest.version)
    return Pulled(manifest, len(missing), skipped, fetched_bytes, choice, yanked)


def _chosen_before(dest: Path) -> Choice | None:
    """What pulls to the folder have asked for; None if there was none."""
    # Before there was a choice, a pull brought all.
    return read_choice(dest) or (Choice() if (dest / MANIFEST_NAME).exists() else None)


def _pulled_before(dest: Path) -> set[str]:
    """The files that pulls brought to the folder before, or were about to bring."""
    if dest.exists() and not dest.is_dir():
        raise ConfigError(f"{dest} is a file; give a folder")
    if not dest.is_dir() or not any(dest.iterdir()):
        return set()
    if not was_pulled_to(dest):
        raise ConfigError(f"{dest} has files but no release; give an empty or a new folder")
    whole, part = dest / MANIFEST_NAME, part_of(dest / MANIFEST_NAME)
    files = list(_read_manifest(whole).files) if whole.exists() else []
    try:
        files += _read_manifest(part).files if part.exists() else ()
    except ContractError:
        # A pull may have died while it wrote this, its first file.
        if not whole.exists() and len(list(dest.iterdir())) > 1:
            raise
    return {file.path for file in files}


def was_pulled_to(dest: Path) -> bool:
    """Whether a folder holds a release, or a pull to it did not end."""
    return (dest / MANIFEST_NAME).exists() or part_of(dest / MANIFEST_NAME).exists()


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

    What was left out when it was pulled is not missed.

    Raises:
        ContractError: If the folder holds no release.
    """
    manifest = read_local(dest)
    chosen = {file.path for file in (read_choice(dest) or Choice()).files(manifest)}
    problems = []
    for file in manifest.files:
        path = dest / file.path
        if not path.is_file():
            if file.path in chosen:
                problems.append(Problem(file.path, "missing", "the manifest lists it"))
        elif (found := sha256(path)) != file.sha256:
            detail = f"sha256 {found[:12]}…, the manifest says {file.sha256[:12]}…"
            problems.append(Problem(file.path, "changed", detail))
    known = {file.path for file in manifest.files} | {MANIFEST_NAME, CHOICE_NAME, LABELS_CACHE}
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
