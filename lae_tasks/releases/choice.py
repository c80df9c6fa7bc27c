"""Which files of a release a folder is meant to hold: all, or those of some formats."""

from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import ValidationError

from lae_tasks.contracts import Record, first_problem
from lae_tasks.errors import ConfigError, ContractError
from lae_tasks.releases.manifest import ReleaseFile, ReleaseManifest

CHOICE_NAME = "pull.json"
_IMAGES = "images"
#: Folders that lie beside that of their format.
_OF_FORMAT = {"labels": "yolo"}
#: Folders of every release, which are no formats.
_COMMON = {_IMAGES, "tables", "card"}


class Choice(Record):
    """What was asked for. Tables and card come in any case.

    Attributes:
        formats: Names of formats; None for all that a version has.
        images: Whether the images come, too; a format that holds them itself keeps them.
    """

    formats: tuple[str, ...] | None = None
    images: bool = True

    def files(self, manifest: ReleaseManifest) -> list[ReleaseFile]:
        """Those of a version's files that are asked for."""
        left_out = set() if self.images else {_IMAGES}
        if self.formats is not None:
            left_out.update(set(formats_of(manifest)) - set(self.formats))
        return [file for file in manifest.files if _folder(file) not in left_out]

    def with_more(self, formats: Sequence[str] | None, images: bool) -> "Choice":
        """What is asked for together with what was before."""
        both = None
        if formats is not None and self.formats is not None:
            both = tuple(sorted({*formats, *self.formats}))
        return Choice(formats=both, images=images or self.images)


def _folder(file: ReleaseFile) -> str:
    """The folder of the release that a file belongs to; of files on its top level the file."""
    first = file.path.split("/")[0]
    return _OF_FORMAT.get(first, first)


def formats_of(manifest: ReleaseManifest) -> tuple[str, ...]:
    """What a version is written in; of one that does not say so, by its folders."""
    folders = {_folder(file) for file in manifest.files if "/" in file.path}
    return manifest.formats or tuple(sorted(folders - _COMMON))


def require_formats(manifest: ReleaseManifest, formats: Collection[str]) -> None:
    """Raises ConfigError if a version is not written in one of these."""
    there = formats_of(manifest)
    unknown = sorted(set(formats) - set(there))
    if unknown:
        raise ConfigError(
            f"{manifest.version} is not written in {', '.join(unknown)}; choose of: "
            f"{', '.join(there) or 'none'}"
        )


def read_choice(dest: Path) -> Choice | None:
    """What was asked for before in a folder; None if it does not say. Raises ContractError."""
    path = dest / CHOICE_NAME
    if not path.is_file():
        return None
    try:
        return Choice.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ContractError(
            f"{path} does not say what was pulled ({first_problem(error)}); remove it, and pull "
            "again what is wanted"
        ) from error


def write_choice(dest: Path, choice: Choice) -> None:
    """Keeps in the folder what was asked for."""
    part = dest / f"{CHOICE_NAME}.part"
    part.write_text(choice.model_dump_json() + "\n")
    part.replace(dest / CHOICE_NAME)
