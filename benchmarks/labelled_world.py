"""The regions of a quarter's stored nights as arrays, with their truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.quarter import MIN_IOU, Quarter, best_match
from benchmarks.simulated_stewards import SAME_THING_IOU
from lae_tasks.contracts import Decision, Outcome, Region
from lae_tasks.routing.inputs import whole_nights
from lae_tasks.routing.labelled import Names, read_labelled
from lae_tasks.state import load_state
from lae_tasks.storage import Storage
from lae_tasks.trust.features import READS, features

Flags = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """All regions that have a name and are no duplicates, with their truth; arrays of (n,).

    Attributes:
        rows: Their features, (n, len(FEATURES)).
        accepted: Whether the rules accept them while there is no calibration.
        right: Whether category and box are right.
        is_thing: Whether there is a thing at all, which may be of another name.
    """

    regions: list[Region]
    decisions: list[Decision]
    rows: npt.NDArray[np.float64]
    categories: Names
    accepted: Flags
    right: Flags
    is_thing: Flags
    scenes: Index
    ids: pa.Array


def read_world(quarter: Quarter, store: Storage) -> World:
    """Reads the stored nights."""
    state = load_state(store)
    of_id: dict[str, npt.NDArray[np.float64]] = {}
    for _, inputs in whole_nights(store):
        labelled = read_labelled(store, inputs.shards, inputs.scenes, set(READS))
        of_id |= zip(labelled.region_id.to_pylist(), features(labelled), strict=True)
    taken = [
        decision
        for decision in state.decisions.values()
        if decision.category and decision.outcome is not Outcome.REJECT
    ]
    regions = [state.regions[decision.region_id] for decision in taken]
    matches = [
        best_match(region.bbox_xyxy_px, quarter.truth[state.scenes[region.scene_id].raw_key])
        for region in regions
    ]
    ids = [decision.region_id for decision in taken]
    return World(
        regions=regions,
        decisions=taken,
        rows=np.array([of_id[region_id] for region_id in ids]),
        categories=Names.of([decision.category for decision in taken]),
        accepted=np.array([decision.outcome is Outcome.ACCEPT for decision in taken]),
        right=np.array(
            [
                bool(thing and overlap >= MIN_IOU and thing.category == decision.category)
                for (overlap, thing), decision in zip(matches, taken, strict=True)
            ]
        ),
        is_thing=np.array([overlap >= SAME_THING_IOU for overlap, _ in matches]),
        scenes=np.unique([each.scene_id for each in regions], return_inverse=True)[1],
        ids=pa.array(ids),
    )
