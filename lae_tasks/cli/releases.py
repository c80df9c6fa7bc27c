"""Commands on releases: list, fetch, verify, measure."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from lae_tasks.cli.common import AsJson, ConfigFile, StoreUri, app, out, progress_bar
from lae_tasks.config_file import load_config


@app.command()
def releases(config: ConfigFile = None, store: StoreUri = None, as_json: AsJson = False) -> None:
    """List the published versions."""
    from lae_tasks.releases.manifest import list_releases
    from lae_tasks.storage import open_storage

    found = list_releases(open_storage(load_config(config, store=store).store))
    if as_json:
        keys = {"version", "digest", "parent", "created_at", "reason", "counts"}
        out.print_json(json.dumps([m.model_dump(mode="json", include=keys) for m in found]))
        return
    table = Table(
        *(Column(name, no_wrap=True) for name in ("version", "made (UTC)", "digest")),
        *(Column(name, justify="right") for name in ("scenes", "objects")),
        "why this version",
    )
    for manifest in found:
        made = manifest.created_at[:16].replace("T", " ")
        counts = [f"{manifest.counts[key]:,}" for key in ("scenes", "objects")]
        table.add_row(manifest.version, made, manifest.digest[:12], *counts, manifest.reason)
    out.print(table if found else "No release yet; `lae run` makes the first.")


@app.command()
def pull(
    version: Annotated[str, typer.Argument(help="Such as v1.0.0, or latest.")],
    dest: Annotated[Path, typer.Argument(help="Folder that is made or completed.")],
    config: ConfigFile = None,
    store: StoreUri = None,
) -> None:
    """Fetch a release; only what is missing, and every checksum is verified."""
    from lae_tasks.releases.pull import pull as fetch
    from lae_tasks.storage import open_storage

    storage = open_storage(load_config(config, store=store).store)
    with progress_bar() as progress:
        task = progress.add_task("files", total=None)
        pulled = fetch(
            storage, version, dest, lambda n, total: progress.update(task, completed=n, total=total)
        )
    name = pulled.manifest.version
    out.print(f"{name} in {dest}: {pulled.fetched} files fetched, {pulled.skipped} there already")


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
