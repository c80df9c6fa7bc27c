"""Release: assemble the current truth, validate it, give it a version.

What is written, and in which order, so that a publisher may die at any point and several may race:

1. The files, under names made from their content. Nobody sees them yet; done twice, they are
   the same.
2. `releases/<version>/manifest.json`, only if it is not there. Now the version exists. A publisher
   that loses reads the state of things again and goes on from there.
3. Readable copies below `releases/<version>/`, for people who browse the bucket.
4. `releases/LATEST`, only if it is what it was. It never goes back.

A publisher that finds its own digest already published does what is left of 3 and 4.

Exclusivity is as good as the server's conditional PUT: AWS, MinIO and Google honour it. A server
that ignores the condition is asked first whether the object is there, which leaves a gap of
milliseconds; what comes of two winners is one whole version that somebody overwrote.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from lae_tasks.config import Config
from lae_tasks.errors import ConflictError, TransientError, UnfinishedNightError
from lae_tasks.formats import card, coco, odvg, pictures, reliability
from lae_tasks.releases.assemble import assemble
from lae_tasks.releases.dataset import STEWARD, Dataset, ReleaseImage
from lae_tasks.releases.diff import Diff, diff_coco, next_version
from lae_tasks.releases.drift import fresh_regions, next_baseline
from lae_tasks.releases.gates import make_gates
from lae_tasks.releases.manifest import (
    LATEST_KEY,
    CategoryEntry,
    ReleaseFile,
    ReleaseManifest,
    folder,
    latest_version,
    list_versions,
    read_release,
    release_digest,
    version_number,
)
from lae_tasks.releases.mixes import class_mixes
from lae_tasks.releases.pull import encode_manifest
from lae_tasks.releases.statement import Statement, make_statement
from lae_tasks.stages.validate import ValidationReport, docs_folder, validate
from lae_tasks.state import State
from lae_tasks.storage import Storage

logger = logging.getLogger(__name__)

STAGE = "release"
DIFF_PATH = "diff.json"

_ATTEMPTS = 20
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


def publish(read_state: Callable[[], State], config: Config, store: Storage) -> ReleaseResult:
    """Publishes the current truth as a new version, unless it is published already.

    Args:
        read_state: Reads everything that the nights and the stewards have produced. It is called
            anew after a lost race: the winner may have published verdicts that were not there
            before, and they must not be undone.
        config: The settings.
        store: Where the images are and the release goes.

    Raises:
        ValidationFailedError: If the data breaks the rules, or what it states of itself does not
            reach what the settings ask for; no version is made.
        UnfinishedNightError: If a night ran again, but not to its end: what it decided and what
            it has now do not belong together.
        TransientError: If other publishers won every attempt.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _publish_once(read_state, config, store)
        except ConflictError as error:
            logger.info("another publisher was first (%s); reading again", error)
    raise TransientError(f"{store.uri}: other publishers won {_ATTEMPTS} times; publish again")


def _publish_once(read_state: Callable[[], State], config: Config, store: Storage) -> ReleaseResult:
    # The parent first: a state that is read after it holds at least what the parent was made of.
    published = list_versions(store)
    parent = read_release(store, published[-1]) if published else None
    state = read_state()
    if state.unfinished:
        raise UnfinishedNightError(
            f"{store.uri}: night {', '.join(state.unfinished)} ran again, but not to its end; let "
            "its lae_nightly run (or `lae run --night …`) get to route, then publish"
        )
    dataset = assemble(state, config, parent)
    data = {
        coco.PATH: coco.encode(dataset, config.release),
        odvg.PATH: odvg.encode(dataset),
        odvg.LABEL_MAP_PATH: odvg.encode_label_map(dataset),
    }
    sha256_of = {path: _sha256(content) for path, content in data.items()}
    digest = release_digest(sha256_of | {image.path: image.sha256 for image in dataset.images})
    if parent and parent.digest == digest:
        _finish(store, parent)
        return ReleaseResult(parent.version, digest, False, parent)
    old = json.loads(store.read(parent.file(coco.PATH).key)) if parent else {}
    diff = diff_coco(old, json.loads(data[coco.PATH]))
    statement = make_statement(dataset, state, config, store, fresh_regions(parent, state))
    mixes = class_mixes(dataset, state, config, diff.scenes_added)
    gates = make_gates(config, statement, mixes, parent)
    report = validate(dataset, store, digest, gates)
    report.require()
    draft = _draft(dataset, diff, report, config, parent, published, state, statement)
    about = _about(draft, dataset, config, diff, store)
    files = [
        *(_file(path, content, is_data=True) for path, content in data.items()),
        *(_image_file(image, report.image_bytes[image.key]) for image in dataset.images),
        *(_file(path, content, is_data=False) for path, content in about.items()),
    ]
    manifest = draft.model_copy(update={"files": tuple(files)})
    for path, content in {**data, **about}.items():
        _put(store, manifest.file(path).key, content)
    _write_once(store, f"{folder(manifest.version)}manifest.json", encode_manifest(manifest))
    logger.info("published %s (%s)", manifest.version, manifest.reason)
    _finish(store, manifest)
    return ReleaseResult(manifest.version, digest, True, manifest)


