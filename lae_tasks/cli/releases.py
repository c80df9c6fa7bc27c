"""Commands on the releases of a store: which there are."""

import json

from rich.table import Column, Table

from lae_tasks.cli.common import AsJson, ConfigFile, StoreUri, app, out
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
