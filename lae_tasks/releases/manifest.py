"""The manifest of a release: what makes a version exist, and what a reader believes.

    releases/<version>/manifest.json   the commit marker; its files are named by content
    releases/LATEST                    the version that `latest` means
    files/<aa>/<sha256>                the files' bytes, named by content
    releases/<version>/…               the same files under readable names, data_docs/ beside them

A manifest is written after everything that it lists, once, and never changed. Readers take the
bytes by the manifest's keys and check them, so they see a whole version or none; the readable
copies are for people who browse the bucket.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError

from lae_tasks.contracts import Record, Score, first_problem
from lae_tasks.errors import ConfigError, ContractError, LaeError, UnlistableError
from lae_tasks.storage import MissingObjectError, Storage

RELEASE_SCHEMA_VERSION = 2
"""Version of what a release's files look like; another one makes a major version."""

LATEST_KEY = "releases/LATEST"

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_FOLDER = re.compile(r"v\d+\.\d+\.\d+")
_THREADS = 8


class NoReleaseError(LaeError):
    """The store has no such release."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise ValueError(f"path {path!r} leaves the release's folder")
    return path


class ReleaseFile(Record):
    """A file of a release.

    Attributes:
        path: Where it lies in a pulled release.
        key: Where its bytes lie in the store.
        is_data: Whether it counts for the release's digest: the tables and the images do, from
            which all formats follow; the card and the diff, which tell of them, do not.
    """

    path: Annotated[str, AfterValidator(_inside)]
    sha256: str
    size_bytes: int
    key: str
    is_data: bool


class CategoryEntry(Record):
    """A category with its number and how many objects and annotations bear it."""

    category_id: int
    name: str
    objects: int
    annotations: int


class PrecisionEntry(Record):
    """What the random audit says of the objects that nobody has looked at.

    Attributes:
        category: Of which; None for all.
        unseen: How many they are.
        audited: Objects that were drawn and looked at, with `right` those that were found right.
        precision: The share of the unseen that is right, corrected for stewards' mistakes, with
            `low` and `high` the ends of its interval, which holds the true one in `confidence` of
            releases.
        undecided: Objects that were drawn, too, and that stewards left undecided.
        unmeasured: Of the unseen, those of nights of which nobody has looked at any: they are taken
            to be as right as the others.
    """

    category: str | None
    unseen: int
    audited: int
    right: int
    precision: Score
    low: Score
    high: Score
    confidence: Score
    undecided: int = 0
    unmeasured: int = 0


class WholeEntry(Record):
    """The precision of all objects, those that nobody has looked at and those stewards decided.

    Attributes:
        seen: How many of the `objects` stewards decided, with `seen_precision` the share of these
            that is right.
        precision: The share of all that is right, with `low` and `high` the ends of its interval.
    """

    objects: int
    seen: int
    seen_precision: Score
    precision: Score
    low: Score
    high: Score
    confidence: Score


class RecallEntry(Record):
    """What tiles that were drawn at random say, which stewards looked over for what is missing.

    Attributes:
        tiles: How many.
        objects: What there is on them, with `found` what would be in without that look.
        recall: The share that was found, with `low` and `high` the ends of its interval. What
            neither engine nor stewards see is not in it.
    """

    tiles: int
    objects: int
    found: int
    recall: Score
    low: Score
    high: Score
    confidence: Score


class AgreementEntry(Record):
    """How far stewards agree who looked at the same regions.

    Attributes:
        regions: Regions that were planned for two and that two have decided, with `differ` those
            on which these two differ.
        open: Of all regions, those in dispute still: no opinion has more stewards than each other.
        alpha: Krippendorff's alpha of the `regions`; None where all say one and the same category.
    """

    regions: int
    differ: int
    open: int
    alpha: float | None


class ReliabilityEntry(Record):
    """How right the probabilities are of the newest calibration behind the release's objects.

    Attributes:
        said: The mean probability of each bin of held-out regions that were drawn at random, with
            `right` the share that was right, and `count` how many they are.
        calibration_error: The mean gap of the two, weighted by count.
    """

    calibration_id: str
    night: str
    said: tuple[Score, ...]
    right: tuple[Score, ...]
    count: tuple[int, ...]
    calibration_error: Score


class DriftBaseline(Record):
    """What a release stated, that its descendants are compared with until enough was looked at.

    Attributes:
        version: The release that stated it.
        precision: Of the objects that nobody had looked at, with `low` and `high` the ends of its
            interval.
        known_until: When the newest verdict was decided that it knew, ISO 8601, by Label Studio's
            clock.
    """

    version: str
    precision: Score
    low: Score
    high: Score
    known_until: str


class ReleaseManifest(Record):
    """What a version is.

    Attributes:
        digest: Digest of the data files; the same decisions give the same digest.
        reason: Why it has this version number.
        counts: Scenes, images, objects, annotations, categories.
        left_out: Regions and verdicts that are not in, by reason.
        next_category_id: The number that the next new category will get.
        vocabulary: The config's vocabulary.
        nights: Nights whose decisions are in.
        config_sha256: Fingerprint of each section of the config.
        model_revisions: Revisions of the models behind the labels, by stage.
        precision: Of the objects that nobody has looked at: of all these, if anything was audited;
            then of each category with enough of a sample.
        whole: The precision of all objects; None if it is not known.
        recall: None if too few tiles were looked over.
        agreement: None where no two stewards have decided what was planned for two, and nothing is
            open.
        steward_error: The share of looks in which stewards are mistaken, which the figures allow
            for; None if too few second looks tell: they are taken to make no mistakes.
        reliability: None if no calibration decided anything in it.
        drift_baseline: None if nothing was stated yet, or an older engine made it.
        formats: What it is written in, beside the tables; each has a folder of its name.
        splits: Images, objects and scenes of each split; of `none`, what is in none.
        split_of: The split of every scene that this version or one before it has, by its id; None
            for a scene that is in none.
        warnings: Rules that it breaks and that the settings let pass, with what was found.
        diff: Counts of what changed against the parent.
        validation_key: The Data Docs' index in the store.
    """

    # A release may be read years later, by an engine that knows fewer fields.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    version: str
    digest: str
    schema_version: int = RELEASE_SCHEMA_VERSION
    dataset: str
    title: str
    licence: str
    parent: str | None
    created_at: str
    reason: str
    counts: dict[str, int]
    left_out: dict[str, int]
    categories: tuple[CategoryEntry, ...]
    next_category_id: int
    vocabulary: tuple[str, ...]
    nights: tuple[str, ...]
    config_sha256: dict[str, str]
    model_revisions: dict[str, tuple[str, ...]]
    precision: tuple[PrecisionEntry, ...] = ()
    whole: WholeEntry | None = None
    recall: RecallEntry | None = None
    agreement: AgreementEntry | None = None
    steward_error: Score | None = None
    reliability: ReliabilityEntry | None = None
    drift_baseline: DriftBaseline | None = None
    formats: tuple[str, ...] = ()
    splits: dict[str, dict[str, int]] = Field(default_factory=dict)
    split_of: dict[str, Literal["train", "val", "test"] | None] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    diff: dict[str, int]
    validation_key: str
    files: tuple[ReleaseFile, ...]

    @property
    def key(self) -> str:
        """Where it lies in the store."""
        return f"{folder(self.version)}manifest.json"

    def encode(self) -> bytes:
        """What is written there."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    def file(self, path: str) -> ReleaseFile:
        """The file of that path. Raises ContractError if the release has none."""
        for file in self.files:
            if file.path == path:
                return file
        raise ContractError(f"release {self.version} has no file {path}")

    def has(self, path: str) -> bool:
        """Whether it has a file of that path: one of an older engine may lack some."""
        return any(file.path == path for file in self.files)