def _draft(
    dataset: Dataset,
    diff: Diff,
    report: ValidationReport,
    config: Config,
    parent: ReleaseManifest | None,
    published: Iterable[str],
    state: State,
    statement: Statement,
) -> ReleaseManifest:
    """The manifest without its files."""
    version, reason = next_version(parent, diff, published)
    names = Counter(annotation.category for annotation in dataset.annotations)
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
        vocabulary=config.vocabulary.names,
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
        diff=diff.counts() if parent else {},
        validation_key=report.key,
        files=(),
    )


def _about(
    draft: ReleaseManifest, dataset: Dataset, config: Config, diff: Diff, store: Storage
) -> dict[str, bytes]:
    """The files that tell of the release: its diff, its card, and the card's pictures."""
    about = {DIFF_PATH: diff.encode(draft.parent)}
    samples = []
    for number, image in enumerate(pictures.sample_images(dataset), start=1):
        path = f"card/sample-{number}.png"
        about[path] = pictures.render(dataset, image, store)
        samples.append(card.Picture(path, f"{image.scene_key}, window {image.window_px}"))
    if draft.reliability:
        about[card.RELIABILITY_PATH] = reliability.render(draft.reliability)
    decided = {each.region_id for each in dataset.annotations if each.source == STEWARD}
    changes = diff.by_category() if draft.parent else {}
    about[card.PATH] = card.render(draft, config.release, samples, changes, len(decided))
    return about


def _file(path: str, content: bytes, is_data: bool) -> ReleaseFile:
    sha256 = _sha256(content)
    key = f"files/{sha256[:2]}/{sha256}"
    return ReleaseFile(path=path, sha256=sha256, size_bytes=len(content), key=key, is_data=is_data)


def _image_file(image: ReleaseImage, size_bytes: int) -> ReleaseFile:
    return ReleaseFile(
        path=image.path, sha256=image.sha256, size_bytes=size_bytes, key=image.key, is_data=True
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _put(store: Storage, key: str, content: bytes) -> None:
    """Writes an object that is named by its content, unless it is there."""
    if store.stat(key) is None:
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
        file.path: file.key for file in manifest.files if not file.path.startswith("images/")
    }
    docs = docs_folder(manifest.digest)
    for info in store.list(docs):
        sources[f"data_docs/{info.key.removeprefix(docs)}"] = info.key
    for path, key in sources.items():
        if store.stat(readable + path) is None:
            store.write(readable + path, store.read(key))
    for _ in range(_ATTEMPTS):
        try:
            return _move_latest(store, manifest.version)
        except ConflictError:
            logger.info("LATEST was moved by another publisher; reading it again")
    raise TransientError(f"{store.uri}/{LATEST_KEY} was moved {_ATTEMPTS} times; publish again")


def _move_latest(store: Storage, version: str) -> None:
    """Points LATEST to a version, if it points to none or to an older one."""
    info = store.stat(LATEST_KEY)
    content = f"{version}\n".encode()
    if info is None:
        return store.write(LATEST_KEY, content, if_absent=True)
    current = latest_version(store)
    if current is None or version_number(current) < version_number(version):
        store.write(LATEST_KEY, content, if_match=info.etag)
