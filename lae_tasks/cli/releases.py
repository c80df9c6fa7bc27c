"""Commands on the releases of a store: which there are, and what is said of them since."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from lae_tasks.cli.common import AsJson, ConfigFile, StoreUri, app, open_store, out

if TYPE_CHECKING:
    from lae_tasks.releases.manifest import ReleaseManifest

Version = Annotated[str, typer.Argument(help="Such as v1.4.0.")]


@app.command()
def releases(config: ConfigFile = None, store: StoreUri = None, as_json: AsJson = False) -> None:
    """List the published versions, with what each states of its precision."""
    from lae_tasks.releases.manifest import latest_version, list_releases
    from lae_tasks.releases.marks import read_yanked

    storage = open_store(config, store)
    found = list_releases(storage)
    latest = latest_version(storage)
    yanked = {each.version: read_yanked(storage, each.version) for each in found}
    if as_json:
        keys = {"version", "digest", "parent", "created_at", "reason", "counts", "whole"}
        out.print_json(
            json.dumps(
                [
                    manifest.model_dump(mode="json", include=keys)
                    | {
                        "latest": manifest.version == latest,
                        "yanked": told.reason if (told := yanked[manifest.version]) else None,
                    }
                    for manifest in found
                ]
            )
        )
        return
    table = Table(
        *(Column(name, no_wrap=True) for name in ("version", "", "made (UTC)")),
        *(Column(name, justify="right", no_wrap=True) for name in ("scenes", "objects")),
        Column("why this version, and its precision", overflow="fold"),
    )
    for manifest in found:
        made = manifest.created_at[:10]
        counts = [f"{manifest.counts[key]:,}" for key in ("scenes", "objects")]
        told = yanked[manifest.version]
        mark = "yanked" if told else "latest" if manifest.version == latest else ""
        why = escape(manifest.reason)
        if told:
            why += f"\n[yellow]yanked {told.at[:10]}: {escape(told.reason)}[/]"
        why += f"\n[dim]{_precision(manifest)}[/]"
        table.add_row(manifest.version, mark, made, *counts, why)
    out.print(table if found else "No release yet; `lae run` makes the first.")


def _precision(manifest: "ReleaseManifest") -> str:
    """Of all objects, with the ends of its interval; where it is not known, of the unseen ones."""
    if whole := manifest.whole:
        return f"precision {whole.precision:.3f} ({whole.low:.3f}–{whole.high:.3f})"
    for entry in manifest.precision:
        if entry.category is None:
            told = f"{entry.precision:.3f} ({entry.low:.3f}–{entry.high:.3f})"
            return f"precision of what nobody has looked at {told}"
    return "precision not measured yet"


@app.command()
def yank(
    version: Version,
    reason: Annotated[str, typer.Option(help="Why nobody should use it, for its users.")],
    config: ConfigFile = None,
    store: StoreUri = None,
) -> None:
    """Mark a version that should not be used; it stays, and who pulls it is told the reason."""
    from lae_tasks.releases.manifest import latest_version
    from lae_tasks.releases.marks import yank as mark

    storage = open_store(config, store, to_write=True)
    told = mark(storage, version, reason)
    out.print(f"{told.version} is yanked; latest is {latest_version(storage)}")


@app.command()
def rollback(version: Version, config: ConfigFile = None, store: StoreUri = None) -> None:
    """Let `latest` mean an older version, until a new one is published."""
    from lae_tasks.releases.manifest import latest_version
    from lae_tasks.releases.marks import roll_back

    storage = open_store(config, store, to_write=True)
    before = roll_back(storage, version)
    out.print(f"latest is {latest_version(storage)}; it was {before}")
