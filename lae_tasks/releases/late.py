"""Versions that were made too late: their publisher stood still as it was about to write them.

Others may have taken it for dead meanwhile, cleared its files away, or made another version of the
same parent. They have not seen this one then, so nothing of theirs goes by it, and it is taken back
before it is announced: what LATEST has named stays.
"""

import logging
from concurrent.futures import ThreadPoolExecutor

from lae_tasks.releases.manifest import ReleaseManifest, folder, list_releases
from lae_tasks.releases.marks import is_announced
from lae_tasks.storage import MissingObjectError, Storage

logger = logging.getLogger(__name__)

_THREADS = 8


def stays(store: Storage, late: ReleaseManifest) -> bool:
    """Whether a version that was written late may stay; if not, it is taken back."""
    try:
        if store.read(late.key) != late.encode():
            return False  # a rival has that number
    except MissingObjectError:
        return False
    if is_announced(store, late.version):
        return True
    others = [each for each in list_releases(store) if each.version != late.version]
    is_used = any(each.parent == late.version for each in others)
    has_rival = any(each.parent == late.parent for each in others)
    if is_whole(store, late) and (is_used or not has_rival):
        return True
    take_back(store, late)
    return False


def is_whole(store: Storage, manifest: ReleaseManifest) -> bool:
    """Whether all files of a version are there."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return all(pool.map(store.stat, {file.key for file in manifest.files}))


def take_back(store: Storage, manifest: ReleaseManifest) -> None:
    """Deletes a version that was not announced, first of all its manifest."""
    logger.warning("%s was written late, and is taken back", manifest.version)
    store.delete(manifest.key)
    for info in list(store.list(folder(manifest.version))):
        store.delete(info.key)
