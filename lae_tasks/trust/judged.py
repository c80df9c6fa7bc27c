"""The regions that stewards have decided, as far as calibrations can learn from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lae_tasks.config import Config
from lae_tasks.contracts import Decision, Verdict
from lae_tasks.errors import TransientError
from lae_tasks.routing.inputs import RouteInputs, whole_nights
from lae_tasks.routing.labelled import Names, read_labelled
from lae_tasks.state import State
from lae_tasks.storage import Storage
from lae_tasks.tables import read_columns
from lae_tasks.trust.calibration import FOLDS
from lae_tasks.trust.features import FEATURES, READS, features
from lae_tasks.trust.judgements import is_right
from lae_tasks.trust.mistakes import steward_error
from lae_tasks.trust.risk_control import verdicts_needed
from lae_tasks.trust.sample import asked_for, by_probability, is_random

#: What decisions on names that came with their data set say for a calibration: there is no score to
#: learn from.
_IMPORTED = "imported"


@dataclass(frozen=True)
class Judged:
    """The regions that stewards have decided, of the nights that the newest models made.

    Attributes:
        region_ids: Ids, (n,).
        rows: Reads their features, (n, len(FEATURES)).
        categories: What the engine calls them, (n,).
        right: Whether the engine was right, (n,).
        drawn: Whether they were drawn at random from what a threshold decides on, (n,).
        scenes: Numbers of their scenes, (n,).
        steward_error: The share of looks in which stewards are mistaken; None if too few second
            looks tell.
    """

    model_revision: str
    region_ids: tuple[str, ...]
    rows: Callable[[], npt.NDArray[np.float64]]
    categories: Names
    right: npt.NDArray[np.bool_]
    drawn: npt.NDArray[np.bool_]
    scenes: npt.NDArray[np.int64]
    steward_error: float | None

    def problem(self, config: Config) -> str | None:
        """Why nothing can be learned from them yet; None if something can."""
        needed = verdicts_needed(config.route.target_precision, config.route.target_confidence)
        count = int(self.drawn.sum())
        if count < needed:
            return f"{count} of {needed} verdicts on regions that were drawn at random are in"
        # Cross validation leaves scenes out: both must be among what is left, whichever they are.
        for said, which in ((self.right, "right"), (~self.right, "wrong")):
            if len(np.unique(self.scenes[said])) <= FOLDS:
                return f"regions that were {which} are on too few scenes, it takes {FOLDS + 1}"
        return None


def read_judged(
    store: Storage, config: Config, state: State, verdicts: Mapping[str, Verdict]
) -> Judged | None:
    """What stewards have decided; None before the first night.

    Of each night only some columns of its decisions are read; features, when they are asked for.
    """
    routed = list(whole_nights(store))
    if not routed:
        return None
    revision = routed[-1][1].model_revision
    nights: list[tuple[RouteInputs, pa.Array]] = []
    ids: list[str] = []
    categories: list[str | None] = []
    right: list[bool] = []
    drawn: list[bool] = []
    scenes: list[str] = []
    known = pa.array(list(verdicts), type=pa.string())
    spelled = config.vocabulary.spelled
    rules, purposes = by_probability(config.route), asked_for(state.review_items.values())
    wanted = ("region_id", "scene_id", "category", "rule", "drawn", "calibration")
    for manifest, inputs in routed:
        if inputs.model_revision != revision:
            continue
        table = read_columns(store, manifest.outputs[0], Decision, wanted)
        chosen = pc.is_in(table.column("region_id"), known)
        imported = pc.equal(table.column("calibration").cast(pa.string()), _IMPORTED)
        table = table.filter(pc.and_not(chosen, imported))
        if not len(table):
            continue
        nights.append((inputs, table.column("region_id").combine_chunks()))
        for decision in table.to_pylist():
            region_id, category = decision["region_id"], decision["category"]
            ids.append(region_id)
            scenes.append(decision["scene_id"])
            categories.append(None if category is None else spelled(category))
            at_random = is_random(decision["drawn"], purposes.get(region_id, ()))
            drawn.append(at_random and decision["rule"] in rules)
            right.append(is_right(verdicts[region_id], category, state.review_items, spelled))
    return Judged(
        model_revision=revision,
        region_ids=tuple(ids),
        rows=partial(_read_features, store, nights),
        categories=Names.of(categories),
        right=np.array(right, dtype=bool),
        drawn=np.array(drawn, dtype=bool),
        scenes=np.unique(scenes, return_inverse=True)[1].astype(np.int64),
        steward_error=steward_error(state.verdicts.values(), state.review_items.values()),
    )


def _read_features(
    store: Storage, nights: list[tuple[RouteInputs, pa.Array]]
) -> npt.NDArray[np.float64]:
    parts: list[npt.NDArray[np.float64]] = [np.empty((0, len(FEATURES)))]
    for inputs, region_ids in nights:
        rows = read_labelled(store, inputs.shards, inputs.scenes, READS)
        places = pc.index_in(region_ids, value_set=rows.region_id.combine_chunks())
        if places.null_count:
            raise TransientError(f"{store.uri}: a night ran again just now; calibrate again")
        parts.append(features(rows.taken(places)))
    return np.concatenate(parts)
