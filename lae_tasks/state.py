"""The present state of a store: a fold over its immutable tables, never an update in place."""

import logging
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from lae_tasks.contracts import (
    Assignment,
    Decision,
    Label,
    Region,
    ReviewItem,
    Scene,
    Tile,
    Verdict,
)
from lae_tasks.runner import iter_manifests
from lae_tasks.storage import Storage
from lae_tasks.tables import R, read_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """Everything that the nights have produced so far, by id.

    A region that several nights decided has the decision of the latest night.
    """

    scenes: dict[str, Scene] = field(default_factory=dict)
    tiles: dict[str, Tile] = field(default_factory=dict)
    regions: dict[str, Region] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    review_items: dict[str, ReviewItem] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)


def read_plan(store: Storage, night: str) -> dict[str, list[Scene]]:
    """The night's shards with their scenes, in order; empty before its ingest."""
    plan: dict[str, list[Scene]] = {}
    for ingest in iter_manifests(store, "ingest", night):
        scenes, assignments = (output.key for output in ingest.outputs[:2])
        shard_of = {a.scene_id: a.shard for a in read_table(store, assignments, Assignment)}
        for scene in read_table(store, scenes, Scene):
            plan.setdefault(shard_of[scene.scene_id], []).append(scene)
    return plan


def load_state(store: Storage, night: str | None = None) -> State:
    """Reads what is committed in a store.

    Nights that are not routed yet are left out whole: their tiles would look like tiles on which
    there is nothing.

    Args:
        store: The store.
        night: Only this night's scenes, tiles, regions, labels and decisions; by default all.
            Review items and verdicts are always read whole.
    """
    state = State()
    nights = [route.night for route in iter_manifests(store, "route", night)]
    for each in nights:
        plan = read_plan(store, each)
        for scenes in plan.values():
            _add(state.scenes, scenes)
        _add_stage(store, "tile", each, plan, Tile, state.tiles)
        _add_stage(store, "segment", each, plan, Region, state.regions)
        _add_stage(store, "classify", each, plan, Label, state.labels)
        _add_stage(store, "route", each, {"all"}, Decision, state.decisions)
    _add_stage(store, "review", None, None, ReviewItem, state.review_items)
    _add_stage(store, "collect", None, None, Verdict, state.verdicts)
    return state


def _add_stage(
    store: Storage,
    stage: str,
    night: str | None,
    shards: Container[str] | None,
    kind: type[R],
    target: dict[str, R],
) -> None:
    """Adds a stage's main tables; shards of an outdated plan are left out."""
    for manifest in iter_manifests(store, stage, night):
        if shards is None or manifest.shard in shards:
            _add(target, read_table(store, manifest.outputs[0].key, kind))


def _add(target: dict[str, R], records: Iterable[R]) -> None:
    for record in records:
        target[record.record_id] = record
