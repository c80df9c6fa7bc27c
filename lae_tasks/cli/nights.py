"""Commands that work on a night: run it, send it to the stewards, publish what came of it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lae_tasks.cli.common import (
    ConfigFile,
    NightName,
    RawUri,
    StoreUri,
    app,
    out,
    progress_bar,
    today,
)
from lae_tasks.cli.show import print_status, status_of
from lae_tasks.config import Config
from lae_tasks.config_file import load_config

if TYPE_CHECKING:
    from lae_tasks.accounts import Manifest
    from lae_tasks.stages.review import Pushed


@app.command()
def synth(
    dest: Annotated[Path, typer.Argument(help="Folder that is made.")],
    scenes: Annotated[int, typer.Option(min=1, help="How many.")] = 4,
    size: Annotated[int, typer.Option(min=512, max=4096, help="Side in pixels.")] = 1024,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write synthetic overhead scenes with exact truth (GeoTIFF and COCO)."""
    from demo.scenes import write_world

    with progress_bar() as progress:
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
    night = night or today()
    with progress_bar() as progress:
        task = progress.add_task(f"night {night}", total=None)

        def told(step: str, done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description=f"{night} {step}")

        run_night(settings, night, workers, told)
    if push and os.environ.get("LABEL_STUDIO_URL"):
        if settings.store.startswith("s3://"):
            out.print(_push(settings, night).as_text())
        else:
            out.print("Not sent to Label Studio: it fetches images from S3, not from a folder")
    found = status_of(settings, night)
    if release and (found.tiles or found.release):
        _publish(settings)
        found = status_of(settings, night)
    print_status(found)
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
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Though it is done: classify then asks about what a server had no reply to. "
            "`lae run` does the stages after it.",
        ),
    ] = False,
) -> None:
    """Run one stage over one shard, as an Airflow task does, and print its manifest."""
    from lae_tasks.local import open_night
    from lae_tasks.night import run_stage

    here = open_night(load_config(config), night or today())
    manifest = run_stage(here, name, shard, again)
    out.print_json(manifest.model_dump_json())


@app.command()
def review(
    action: Annotated[str, typer.Argument(help="push or collect.")],
    config: ConfigFile = None,
    night: NightName = None,
) -> None:
    """Ask stewards in Label Studio, as far as a night's looks go, or fetch their verdicts."""
    settings = load_config(config)
    if action == "push":
        out.print(_push(settings, night or today()).as_text())
    elif action == "collect":
        manifest = _collect(settings)
        verdicts = manifest.outputs[0].rows if manifest else 0
        actions = ", ".join(
            f"{n} {action}" for action, n in (manifest.counts if manifest else {}).items()
        )
        out.print(f"{verdicts} new verdicts" + (f": {actions}" if actions else ""))
        for reason, count in (manifest.rejected_by_reason if manifest else {}).items():
            out.print(f"{count} annotations refused: {reason}")
        if manifest:
            _follow_up(settings)
    else:
        raise typer.BadParameter("give push or collect", param_hint="ACTION")


@app.command()
def calibrate(config: ConfigFile = None, store: StoreUri = None) -> None:
    """Learn from the stewards' verdicts what is right, and decide all nights by it."""
    from lae_tasks.local import open_night
    from lae_tasks.routing.again import as_text, route_again
    from lae_tasks.stages.calibrate import calibrate as fit_anew

    here = open_night(load_config(config, store=store), today())
    out.print(fit_anew(here.store, here.config, here.night).as_text())
    if changed := route_again(here):
        out.print(f"{as_text(changed)}.")


@app.command()
def release(config: ConfigFile = None, store: StoreUri = None) -> None:
    """Validate the present state and publish it, if it differs from the latest release."""
    _publish(load_config(config, store=store))


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


def _push(config: Config, night: str) -> "Pushed":
    import boto3

    from lae_tasks.local import open_night
    from lae_tasks.review.image_storage import S3Access
    from lae_tasks.stages.review import push, require_s3

    store = open_night(config, night).store
    require_s3(store)
    access = S3Access.from_session(
        boto3.Session(), endpoint_url=os.environ.get("LABEL_STUDIO_S3_ENDPOINT_URL")
    )
    return push(store, night, config, _label_studio(), access)


def _collect(config: Config) -> "Manifest | None":
    from lae_tasks.stages.review import collect
    from lae_tasks.state import load_reviews
    from lae_tasks.storage import open_storage

    store = open_storage(config.store)
    return collect(load_reviews(store), config, store, _label_studio(), today())


def _follow_up(config: Config) -> None:
    from lae_tasks.stages.review import follow_up
    from lae_tasks.state import load_reviews
    from lae_tasks.storage import open_storage

    follow_up(load_reviews(open_storage(config.store)), config, _label_studio())


def _publish(config: Config) -> None:
    from lae_tasks.stages.release import publish
    from lae_tasks.state import load_state
    from lae_tasks.storage import open_storage

    store = open_storage(config.store)
    result = publish(lambda: load_state(store), config, store)
    what = f"{result.version} ({result.manifest.reason}), digest {result.digest[:12]}"
    out.print(f"Published {what}" if result.new else f"Nothing new since {what}")
