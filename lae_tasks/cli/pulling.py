"""Commands of who uses a release: fetch it, verify it, measure it."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.markup import escape

from lae_tasks.cli.common import (
    AsJson,
    ConfigFile,
    StoreUri,
    app,
    byte_bar,
    err,
    open_store,
    out,
)


@app.command()
def pull(
    version: Annotated[str, typer.Argument(help="Such as v1.0.0, or latest.")],
    dest: Annotated[Path, typer.Argument(help="Folder that is made or completed.")],
    config: ConfigFile = None,
    store: StoreUri = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="Only this format, and those pulled before; repeatable."),
    ] = None,
    images: Annotated[bool, typer.Option(help="Whether the images come, too.")] = True,
) -> None:
    """Fetch a release; only what is missing, and every checksum is verified."""
    from lae_tasks.releases.pull import pull as fetch

    storage = open_store(config, store)
    try:
        with byte_bar() as progress:
            task = progress.add_task(f"pull {version}", total=None)
            pulled = fetch(
                storage,
                version,
                dest,
                lambda n, total: progress.update(task, completed=n, total=total),
                formats=formats or None,
                images=images,
            )
    except KeyboardInterrupt:
        err.print(f"Interrupted; the same command goes on with {escape(str(dest))}")
        raise typer.Exit(130) from None
    choice = pulled.choice
    what = "all formats" if choice.formats is None else ", ".join(choice.formats)
    out.print(
        f"{pulled.manifest.version} in {escape(str(dest))}: {pulled.fetched} files fetched "
        f"({decimal(pulled.fetched_bytes)}), {pulled.skipped} there already; {what}"
        f"{'' if choice.images else ', without images'}",
        soft_wrap=True,
    )
    if pulled.yanked:
        told = pulled.yanked
        err.print(
            f"[bold yellow]warning:[/] {told.version} was yanked at {told.at}: "
            f"{escape(told.reason)}; `lae releases` lists the others",
            soft_wrap=True,
        )


@app.command()
def verify(dest: Annotated[Path, typer.Argument(help="Folder of a pulled release.")]) -> None:
    """Hash every file of a pulled release and compare with its manifest."""
    from lae_tasks.releases.pull import verify as check

    problems = check(dest)
    for problem in problems:
        out.print(f"{problem.kind}: {problem.path}", markup=False)
    if problems:
        raise typer.Exit(1)
    out.print(f"{dest}: every file is as its manifest says")


@app.command()
def evaluate(
    coco: Annotated[Path, typer.Argument(help="COCO file of a release.")],
    truth: Annotated[Path, typer.Option(help="COCO file with the truth.")],
    as_json: AsJson = False,
) -> None:
    """Measure labels against truth: COCO figures, precision and recall by category."""
    from lae_tasks.evaluate import as_tables, notes
    from lae_tasks.evaluate import evaluate as measure

    found = measure(coco, truth)
    if as_json:
        out.print_json(json.dumps(found.as_dict()))
        return
    out.print(*as_tables(found), sep="\n")
    for note in notes(found):
        out.print(note)
