"""The commands behind the Makefile: `python -m demo.stack up`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from demo.stack import demo as night_of
from demo.stack import processes
from demo.stack import up as stack
from demo.stack.airflow_api import AirflowError
from demo.stack.settings import Settings, load

app = typer.Typer(help="The local stack: S3, Label Studio and Airflow.", no_args_is_help=True)
console = Console()


def _run(act: Callable[[Settings], bool | None]) -> None:
    """Do it; a problem is one message and an exit status of 1."""
    try:
        done = act(load())
    except (processes.StackError, AirflowError, ValueError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    if done is False:
        raise typer.Exit(1)


@app.command()
def up() -> None:
    """Start what does not run, wait until it works, and say where it is."""

    def act(settings: Settings) -> None:
        stack.up(settings, console)
        console.print(stack.links(settings))

    _run(act)


@app.command()
def demo(
    scenes: Annotated[int | None, typer.Option(min=1, help="How many scenes to make; 8.")] = None,
    size: Annotated[
        int | None, typer.Option(min=512, max=4096, help="Their side in pixels; 1024.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The seed they are made from; 7.")] = None,
) -> None:
    """Start the stack, run one night through Airflow and show its table."""

    def act(settings: Settings) -> None:
        night_of.check(settings, scenes=scenes, size=size, seed=seed)
        stack.up(settings, console)
        world = night_of.World(scenes or 8, size or 1024, 7 if seed is None else seed)
        night_of.demo(settings, console, world)
        console.print(stack.links(settings))

    _run(act)


@app.command()
def down() -> None:
    """Stop the stack with everything that it started."""
    _run(lambda settings: stack.down(settings, console))


@app.command()
def status() -> None:
    """Say which services work; exit 1 if one does not."""
    _run(lambda settings: stack.status(settings, console))


@app.command()
def logs(
    lines: Annotated[int, typer.Option(help="How many lines of each log.")] = 15,
) -> None:
    """Print the end of every service's log."""

    def act(settings: Settings) -> None:
        for log in sorted(settings.logs.glob("*.log")):
            console.rule(str(log))
            console.print(processes.tail(log, lines), markup=False, highlight=False)

    _run(act)


if __name__ == "__main__":
    sys.exit(app())
