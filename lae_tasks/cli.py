"""The command line: `lae`, or `python -m lae_tasks`."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from lae_tasks.config import Config
from lae_tasks.config_file import load_config
from lae_tasks.errors import LaeError

if TYPE_CHECKING:  # the rest is imported where it is used: `lae --help` must not wait for torch
    from lae_tasks.contracts import Manifest
    from lae_tasks.status import NightStatus

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
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


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


@app.command()
def synth(
    dest: Annotated[Path, typer.Argument(help="Folder that is made.")],
    scenes: Annotated[int, typer.Option(min=1, help="How many.")] = 4,
    size: Annotated[int, typer.Option(min=512, max=4096, help="Side in pixels.")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write synthetic overhead scenes with exact truth (GeoTIFF and COCO)."""
    from demo.scenes import write_world

    with _progress() as progress:
        task = progress.add_task("scenes", total=scenes)
        write_world(dest, scenes, size, seed, lambda done: progress.update(task, completed=done))
    out.print(f"{scenes} scenes and truth.json in {dest}")


@app.command()
def run(
    config: ConfigFile = None,
    raw: RawUri = None,
    store: StoreUri = None,
    night: NightName = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work on shards.")] = 2,
    push: Annotated[
        bool, typer.Option(help="Send to Label Studio, if LABEL_STUDIO_URL is set.")
    ] = True,
    release: Annotated[bool, typer.Option(help="Publish what came of it.")] = True,
) -> None:
    """Run a whole night without Airflow; what is done already is skipped."""
    from lae_tasks.local import run_night

    settings = load_config(config, raw=raw, store=store)
    night = night or _today()
    with _progress() as progress:
        task = progress.add_task(f"night {night}", total=None)

        def told(step: str, done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description=f"{night} {step}")

        run_night(settings, night, workers, told)
    if push and os.environ.get("LABEL_STUDIO_URL"):
        if settings.store.startswith("s3://"):
            _report_push(_push(settings, night))
        else:
            out.print("Not sent to Label Studio: it fetches images from S3, not from a folder")
    found = _status(settings, night)
    if release and (found.tiles or found.release):
        _publish(settings)
        found = _status(settings, night)
    _print_status(found)
    if not found.scenes:
        out.print(f"No new scene below {settings.raw}")
    elif not found.tiles:
        out.print("Every tile is empty: there is nothing to release")


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help="ingest, tile, segment, classify or route.")],
    shard: Annotated[str, typer.Argument(help="Such as 0000; all for ingest and route.")] = "all",
    config: ConfigFile = None,
    night: NightName = None,
) -> None:
    """Run one stage over one shard, as an Airflow task does, and print its manifest."""
    from lae_tasks.local import open_night
    from lae_tasks.night import run_stage

    manifest = run_stage(open_night(load_config(config), night or _today()), name, shard)
    out.print_json(manifest.model_dump_json())


