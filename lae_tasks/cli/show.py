"""Commands that only look: what came of a night, and by which settings."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from lae_tasks.cli.common import AsJson, ConfigFile, LatestNight, StoreUri, app, out
from lae_tasks.config import Config
from lae_tasks.config_file import load_config

if TYPE_CHECKING:
    from lae_tasks.status import NightStatus


@app.command()
def status(
    config: ConfigFile = None,
    store: StoreUri = None,
    night: LatestNight = None,
    as_json: AsJson = False,
) -> None:
    """Show what came of a night, and the latest release."""
    found = status_of(load_config(config, store=store), night)
    if as_json:
        out.print_json(found.model_dump_json())
    else:
        print_status(found)


@app.command()
def rejects(
    config: ConfigFile = None,
    store: StoreUri = None,
    night: LatestNight = None,
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
    night: LatestNight = None,
    as_json: AsJson = False,
) -> None:
    """Show which names a night took for which categories, and why."""
    from lae_tasks.naming.ledger import as_table, read_ledger
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
    night: LatestNight = None,
    as_json: AsJson = False,
) -> None:
    """Count what each rule of the settings would take of a night; nothing is written."""
    from lae_tasks.local import open_night
    from lae_tasks.routing.dry_run import as_table, dry_run
    from lae_tasks.status import night_or_latest
    from lae_tasks.storage import open_storage

    settings = load_config(config, store=store)
    latest = night_or_latest(open_storage(settings.store), night)
    if latest is None:
        out.print("No night yet; `lae run` runs one.")
        return
    found = dry_run(open_night(settings, latest))
    if as_json:
        out.print_json(json.dumps([asdict(count) for count in found]))
    else:
        out.print(as_table(found))


@app.command()
def agreement(config: ConfigFile = None, store: StoreUri = None) -> None:
    """How far stewards agree who looked at the same regions."""
    from lae_tasks.review.verdicts import respelled
    from lae_tasks.state import load_reviews
    from lae_tasks.storage import open_storage
    from lae_tasks.trust.agreement import agreement as measured
    from lae_tasks.trust.agreement import conflicts

    settings = load_config(config, store=store)
    reviews = load_reviews(open_storage(settings.store))
    verdicts = respelled(reviews.verdicts.values(), settings.vocabulary.spelled)
    found = measured(verdicts, reviews.review_items.values())
    if found is None:
        out.print("Nothing that was planned for two stewards has both yet.")
    else:
        alpha = "not known" if found.alpha is None else f"{found.alpha:.3f}"
        out.print(
            f"{found.regions} regions that were planned for two stewards have both, who differ on "
            f"{found.differ}; Krippendorff's alpha {alpha}"
        )
        for (one, other), kappa in found.kappa.items():
            out.print(f"{one} and {other}: Cohen's kappa {kappa:.3f}")
    waiting = len(conflicts(verdicts))
    out.print(f"Of all regions, {waiting} are in dispute still: no opinion has most stewards.")


@app.command()
def vocabulary(config: ConfigFile = None, store: StoreUri = None, as_json: AsJson = False) -> None:
    """List the names that stewards use and the vocabulary lacks, and how to adopt each."""
    from lae_tasks.review.proposals import as_table, proposals
    from lae_tasks.state import load_reviews
    from lae_tasks.storage import open_storage

    settings = load_config(config, store=store)
    verdicts = load_reviews(open_storage(settings.store)).verdicts.values()
    found = proposals(verdicts, settings.vocabulary)
    if as_json:
        out.print_json(json.dumps([asdict(proposal) for proposal in found]))
    elif not settings.vocabulary.categories:
        out.print("The config has no vocabulary: names are open, and none has to be adopted.")
    elif found:
        out.print(as_table(found))
    else:
        out.print("Stewards used no name that the vocabulary lacks.")


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


def status_of(config: Config, night: str | None) -> "NightStatus":
    """What came of a night; by default of the latest."""
    from lae_tasks.status import read_status
    from lae_tasks.storage import open_storage

    return read_status(open_storage(config.store), night)


def print_status(found: "NightStatus") -> None:
    """Shows it as a table."""
    from lae_tasks.status import as_table

    out.print(as_table(found) if found.night else "No night yet; `lae run` runs one.")
