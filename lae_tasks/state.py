"""The present state of a store: a fold over its immutable tables, never an update in place."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lae_tasks.accounts import Manifest, Rejection
from lae_tasks.contracts import (
    Assignment,
    Decision,
    Label,
    Region,
    ReviewItem,
    Scene,
    Tile,
    TileCheck,
    Verdict,
)
from lae_tasks.errors import ContractError
from lae_tasks.runner import iter_manifests, read_manifest
from lae_tasks.storage import Storage
from lae_tasks.tables import R, read_table

logger = logging.getLogger(__name__)

#: The shard of a stage that works on a night as a whole.
WHOLE = "all"
#: Stages that work on one shard, in their order. Before them comes ingest, after them route.
SHARD_STAGES = ("tile", "segment", "classify")


@dataclass(frozen=True)
class State:
    """Everything that the nights and the stewards have produced so far, by id.

    Attributes:
        refused: Annotations that could not be read as verdicts, by the id of their Rejection.
        unshown: Why regions could not be shown to a steward, by their id.
        nights: The nights that are here; those without a scene are not.
        night_of: The night of each scene, by its id.
        model_revisions: The models that worked on them, by stage.
        unfinished: Nights that were routed once and ran again since, but not to their end. Nothing
            of them is here.
    """

    scenes: dict[str, Scene] = field(default_factory=dict)
    tiles: dict[str, Tile] = field(default_factory=dict)
    regions: dict[str, Region] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    decisions: dict[str, Decision] = field(default_factory=dict)
    review_items: dict[str, ReviewItem] = field(default_factory=dict)
    tile_checks: dict[str, TileCheck] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    unshown: dict[str, str] = field(default_factory=dict)
    nights: list[str] = field(default_factory=list)
    night_of: dict[str, str] = field(default_factory=dict)
    model_revisions: dict[str, set[str]] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)


def read_plan(store: Storage, night: str) -> dict[str, list[Scene]]:
    """The night's shards with their scenes, in order; empty before its ingest."""
    plan: dict[str, list[Scene]] = {}
    for ingest in iter_manifests(store, "ingest", night):
        scenes, assignments = ingest.outputs[:2]
        shard_of = {a.scene_id: a.shard for a in read_table(store, assignments, Assignment)}
        for scene in read_table(store, scenes, Scene):
            plan.setdefault(shard_of[scene.scene_id], []).append(scene)
    return plan


@dataclass(frozen=True)
class RoutedNight:
    """A night that was routed once, and took scenes in.

    Attributes:
        manifests: By stage, what each committed; None if the night ran again and is not whole: some
            stage did not work on what the stage before it says now.
    """

    night: str
    scenes: Sequence[Scene]
    manifests: Mapping[str, Sequence[Manifest]] | None


def iter_nights(store: Storage, night: str | None = None) -> Iterator[RoutedNight]:
    """The routed nights in their order, without those in which nothing new came in.

    Args:
        store: The store.
        night: Only this one; by default all.

    Raises:
        ContractError: If `night` was not routed yet.
    """
    routes = list(iter_manifests(store, "route", night))
    if night and not routes:
        raise ContractError(f"night {night} is not routed in {store.uri}; run it first")
    for route in routes:
        plan = read_plan(store, route.night)
        if plan or route.inputs:
            scenes = [scene for shard in plan.values() for scene in shard]
            yield RoutedNight(route.night, scenes, _whole_night(store, plan, route))


def digest_of(ids: Iterable[str]) -> str:
    """One digest of many ids in their order: what a manifest names as an input."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()


def load_state(store: Storage, night: str | None = None, reviews: State | None = None) -> State:
    """Reads what is committed in a store.

    Nights that were never routed are left out whole: their tiles would look like tiles on which
    there is nothing. So are those that ran again and are not whole, which `State.unfinished` names.

    Args:
        store: The store.
        night: Only this night's scenes, tiles, regions, labels and decisions; by default all.
            Review items and verdicts are always whole.
        reviews: `load_reviews(store)`, where it was read before; by default it is read.

    Raises:
        ContractError: If `night` was not routed yet.
        TransientError: If a table is replaced while it is read.
    """
    known = reviews or load_reviews(store)
    state = State(
        review_items=known.review_items,
        tile_checks=known.tile_checks,
        verdicts=known.verdicts,
        refused=known.refused,
        unshown=known.unshown,
    )
    for routed in iter_nights(store, night):
        manifests = routed.manifests
        if manifests is None:
            state.unfinished.append(routed.night)
            continue
        state.nights.append(routed.night)
        _add(state.scenes, routed.scenes)
        state.night_of.update((scene.scene_id, routed.night) for scene in routed.scenes)
        for stage, each in manifests.items():
            revisions = {manifest.model_revision for manifest in each if manifest.model_revision}
            if revisions:
                state.model_revisions.setdefault(stage, set()).update(revisions)
        _add_tables(store, manifests["tile"], Tile, state.tiles)
        _add_tables(store, manifests["segment"], Region, state.regions)
        _add_tables(store, manifests["classify"], Label, state.labels)
        _add_tables(store, manifests["route"], Decision, state.decisions)
    return state


def load_reviews(store: Storage) -> State:
    """Reads only what was sent to the stewards and what came back."""
    state = State()
    for manifest in iter_manifests(store, "review"):
        items, checks, *unshown = manifest.outputs
        _add(state.review_items, read_table(store, items, ReviewItem))
        _add(state.tile_checks, read_table(store, checks, TileCheck))
        for output in unshown:
            rejections = read_table(store, output, Rejection)
            state.unshown.update((each.rejected_id, each.reason) for each in rejections)
    collected = list(iter_manifests(store, "collect"))
    _add_tables(store, collected, Verdict, state.verdicts)
    for manifest in collected:
        for output in manifest.outputs[1:]:
            state.refused.update(r.rejected_id for r in read_table(store, output, Rejection))
    return state


def _whole_night(
    store: Storage, plan: dict[str, list[Scene]], route: Manifest
) -> dict[str, Sequence[Manifest]] | None:
    """The manifests of a night by stage, if each stage worked on what the one before says now.

    Args:
        store: The store.
        plan: Of `read_plan`.
        route: The manifest of the night's route.
    """
    night = route.night
    found: dict[str, list[Manifest]] = {stage: [] for stage in SHARD_STAGES}
    for_route: list[str] = []
    for shard, scenes in sorted(plan.items()):
        came_in: tuple[str, ...] = (digest_of(scene.scene_id for scene in scenes),)
        made: tuple[str, ...] = ()
        for stage in SHARD_STAGES:
            manifest = read_manifest(store, stage, night, shard)
            if manifest is None or manifest.inputs != came_in:
                logger.info("night %s: %s of shard %s is not up to date", night, stage, shard)
                return None
            found[stage].append(manifest)
            # Each stage works on what all the stages before it have made.
            made = came_in = (*made, *(output.sha256 for output in manifest.tables))
        for_route += made
    if route.inputs != tuple(for_route):
        logger.info("night %s: route is not up to date", night)
        return None
    return {**found, "route": [route]}


def _add_tables(
    store: Storage, manifests: Iterable[Manifest], kind: type[R], target: dict[str, R]
) -> None:
    for manifest in manifests:
        _add(target, read_table(store, manifest.outputs[0], kind))


def _add(target: dict[str, R], records: Iterable[R]) -> None:
    for record in records:
        target[record.record_id] = record