@contextmanager
def named(path: str) -> Iterator[None]:
    """Around reading a file of a release: that its object is missing breaks the release."""
    try:
        yield
    except MissingObjectError as error:
        raise ContractError(
            f"{error}, though the manifest names it for {path}; if this was pulled, pull it whole; "
            "if it is a mirror, let everybody read it; else restore it from a backup"
        ) from error


def release_digest(sha256_of: Mapping[str, str]) -> str:
    """The digest of a release: sha256 over the sorted paths and digests of its data files."""
    lines = (f"{path} {sha256}\n" for path, sha256 in sorted(sha256_of.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def folder(version: str) -> str:
    """The folder of a version's readable files, with a slash at its end."""
    return f"releases/{version}/"


def version_number(version: str) -> tuple[int, int, int]:
    """`v1.4.0` as (1, 4, 0). Raises NoReleaseError if it is not a version."""
    match = _VERSION.fullmatch(version)
    if not match:
        raise NoReleaseError(f"{version!r} is not a version; give one such as v1.4.0, or latest")
    major, minor, patch = (int(group) for group in match.groups())
    return major, minor, patch


def list_versions(store: Storage) -> list[str]:
    """The published versions, oldest first."""
    # By their folders: what lies in them, dozens of readable copies each, need not be listed.
    names = [name for name in store.folders("releases/") if _FOLDER.fullmatch(name)]
    with ThreadPoolExecutor(_THREADS) as pool:
        there = list(pool.map(lambda name: store.stat(f"{folder(name)}manifest.json"), names))
    found = [name for name, info in zip(names, there, strict=True) if info]
    return sorted(found, key=version_number)


def list_releases(store: Storage) -> list[ReleaseManifest]:
    """The manifests of all published releases, oldest first.

    Of a mirror, which cannot be listed, those that LATEST names and that lead to them: each has
    the one before it as its parent. Raises ConfigError if there is no LATEST.
    """
    try:
        return [read_release(store, version) for version in list_versions(store)]
    except UnlistableError:
        store.check()
    found: dict[str, ReleaseManifest] = {}
    wanted = re.findall(rf"{_FOLDER.pattern}$", store.read(LATEST_KEY).decode(), re.MULTILINE)
    for version in wanted:  # which grows meanwhile
        with suppress(NoReleaseError):  # it was not copied
            found[version] = read_release(store, version)
            parent = found[version].parent
            wanted += [parent] if parent and parent not in wanted else []
    if not found:
        raise ConfigError(f"{store.uri}/{LATEST_KEY} names no version that is there; is it a copy?")
    return sorted(found.values(), key=lambda each: version_number(each.version))


def read_release(store: Storage, version: str = "latest") -> ReleaseManifest:
    """The manifest of a release.

    Args:
        store: The store.
        version: `v1.4.0`, `1.4.0` or `latest`.

    Raises:
        NoReleaseError: If there is no such release.
        ContractError: If its manifest cannot be read as one.
    """
    if version == "latest":
        version = latest_version(store) or ""
        if not version:
            raise NoReleaseError(
                f"{store.uri} has no release yet: there is no {LATEST_KEY}; correct the address, "
                "or let `lae run` publish one"
            )
    else:
        version = "v{}.{}.{}".format(*version_number(version))
    key = f"{folder(version)}manifest.json"
    try:
        return ReleaseManifest.model_validate_json(store.read(key))
    except MissingObjectError as error:
        raise NoReleaseError(f"{store.uri} has no release {version}{_known(store)}") from error
    except ValidationError as error:
        raise ContractError(
            f"{store.uri}/{key}: not a release's manifest: {first_problem(error)}"
        ) from error


def _known(store: Storage) -> str:
    """The newest versions, for a message; nothing of a mirror, which cannot be listed."""
    try:
        return f"; there are: {', '.join(list_versions(store)[-5:]) or 'none'}"
    except UnlistableError:
        return "; `latest` is the newest one"


def latest_version(store: Storage) -> str | None:
    """The version that `LATEST` names; None before the first release."""
    try:
        return store.read(LATEST_KEY).decode().split("\n")[0].strip()
    except MissingObjectError:
        return None
