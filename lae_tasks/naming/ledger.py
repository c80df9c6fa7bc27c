"""The ledger of a night: which names became which categories, why, and by whom."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Column, Table

from lae_tasks.contracts import Merge
from lae_tasks.runner import read_manifest
from lae_tasks.state import WHOLE
from lae_tasks.status import night_or_latest
from lae_tasks.storage import Storage
from lae_tasks.tables import read_table


def read_ledger(store: Storage, night: str | None = None) -> list[Merge]:
    """Every name that was said in a night; by default in the latest. Empty before its route.

    Raises:
        ContractError: If the store has no such night.
    """
    night = night_or_latest(store, night)
    manifest = read_manifest(store, "route", night, WHOLE) if night else None
    return read_table(store, manifest.outputs[1], Merge) if manifest else []


def as_table(ledger: Sequence[Merge]) -> Table:
    """The names that became another, category by category, those of the most regions first."""
    table = Table(
        Column("said", overflow="fold"),
        Column("regions", justify="right"),
        Column("counts as", overflow="fold"),
        "why",
        Column("similarity", justify="right"),
        Column("by", overflow="fold"),
    )
    sizes: dict[str, int] = {}
    for merge in ledger:
        sizes[merge.canonical] = sizes.get(merge.canonical, 0) + merge.count
    ranked = sorted(ledger, key=lambda m: (-sizes[m.canonical], m.canonical, -m.count, m.name))
    for merge in ranked:
        if merge.rule != "same":
            similarity = "" if merge.similarity is None else f"{merge.similarity:.3f}"
            texts = (escape(merge.name), f"{merge.count:,}", escape(merge.canonical))
            table.add_row(*texts, merge.rule, similarity, escape(merge.by))
    return table
