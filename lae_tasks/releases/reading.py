"""Reads a release where it lies, or was pulled to: typed records, as they are asked for.

import lae_tasks

release = lae_tasks.load_release("s3://my-bucket/lae", "v1.4.0")  # or "my-dataset", a pulled folder
for image, annotations in release.by_image(split="train"):
    pixels = release.pixels(image)
"""

import hashlib
import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lae_tasks.errors import ContractError
from lae_tasks.formats import tables
from lae_tasks.releases.dataset import (
    Annotation,
    Category,
    Dataset,
    ReleaseImage,
    Split,
    annotations_of,
    by_image,
)
from lae_tasks.releases.manifest import (
    NoReleaseError,
    ReleaseFile,
    ReleaseManifest,
    named,
    read_release,
    version_number,
)
from lae_tasks.releases.marks import read_yanked
from lae_tasks.releases.pull import read_local, was_pulled_to
from lae_tasks.storage import LocalStorage, Storage, open_storage
from lae_tasks.tables import sha256_of

logger = logging.getLogger(__name__)


class Release:
    """A published release.

    Attributes:
        manifest: What it is.
    """

    def __init__(self, store: Storage, manifest: ReleaseManifest) -> None:
        self.manifest = manifest
        self._store = store

    @cached_property
    def images(self) -> tuple[ReleaseImage, ...]:
        """Its images, in the order of their ids."""
        key_of = {file.path: file.key for file in self.manifest.files}
        return tables.read_images(self._table(tables.IMAGES_PATH), key_of)

    @cached_property
    def categories(self) -> tuple[Category, ...]:
        """Its categories, with the numbers that they have in every version."""
        return tables.read_categories(self._table(tables.CATEGORIES_PATH))

    def annotations(self) -> Iterator[Annotation]:
        """Its annotations, in the order of their images, some thousands in memory at a time."""
        # Without threads: see `lae_tasks.tables`.
        with (
            downloaded(self._store, self.manifest, tables.ANNOTATIONS_PATH) as path,
            pq.ParquetFile(path, pre_buffer=False) as table,
        ):
            for batch in table.iter_batches(tables.ROWS_AT_ONCE, use_threads=False):
                yield from annotations_of(batch)

    def by_image(
        self, split: Split | None = None
    ) -> Iterator[tuple[ReleaseImage, list[Annotation]]]:
        """Each image with its annotations, if any; of all images, or of one split."""
        for image, annotations in by_image(self.images, self.annotations()):
            if split in (None, image.split):
                yield image, annotations

    def pixels(self, image: ReleaseImage) -> npt.NDArray[np.uint8]:
        """An image's pixels, uint8 (height, width, 3), RGB."""
        with named(image.path):
            data = self._store.read(image.key)
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise ContractError(f"{self._store.uri}/{image.key}: is not the image of the release")
        with Image.open(io.BytesIO(data)) as file:
            return np.asarray(file.convert("RGB"))

    def _table(self, path: str) -> pa.BufferReader:
        return read_whole(self._store, self.manifest, path)


def load_release(uri: str, version: str = "latest") -> Release:
    """Opens a release where it lies; nothing of it is fetched but what is asked for.

    Args:
        uri: The store: `s3://bucket/prefix`, `https://…` of a mirror, or a local folder. Or a
            folder that a release was pulled to.
        version: `v1.4.0` or `latest`. One that was yanked is opened, with a warning in the log; a
            pulled one does not know.

    Raises:
        NoReleaseError: If there is no such release.
        ContractError: What is read of it is not what was published, or was not pulled.
    """
    store = open_storage(uri)
    if isinstance(store, LocalStorage) and was_pulled_to(store.root):
        return _pulled(store, version)
    manifest = read_release(store, version)
    if yanked := read_yanked(store, manifest.version):
        logger.warning("%s was yanked at %s: %s", yanked.version, yanked.at, yanked.reason)
    return Release(store, manifest)


def _pulled(store: LocalStorage, version: str) -> Release:
    manifest = read_local(store.root)
    if version != "latest" and version_number(version) != version_number(manifest.version):
        raise NoReleaseError(f"{store.uri} has {manifest.version}, not {version}; pull that one")
    # Its files lie by their paths there.
    files = tuple(file.model_copy(update={"key": file.path}) for file in manifest.files)
    return Release(store, manifest.model_copy(update={"files": files}))


def read_dataset(store: Storage, manifest: ReleaseManifest) -> Dataset | None:
    """A published release as a dataset; None if it is older than the tables."""
    if not manifest.has(tables.ANNOTATIONS_PATH):
        return None
    release = Release(store, manifest)
    annotations = tables.read_annotations(read_whole(store, manifest, tables.ANNOTATIONS_PATH))
    return Dataset(release.images, annotations, release.categories, manifest.left_out)


def read_whole(store: Storage, manifest: ReleaseManifest, path: str) -> pa.BufferReader:
    """A file of a release, in memory. Raises ContractError if it is damaged, or not there."""
    file = manifest.file(path)
    with named(path):
        data = store.read(file.key)
    _require_digest(store, file, hashlib.sha256(data).hexdigest())
    return pa.BufferReader(data)


@contextmanager
def downloaded(store: Storage, manifest: ReleaseManifest, path: str) -> Iterator[Path]:
    """A file of a release, on this machine for so long; raises what `read_whole` does."""
    file = manifest.file(path)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / "file"
        with named(path):
            store.download(file.key, local)
        _require_digest(store, file, sha256_of(local))
        yield local


def _require_digest(store: Storage, file: ReleaseFile, sha256: str) -> None:
    if sha256 != file.sha256:
        raise ContractError(
            f"{store.uri}/{file.key}: is damaged, {file.path} had another digest when it was "
            "published: restore it from a backup, or pull it again"
        )
