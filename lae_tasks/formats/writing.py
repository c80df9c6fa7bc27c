"""Writes a dataset in several formats, in one pass over its annotations.

Each format is a module of this package with a class `Writer`, and has a folder of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from lae_tasks.config import FormatName, ReleaseConfig
from lae_tasks.releases.dataset import Annotation, Dataset, ReleaseImage

#: Part of every release, whatever formats it has: what readers, diffs and digests go by.
TABLES = "tables"


@dataclass(frozen=True)
class Source:
    """What a format may look at before the images come.

    Attributes:
        read: Gives the bytes of an image's PNG.
    """

    dataset: Dataset
    config: ReleaseConfig
    read: Callable[[ReleaseImage], bytes]


class FormatWriter(Protocol):
    """Writes one format while the images come, in the order of their ids."""

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """Takes an image with all its annotations."""

    def close(self) -> None:
        """Writes what is left; called once, after the last image or after an error."""


def write(source: Source, formats: Sequence[FormatName | str], root: Path) -> None:
    """Writes the files of some formats below a folder.

    The same dataset gives the same bytes. A format for which there is nothing to say, as that of
    places on the ground where nothing has one, may write no file.

    Args:
        source: What to write.
        formats: Names of formats; `TABLES` for the tables alone.
        root: Where to; each format gets a folder of its name.
    """
    with ExitStack() as stack:
        writers = []
        for name in formats:
            folder = root / name
            folder.mkdir()
            writer: FormatWriter = import_module(f"lae_tasks.formats.{name}").Writer(source, folder)
            writers.append(stack.enter_context(closing(writer)))
        if writers:
            for image, annotations in source.dataset.by_image():
                for writer in writers:
                    writer.add(image, annotations)


def written(root: Path) -> Iterator[Path]:
    """The files below a folder, relative to it, ordered by path."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    yield from sorted(found, key=lambda path: path.as_posix())
