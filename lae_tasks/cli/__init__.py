"""The command line: `lae`, or `python -m lae_tasks`.

Modules that take long to import are imported by the command that needs them: `lae --help` must not
wait for torch.
"""

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.logging import RichHandler

from lae_tasks.cli import history, nights, pulling, releases, show  # noqa: F401 - each adds its commands
from lae_tasks.cli.common import app, err, out
from lae_tasks.errors import LaeError


def main() -> None:
    """Runs the command line; the engine's own errors become one message and exit code 1."""
    try:
        app()
    except LaeError as error:
        err.print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
        err.print(str(error), markup=False, highlight=False)
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(version("lae-label-engine"))
        raise typer.Exit


@app.callback()
def _start(
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens.")] = False,
) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", handlers=[RichHandler(console=err)])
    if not verbose:
        # GDAL warns of every oddity of a file; what matters becomes a rejection.
        logging.getLogger("rasterio").setLevel(logging.ERROR)
