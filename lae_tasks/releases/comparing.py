"""What differs between any two versions, and which verdict or rule each difference comes from."""

from collections.abc import Iterator
from dataclasses import dataclass

import ijson

from lae_tasks.errors import ContractError
from lae_tasks.releases.dataset import Dataset
from lae_tasks.releases.diff import DIFF_PATH, OBJECTS, Diff, diff_datasets
from lae_tasks.releases.manifest import ReleaseManifest, read_release, version_number
from lae_tasks.releases.reading import downloaded, read_dataset
from lae_tasks.storage import Storage


@dataclass(frozen=True)
class Comparison:
    """Two versions, and what the second one changes against the first."""

    old: ReleaseManifest
    new: ReleaseManifest
    diff: Diff


def compare(store: Storage, old: str, new: str) -> Comparison:
    """Compares two versions by their tables.

    Args:
        store: The store, or a mirror.
        old: `v1.3.0`, or `latest`; it may be the later one, too.
        new: Likewise.

    Raises:
        NoReleaseError: If one is not there.
        ContractError: If one has no tables, or damaged ones.
    """
    sides = read_release(store, old), read_release(store, new)
    causes = _causes(store, *sides)
    datasets = [_dataset(store, side) for side in sides]
    diff = diff_datasets(datasets[0], datasets[1], lambda key, _: causes.get(key, ""))
    return Comparison(*sides, diff)


def _dataset(store: Storage, manifest: ReleaseManifest) -> Dataset:
    dataset = read_dataset(store, manifest)
    if dataset is None:
        raise ContractError(
            f"{manifest.version} of {store.uri} has no tables: an older engine wrote it; "
            "compare versions that come after it"
        )
    return dataset


def _causes(store: Storage, one: ReleaseManifest, other: ReleaseManifest) -> dict[str, str]:
    """By region, what was said last of it by the versions between the two, the later one with them.

    Each version has said in its `diff.json` why it differs from the one before; unless an older
    engine made it. Of millions of entries, one at a time is in memory.
    """
    first, last = sorted((one, other), key=lambda each: version_number(each.version))
    causes: dict[str, str] = {}
    for manifest in _back_to(store, last, first):
        if not manifest.has(DIFF_PATH):
            continue
        with downloaded(store, manifest, DIFF_PATH) as path, path.open("rb") as file:
            for kind in OBJECTS:
                file.seek(0)
                for entry in ijson.items(file, f"{kind}.item"):
                    if cause := entry.get("cause"):
                        causes.setdefault(entry["region_id"], cause)
    return causes


def _back_to(
    store: Storage, last: ReleaseManifest, first: ReleaseManifest
) -> Iterator[ReleaseManifest]:
    """The versions after `first`, up to `last`, newest first; by their parents."""
    here = last
    while here.version != first.version:
        yield here
        if here.parent is None:
            return
        here = read_release(store, here.parent)
