"""What the stages before route made of a night."""

from collections.abc import Iterator
from dataclasses import dataclass

from lae_tasks.accounts import Manifest, Output
from lae_tasks.contracts import Assignment
from lae_tasks.errors import ContractError
from lae_tasks.routing.labelled import ShardTables
from lae_tasks.runner import read_manifest
from lae_tasks.state import SHARD_STAGES, WHOLE, iter_nights
from lae_tasks.storage import Storage
from lae_tasks.tables import read_columns


@dataclass(frozen=True)
class RouteInputs:
    """The tables that a night's route works on.

    Attributes:
        scenes: The table of the night's scenes.
        shards: Those of each shard, in order.
        digests: Of all tables; route's manifest names them.
        model_revision: Of the models that found and named the regions.
    """

    scenes: Output
    shards: tuple[ShardTables, ...]
    digests: tuple[str, ...]
    model_revision: str


def route_inputs(store: Storage, night: str) -> RouteInputs:
    """What a night's route works on.

    Raises:
        ContractError: If a stage before it is not committed.
    """
    ingest = committed(store, "ingest", night, WHOLE)
    scenes, assignments = ingest.outputs[:2]
    # Not the whole plan: there may be very many scenes.
    planned = read_columns(store, assignments, Assignment, ["shard"]).column("shard")
    shards: list[ShardTables] = []
    digests: list[str] = []
    revisions: set[str] = set()
    for shard in sorted(planned.unique().to_pylist()):
        made = [committed(store, stage, night, shard) for stage in SHARD_STAGES]
        shards.append(ShardTables(*(manifest.tables[0] for manifest in made)))
        digests += [output.sha256 for manifest in made for output in manifest.tables]
        revisions.update(m.model_revision for m in made if m.model_revision)
    return RouteInputs(scenes, tuple(shards), tuple(digests), "+".join(sorted(revisions)))


def whole_nights(store: Storage) -> Iterator[tuple[Manifest, RouteInputs]]:
    """The nights with scenes that were routed and are whole: route's manifest, and its inputs.

    A night that runs again just now is not whole: what it decided before no longer counts.
    """
    for routed in iter_nights(store):
        if routed.manifests is None:
            continue
        (manifest,) = routed.manifests["route"]
        try:
            inputs = route_inputs(store, routed.night)
        except ContractError:
            continue  # it began to run again a moment ago
        if inputs.shards and inputs.digests == manifest.inputs:
            yield manifest, inputs


def committed(store: Storage, stage: str, night: str, shard: str) -> Manifest:
    """The manifest of a shard of a stage. Raises ContractError if there is none."""
    manifest = read_manifest(store, stage, night, shard)
    if manifest is None:
        where = f"{stage} {night}/{shard}"
        raise ContractError(f"{where} is not committed in {store.uri}; run it first")
    return manifest