@app.command()
def status(
    config: ConfigFile = None,
    store: StoreUri = None,
    night: Annotated[str | None, typer.Option(help="By default the latest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what came of a night, and the latest release."""
    found = _status(load_config(config, store=store), night)
    if as_json:
        out.print_json(found.model_dump_json())
    else:
        _print_status(found)


@app.command()
def rejects(
    config: ConfigFile = None,
    store: StoreUri = None,
    night: Annotated[str | None, typer.Option(help="By default the latest.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what a night could not use, with its reason."""
    from lae_tasks.stages import ingest
    from lae_tasks.status import read_rejections
    from lae_tasks.storage import open_storage

    found = read_rejections(open_storage(load_config(config, store=store).store), night)
    if as_json:
        out.print_json(json.dumps([rejection.model_dump(mode="json") for rejection in found]))
        return
    table = Table(
        "stage", Column("what", overflow="fold"), "reason", Column("detail", overflow="fold")
    )
    unfit = [rejection for rejection in found if rejection.reason not in ingest.READ_WITH_SCENES]
    for rejection in unfit:
        texts = (rejection.stage, rejection.rejected_id, rejection.reason, rejection.detail)
        table.add_row(*(escape(text) for text in texts))
    out.print(table if unfit else "Nothing but what the rules of route rejected; see `lae status`")
    if len(found) > len(unfit):
        out.print(f"{len(found) - len(unfit)} more: read with the scenes that they belong to")


@app.command()
def ledger(
    config: ConfigFile = None,
    store: StoreUri = None,
    night: Annotated[str | None, typer.Option(help="By default the latest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which names a night took for which categories, and why."""
    from lae_tasks.ledger import as_table, read_ledger
    from lae_tasks.storage import open_storage

    merges = read_ledger(open_storage(load_config(config, store=store).store), night)
    if as_json:
        out.print_json(json.dumps([merge.model_dump(mode="json") for merge in merges]))
    else:
        out.print(as_table(merges) if merges else "No name was said yet")


@app.command()
def rules(
    config: ConfigFile = None,
    store: StoreUri = None,
    night: NightName = None,
    as_json: AsJson = False,
) -> None:
    """Count what each rule of the settings would take of a night; nothing is written."""
    from lae_tasks.dry_run import as_table, dry_run
    from lae_tasks.local import open_night

    found = dry_run(open_night(load_config(config, store=store), night or _today()))
    if as_json:
        out.print_json(json.dumps([asdict(count) for count in found]))
    else:
        out.print(as_table(found))


@app.command()
def review(
    action: Annotated[str, typer.Argument(help="push or collect.")],
    config: ConfigFile = None,
    night: NightName = None,
) -> None:
    """Send a night's doubtful regions to Label Studio, or fetch the stewards' verdicts."""
    settings = load_config(config)
    if action == "push":
        _report_push(_push(settings, night or _today()))
    elif action == "collect":
        manifest = _collect(settings)
        verdicts = manifest.outputs[0].rows if manifest else 0
        actions = ", ".join(
            f"{n} {action}" for action, n in (manifest.counts if manifest else {}).items()
        )
        out.print(f"{verdicts} new verdicts" + (f": {actions}" if actions else ""))
        for reason, count in (manifest.rejected_by_reason if manifest else {}).items():
            out.print(f"{count} annotations refused: {reason}")
    else:
        raise typer.BadParameter("give push or collect", param_hint="ACTION")


@app.command()
def release(config: ConfigFile = None, store: StoreUri = None) -> None:
    """Validate the present state and publish it, if it differs from the latest release."""
    _publish(load_config(config, store=store))


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
    with _progress() as progress:
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


@app.command("config")
def show_config(
    config: ConfigFile = None,
    schema: Annotated[bool, typer.Option(help="Print all keys with their types.")] = False,
) -> None:
    """Print the settings as they are after preset and file, or their schema."""
    if schema:
        out.print_json(json.dumps(Config.model_json_schema()))
        return
    import yaml

    values = load_config(config).model_dump(mode="json")
    out.print(yaml.safe_dump(values, sort_keys=False), end="", markup=False, highlight=False)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=err) as progress:
        yield progress


def _label_studio() -> Any:
    from lae_tasks.errors import ConfigError
    from lae_tasks.review.label_studio import LabelStudioReview

    try:
        url, key = os.environ["LABEL_STUDIO_URL"], os.environ["LABEL_STUDIO_API_KEY"]
    except KeyError as error:
        raise ConfigError(
            f"environment variable {error} is not set; it names Label Studio"
        ) from error
    return LabelStudioReview(url, key)


def _push(config: Config, night: str) -> "Manifest":
    import boto3

    from lae_tasks.local import open_night
    from lae_tasks.review.label_studio import S3Access
    from lae_tasks.stages.review import push, require_s3
    from lae_tasks.state import load_state

    store = open_night(config, night).store
    require_s3(store)
    state = load_state(store, night)
    access = S3Access.from_session(
        boto3.Session(), endpoint_url=os.environ.get("LABEL_STUDIO_S3_ENDPOINT_URL")
    )
    return push(state, night, config, store, _label_studio(), access)


def _report_push(manifest: "Manifest") -> None:
    out.print(f"{manifest.outputs[0].rows} regions are with the stewards")


def _collect(config: Config) -> "Manifest | None":
    from lae_tasks.stages.review import collect
    from lae_tasks.state import load_reviews
    from lae_tasks.storage import open_storage

    store = open_storage(config.store)
    return collect(load_reviews(store), config, store, _label_studio(), _today())


def _publish(config: Config) -> None:
    from lae_tasks.stages.release import publish
    from lae_tasks.state import load_state
    from lae_tasks.storage import open_storage

    store = open_storage(config.store)
    result = publish(lambda: load_state(store), config, store)
    what = f"{result.version} ({result.manifest.reason}), digest {result.digest[:12]}"
    out.print(f"Published {what}" if result.new else f"Nothing new since {what}")


def _status(config: Config, night: str | None) -> "NightStatus":
    from lae_tasks.status import read_status
    from lae_tasks.storage import open_storage

    return read_status(open_storage(config.store), night)


def _print_status(found: "NightStatus") -> None:
    from lae_tasks.status import as_table

    out.print(as_table(found) if found.night else "No night yet; `lae run` runs one.")
