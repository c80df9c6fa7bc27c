"""Which regions, of all nights, the stewards are asked about next, and which tiles are checked.

First what was drawn at random, in an order that is random, too: the part of it that stewards have
come to is a random sample whenever one looks. Then what is in doubt, what is worth most first. What
the night's looks do not suffice for waits for a later push; nothing is accepted by waiting.

Whole nights of regions are columns here, never records.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lae_tasks.contracts import Decision, Outcome, Purpose, ReviewItem, Tile
from lae_tasks.state import RoutedNight
from lae_tasks.storage import Storage
from lae_tasks.tables import read_columns

#: Why a region without any name is not sent.
NO_CATEGORY = "no category"
_READS = ("region_id", "tile_id", "outcome", "category", "candidates", "drawn", "priority")


@dataclass(frozen=True)
class Candidates:
    """What stewards could be asked about.

    Attributes:
        table: The regions in doubt or drawn at random: `region_id`, `tile_id`, `night`, `drawn`,
            `priority`, and `named`: whether there is a name to send it with.
        names: Every category and candidate of the decisions.
    """

    table: pa.Table
    names: frozenset[str]


def read_candidates(store: Storage, nights: Iterable[RoutedNight]) -> Candidates:
    """The candidates of the nights that are whole."""
    names: set[str] = set()
    parts = [_EMPTY]
    for routed in nights:
        for manifest in (routed.manifests or {}).get("route", ()):
            table = read_columns(store, manifest.outputs[0], Decision, _READS)
            offered = pc.list_flatten(table["candidates"])
            for column in (table["category"], offered):
                names.update(name for name in pc.unique(column).to_pylist() if name)
            parts.append(_candidates(table, routed.night))
    return Candidates(pa.concat_tables(parts), frozenset(names))


_EMPTY = pa.schema(
    {
        "region_id": pa.string(),
        "tile_id": pa.string(),
        "night": pa.string(),
        "drawn": pa.bool_(),
        "priority": pa.float64(),
        "named": pa.bool_(),
    }
).empty_table()


def _candidates(decisions: pa.Table, night: str) -> pa.Table:
    in_doubt = pc.equal(decisions["outcome"], Outcome.REVIEW.value)
    audited = pc.and_(decisions["drawn"], pc.equal(decisions["outcome"], Outcome.ACCEPT.value))
    found = decisions.filter(pc.or_(in_doubt, audited))
    called = pc.fill_null(pc.not_equal(found["category"], ""), False)
    offered = pc.greater(pc.list_value_length(found["candidates"]), 0)
    columns = {name: found[name] for name in ("region_id", "tile_id", "drawn", "priority")}
    columns |= {
        "night": pa.array([night], pa.string()).take(pa.array(np.zeros(len(found), dtype=int))),
        "named": pc.or_(called, offered),
    }
    return pa.table(columns).select(_EMPTY.schema.names).cast(_EMPTY.schema)


@dataclass(frozen=True)
class Chosen:
    """What a push shall ask about.

    Attributes:
        table: Of the candidates, those that are asked about now, in their order.
        nameless: Those that cannot be sent, and that nobody was told of yet.
        waiting: How many are over the budget.
    """

    table: pa.Table
    nameless: pa.Table
    waiting: int


def choose(
    candidates: pa.Table,
    done: Iterable[str],
    unshown: Mapping[str, str],
    looks: Callable[[str], int],
    budget: int | None,
) -> Chosen:
    """Chooses what a push asks about.

    Args:
        candidates: As in `Candidates.table`.
        done: Ids of the regions that were sent, or decided without.
        unshown: Why regions could not be sent before, by id.
        looks: Of a tile, how many stewards shall look at what is drawn on it.
        budget: Looks that are left for this night; None for any number.
    """
    rest = candidates.filter(pc.invert(_among(candidates, done)))
    before = [region_id for region_id, reason in unshown.items() if reason != NO_CATEGORY]
    rest = rest.filter(pc.invert(_among(rest, before)))
    nameless = rest.filter(pc.invert(rest["named"]))
    rest = rest.filter(rest["named"])
    drawn, doubtful = rest.filter(rest["drawn"]), rest.filter(pc.invert(rest["drawn"]))
    ranks = pa.array([rank(region_id) for region_id in drawn["region_id"].to_pylist()], pa.string())
    by_worth = [("priority", "descending"), ("region_id", "ascending")]
    ordered = pa.concat_tables(
        [drawn.take(pc.sort_indices(ranks)), doubtful.take(pc.sort_indices(doubtful, by_worth))]
    )
    costs = np.ones(len(ordered), dtype=np.int64)
    costs[: len(drawn)] = [looks(tile_id) for tile_id in drawn["tile_id"].to_pylist()]
    within = len(ordered)
    if budget is not None:
        within = int(np.searchsorted(np.cumsum(costs), max(0, budget), side="right"))
    return Chosen(
        ordered.slice(0, within),
        nameless.filter(pc.invert(_among(nameless, unshown))),
        len(ordered) - within,
    )


def _among(table: pa.Table, ids: Iterable[str]) -> pa.ChunkedArray:
    return pc.is_in(table["region_id"], pa.array(list(ids), pa.string()))


def rank(*parts: str) -> str:
    """A place in an order that is random, and the same each time."""
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def looks_at(tile_id: str, night: str, share: float) -> int:
    """How many stewards look at what is drawn on a tile, in the push of a night: one, or two.

    It is known before the task is: which boxes the task has depends on what looks are left.
    """
    return 2 if int(rank(tile_id, night)[:8], 16) < share * 16**8 else 1


def looks_spent(filed: Iterable[ReviewItem]) -> int:
    """The looks that a night's push has asked for; those at tiles that are checked are no part."""
    return sum(item.looks for item in filed if item.purpose is not Purpose.CHECK)


def tiles_to_check(
    store: Storage, routed: RoutedNight, share: float, checked: Iterable[str]
) -> list[str]:
    """Ids of the night's tiles that are looked over for what is missing, and were not yet.

    Args:
        store: The store.
        routed: The night; whole.
        share: Of its tiles, at least one; 0 for none.
        checked: The tiles that were sent for it before.
    """
    tile_ids = [
        tile_id
        for manifest in (routed.manifests or {}).get("tile", ())
        for tile_id in read_columns(store, manifest.outputs[0], Tile, ["tile_id"])[0].to_pylist()
    ]
    count = math.ceil(round(share * len(tile_ids), 9))
    before = set(checked)
    left = sorted((tile_id for tile_id in tile_ids if tile_id not in before), key=rank)
    return left[: max(0, count - len(before.intersection(tile_ids)))]
