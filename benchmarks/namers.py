"""What each way of naming makes of the same regions: a model here, one on a server, CLIP alone.

    python -m benchmarks.namers [--scenes N] [--folder DIR]

Draws scenes that nothing was trained on, runs a night over them with the demo's settings, and again
with each other namer: tiles and regions stay, names and decisions are made anew. Of each it prints
what the rules decided, and precision and recall of the release before review, by the truth.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from demo.masks import CONFIG
from demo.scenes import write_world
from demo.train.data import HELD_OUT_SEED
from lae_tasks.accounts import Manifest
from lae_tasks.config import Config, RemoteConfig
from lae_tasks.config_file import load_config
from lae_tasks.contracts import Decision, Label, Outcome
from lae_tasks.evaluate import evaluate
from lae_tasks.formats import coco
from lae_tasks.local import run_night
from lae_tasks.releases.pull import pull
from lae_tasks.runner import iter_manifests
from lae_tasks.stages.release import publish
from lae_tasks.state import load_state
from lae_tasks.storage import LocalStorage, Storage
from lae_tasks.tables import read_table
from tests.lvlm_server import demo_model, lvlm_server

NIGHT = "2026-01-01"
#: What the synthetic scenes have besides the ten categories, for CLIP alone to tell them apart.
BACKGROUND = ("building", "tree", "rock", "background")


@contextmanager
def namers(config: Config) -> Iterator[Mapping[str, Config]]:
    """The settings of each way, while the server that one of them needs is up."""

    def named(**values: Any) -> Config:
        return config.model_copy(update={"classify": config.classify.model_copy(update=values)})

    with lvlm_server(demo_model()) as server:
        remote = RemoteConfig(base_url=server.url, max_in_flight=4)
        yield {
            "local": config,
            "remote": named(namer="remote", model="demo", remote=remote),
            "clip alone": named(namer="clip", clip_background=BACKGROUND),
        }


def measure(config: Config, store: Storage, truth: Path, folder: Path) -> dict[str, float | None]:
    """Runs the night by some settings, and measures its release."""
    run_night(config, NIGHT, 1, lambda *_: None)
    publish(lambda: load_state(store), config, store)
    pull(store, "latest", folder)
    found = evaluate(folder / coco.PATH, truth)
    scores = found.segm or found.bbox
    outcomes = Counter(d.outcome for d in _records(store, "route", Decision))
    labels = _records(store, "classify", Label)
    seconds = sum(m.seconds for m in iter_manifests(store, "classify", NIGHT))
    return {
        "named": len(labels),
        "unrecognized": sum(label.category_said is None for label in labels),
        "accepted": outcomes[Outcome.ACCEPT],
        "to review": outcomes[Outcome.REVIEW],
        "precision": scores.overall.precision,
        "recall": scores.overall.recall,
        "AP50": scores.figures["AP50"],
        "ms of a crop": 1000 * seconds / max(1, len(labels)),
    }


def _records(store: Storage, stage: str, kind: type[Any]) -> list[Any]:
    manifests: Iterator[Manifest] = iter_manifests(store, stage, NIGHT)
    return [record for m in manifests for record in read_table(store, m.outputs[0], kind)]


def main() -> None:
    """Compares the namers."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--folder", type=Path, help="by default one that is gone afterwards")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        truth = write_world(folder / "world", args.scenes, 1024, HELD_OUT_SEED)
        places = {"raw": str(truth.parent), "store": str(folder / "store")}
        config = load_config(CONFIG, **places)
        store = LocalStorage(folder / "store")
        found = {}
        with namers(config) as by_name:
            for name, settings in by_name.items():
                found[name] = measure(settings, store, truth, folder / f"release {name}")
    figures = list(found["local"])
    table = Table(
        "namer", *(Column(figure, justify="right", overflow="fold") for figure in figures)
    )
    for name, values in found.items():
        table.add_row(name, *(_shown(values[figure]) for figure in figures))
    Console().print(table)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


if __name__ == "__main__":
    main()
