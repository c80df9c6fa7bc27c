"""What the commands share: the app, the consoles, options that many have."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from lae_tasks.config_file import load_config
from lae_tasks.errors import ConfigError

if TYPE_CHECKING:
    from lae_tasks.storage import Storage

app = typer.Typer(
    help="The LAE-Label engine: from raw overhead imagery to dataset releases.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console()
err = Console(stderr=True)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings; by default $LAE_CONFIG, else lae.yaml."),
]
RawUri = Annotated[str | None, typer.Option("--raw", help="Raw imagery, instead of the config's.")]
StoreUri = Annotated[str | None, typer.Option("--store", help="Store, instead of the config's.")]
NightName = Annotated[
    str | None, typer.Option("--night", help="yyyy-mm-dd; by default today (UTC).")
]
LatestNight = Annotated[str | None, typer.Option("--night", help="By default the latest.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def today() -> str:
    """The night of a command that names none."""
    return datetime.now(UTC).date().isoformat()


def open_store(config: Path | None, store: str | None, to_write: bool = False) -> "Storage":
    """The store that a command names, for which it needs no settings; else that of the settings.

    Raises ConfigError at once if the command is to write to a mirror, or it is no store.
    """
    from lae_tasks.releases.pull import was_pulled_to
    from lae_tasks.storage import LocalStorage, open_storage

    uri = store or load_config(config).store
    if to_write and uri.startswith(("http://", "https://")):
        raise ConfigError(
            f"{uri}: a mirror can only be read; give the bucket or folder that it is a copy of"
        )
    store_there = open_storage(uri)
    if isinstance(store_there, LocalStorage) and was_pulled_to(store_there.root):
        raise ConfigError(f"{uri}: is a pulled release; give the store that it was pulled from")
    return store_there


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar on the error stream, so that output can be piped."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=err) as progress:
        yield progress


@contextmanager
def byte_bar() -> Iterator[Progress]:
    """A bar that counts bytes, with their speed and when they will have come."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    speed = (TransferSpeedColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, *speed, console=err) as progress:
        yield progress
