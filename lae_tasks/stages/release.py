"""Release: assemble the current truth, validate it, give it a version.

One publishes at a time (`releases/claims.py`). What is written, and in which order, so that a
publisher may die at any point:

1. The files, under names made from their content. Nobody sees them yet; done twice, they are
   the same. What a dead publisher left is cleared away by the next one, but for the report of its
   validation, which stays as every other does.
2. `releases/<version>/manifest.json`, only if it is not there. Now the version exists.
3. Readable copies below `releases/<version>/`, for people who browse the bucket.
4. `releases/LATEST`. It never goes back by itself.

A publisher that finds its own digest already published does what is left of 3 and 4. One that stood
still as it wrote the manifest looks whether the version can stay (`releases/late.py`).
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from lae_tasks.config import Config
from lae_tasks.errors import ConflictError, TransientError, UnfinishedNightError
from lae_tasks.formats import about
from lae_tasks.formats.writing import TABLES, Source, write, written
from lae_tasks.releases import late
from lae_tasks.releases.assemble import assemble
from lae_tasks.releases.claims import Claim, claim
from lae_tasks.releases.dataset import Dataset, ReleaseImage, Split
from lae_tasks.releases.diff import Diff, diff_datasets
from lae_tasks.releases.drift import fresh_regions, next_baseline
from lae_tasks.releases.expectations import StoredImage
from lae_tasks.releases.gates import make_gates
from lae_tasks.releases.lineage import causes, rejected_by_stewards
from lae_tasks.releases.manifest import (
    RELEASE_SCHEMA_VERSION,
    CategoryEntry,
    ReleaseFile,
    ReleaseManifest,
    folder,
    list_versions,
    read_release,
    release_digest,
)
from lae_tasks.releases.marks import is_announced, move_latest
from lae_tasks.releases.mixes import class_mixes
from lae_tasks.releases.numbering import next_version
from lae_tasks.releases.reading import read_dataset
from lae_tasks.releases.splits import count_splits, splits_before, with_splits
from lae_tasks.releases.statement import Statement, make_statement
from lae_tasks.stages.validate import ValidationReport, docs_folder, validate
from lae_tasks.state import State
from lae_tasks.storage import Storage
from lae_tasks.tables import sha256_of

logger = logging.getLogger(__name__)

STAGE = "release"

_ATTEMPTS = 20
#: What holds images, or has a file for each or for each scene, has no second copy to browse.
_NOT_TO_BROWSE = {"images", "labels", "dota", "webdataset", "hugging_face", "stac"}
_THREADS = 8
_CONFIG_SECTIONS = ("tile", "segment", "classify", "route", "release")


@dataclass(frozen=True)
class ReleaseResult:
    """What came of publishing.

    Attributes:
        new: False if the current truth is what the latest version holds already.
    """

    version: str
    digest: str
    new: bool
    manifest: ReleaseManifest


class _LateError(ConflictError):
    """A version was made when others may have taken its publisher for dead."""

    def __init__(self, manifest: ReleaseManifest) -> None:
        super().__init__(f"{manifest.version} was written late")
        self.manifest = manifest


def publish(read_state: Callable[[], State], config: Config, store: Storage) -> ReleaseResult:
    """Publishes the current truth as a new version, unless it is published already.

    Args:
        read_state: Reads everything that the nights and the stewards have produced. It is called
            once nobody else publishes: what others have published before may not be undone.
        config: The settings.
        store: Where the images are and the release goes.

    Raises:
        ValidationFailedError: If the data breaks the rules, or what it states of itself does not
            reach what the settings ask for; no version is made.
        UnfinishedNightError: If a night ran again, but not to its end: what it decided and what
            it has now do not belong together.
        TransientError: If others publish for too long.
    """
    made_late: ReleaseManifest | None = None
    for _ in range(_ATTEMPTS):
        try:
            with claim(store) as held, tempfile.TemporaryDirectory() as folder:
                if made_late and late.stays(store, made_late):
                    _finish(store, made_late)
                    return ReleaseResult(made_late.version, made_late.digest, True, made_late)
                return _publish(read_state, config, store, held, Path(folder))
        except _LateError as error:
            made_late = error.manifest
            logger.info("%s; looking whether it can stay", error)
        except ConflictError as error:
            logger.info("another publisher was first (%s); reading again", error)
    raise TransientError(f"{store.uri}: other publishers won {_ATTEMPTS} times; publish again")


def _publish(
    read_state: Callable[[], State], config: Config, store: Storage, held: Claim, root: Path
) -> ReleaseResult:
    published = list_versions(store)
    parent = read_release(store, published[-1]) if published else None
    if parent and not is_announced(store, parent.version) and not late.is_whole(store, parent):
        late.take_back(store, parent)  # its publisher died before it could
        raise ConflictError(f"{parent.version} was not whole")
    state = read_state()
    if state.unfinished:
        raise UnfinishedNightError(
            f"{store.uri}: night {', '.join(state.unfinished)} ran again, but not to its end; let "
            "its lae_nightly run (or `lae run --night …`) get to route, then publish"
        )
    before = read_dataset(store, parent) if parent else None
    known = splits_before(parent, before)
    dataset = with_splits(assemble(state, config, parent), known, config.release)
    source = Source(dataset, config.release, lambda image: store.read(image.key))
    write(source, [TABLES], root)
    files = _local_files(root, is_data=True)
    digest = release_digest(
        {file.path: file.sha256 for file in files}
        | {image.path: image.sha256 for image in dataset.images}
    )
    formats = config.release.formats
    if parent:
        _finish(store, parent)  # its publisher may have died before that
        if parent.digest == digest and _says_the_same(parent, config):
            return ReleaseResult(parent.version, digest, False, parent)
    diff = diff_datasets(before, dataset, causes(state))
    statement = make_statement(dataset, state, config, store, fresh_regions(parent, state))
    mixes = class_mixes(dataset, state, config, diff.scenes_added)
    gates = make_gates(config, statement, mixes, parent, len(diff.removed))
    checked = _checked(parent, before)
    rejected = rejected_by_stewards(state)
    report = validate(dataset, store, digest, gates, before, rejected, checked)
    report.require()
    write(source, formats, root)
    draft = _draft(dataset, diff, report, config, parent, published, state, statement, known)
    about.write(root, draft, dataset, config, diff, store, state)
    files = [
        *(each for each in _local_files(root, is_data=False) if not _is_table(each.path)),
        *files,
        *(_image_file(image, report.image_bytes[image.key]) for image in dataset.images),
    ]
    manifest = draft.model_copy(update={"files": tuple(sorted(files, key=lambda f: f.path))})
    _upload(store, manifest, root, held, published)
    held.require_held()
    if list_versions(store) != published:
        raise ConflictError(f"{store.uri}: another version was published meanwhile")
    _write_once(store, manifest.key, manifest.encode())
    if not held.is_held():
        late.stays(store, manifest)  # what cannot stay goes at once
        raise _LateError(manifest)
    logger.info("published %s (%s)", manifest.version, manifest.reason)
    _finish(store, manifest)
    return ReleaseResult(manifest.version, digest, True, manifest)


def _says_the_same(parent: ReleaseManifest, config: Config) -> bool:
    """Whether a release of the same data says nothing else of it, and is in the same formats."""
    release = config.release
    said = (parent.schema_version, parent.formats, parent.vocabulary, parent.licence, parent.title)
    now = (RELEASE_SCHEMA_VERSION, release.formats, config.vocabulary.names)
    return said == (*now, release.licence, release.title)


def _draft(
    dataset: Dataset,
    diff: Diff,
    report: ValidationReport,
    config: Config,
    parent: ReleaseManifest | None,
    published: Iterable[str],
    state: State,
    statement: Statement,
    known: Mapping[str, Split | None],
) -> ReleaseManifest:
    """The manifest without its files."""
    vocabulary, formats = config.vocabulary.names, config.release.formats
    version, reason = next_version(parent, diff, published, vocabulary, formats)
    names = Counter(dataset.annotations.column("category").to_pylist())
    objects = dataset.objects_by_category()
    categories = tuple(
        CategoryEntry(
            category_id=category.category_id,
            name=category.name,
            objects=objects[category.name],
            annotations=names[category.name],
        )
        for category in dataset.categories
    )
    used_ids = [category.category_id for category in dataset.categories]
    return ReleaseManifest(
        version=version,
        digest=report.digest,
        dataset=config.dataset,
        title=config.release.title,
        licence=config.release.licence,
        parent=parent.version if parent else None,
        # To the microsecond: it tells our own manifest from a rival's of the same state.
        created_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        reason=reason,
        counts=dataset.counts(),
        left_out=dict(dataset.left_out),
        categories=categories,
        next_category_id=max(
            [parent.next_category_id if parent else 1, *(i + 1 for i in used_ids)]
        ),
        vocabulary=vocabulary,
        nights=tuple(state.nights),
        config_sha256={name: getattr(config, name).fingerprint() for name in _CONFIG_SECTIONS},
        model_revisions={
            stage: tuple(sorted(names)) for stage, names in state.model_revisions.items()
        },
        precision=statement.precision,
        whole=statement.whole,
        recall=statement.recall,
        agreement=statement.agreement,
        steward_error=statement.steward_error,
        reliability=statement.reliability,
        drift_baseline=next_baseline(version, parent, statement, state),
        formats=formats,
        splits=count_splits(dataset),
        split_of={**known} | {image.scene_id: image.split for image in dataset.images},
        warnings=report.warnings,
        diff=diff.counts() if parent else {},
        validation_key=report.key,
        files=(),
    )


def _checked(parent: ReleaseManifest | None, before: Dataset | None) -> dict[str, StoredImage]:
    """The images that were validated for the release before."""
    if parent is None or before is None:
        return {}
    size_of = {file.key: file.size_bytes for file in parent.files}
    return {
        image.key: StoredImage(image.sha256, size_of[image.key], image.width_px, image.height_px)
        for image in before.images
    }


def _is_table(path: str) -> bool:
    return path.startswith(f"{TABLES}/")


def _local_files(root: Path, is_data: bool) -> list[ReleaseFile]:
    """What lies below a folder, each with the key that its content gives it."""
    found = []
    for path in written(root):
        sha256 = sha256_of(root / path)
        found.append(
            ReleaseFile(
                path=path.as_posix(),
                sha256=sha256,
                size_bytes=(root / path).stat().st_size,
                key=f"files/{sha256[:2]}/{sha256}",
                is_data=is_data,
            )
        )
    return found


def _image_file(image: ReleaseImage, size_bytes: int) -> ReleaseFile:
    return ReleaseFile(
        path=image.path, sha256=image.sha256, size_bytes=size_bytes, key=image.key, is_data=True
    )


def _upload(
    store: Storage, manifest: ReleaseManifest, root: Path, held: Claim, published: Sequence[str]
) -> None:
    """Writes what lies in the folder and is not in the store yet."""
    ours = {file.key: path for file in manifest.files if (path := root / file.path).is_file()}
    with ThreadPoolExecutor(_THREADS) as pool:
        there = dict(zip(ours, pool.map(store.stat, ours), strict=True))
        missing = {key: path for key, path in ours.items() if there[key] is None}
        held.will_write(published[-1] if published else None, missing.keys())
        list(pool.map(lambda key: _copy(missing[key].open("rb"), store, key), missing))


def _copy(content: BinaryIO, store: Storage, key: str) -> None:
    with closing(content):
        store.write(key, content)


def _write_once(store: Storage, key: str, content: bytes) -> None:
    """Writes an object that must not be there yet; see the module's word on servers."""
    if store.stat(key) is not None:
        raise ConflictError(f"{store.uri}/{key}: is there already")
    try:
        store.write(key, content, if_absent=True)
    except ConflictError:
        # The client repeats a write whose answer was lost; then the object there is our own.
        if store.read(key) != content:
            raise


def _finish(store: Storage, manifest: ReleaseManifest) -> None:
    """Does what follows the commit, as far as it is not done: readable copies, and LATEST."""
    readable = folder(manifest.version)
    sources = {
        file.path: file.key
        for file in manifest.files
        if file.path.split("/")[0] not in _NOT_TO_BROWSE
    }
    docs = docs_folder(manifest.digest)
    for info in store.list(docs):
        sources[f"data_docs/{info.key.removeprefix(docs)}"] = info.key
    there = {info.key for info in store.list(readable)}
    missing = [path for path in sources if readable + path not in there]
    with ThreadPoolExecutor(_THREADS) as pool:
        list(
            pool.map(lambda path: _copy(store.open(sources[path]), store, readable + path), missing)
        )
    move_latest(store, manifest.version)
