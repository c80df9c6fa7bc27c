"""Calibrate: what stewards decided teaches how likely a region is right.

A fitted calibration is filed under the day when it was fitted, and the nights after that day use
it. It holds for what the same models made; with other models the engine begins to learn anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lae_tasks.accounts import Manifest
from lae_tasks.config import Config
from lae_tasks.contracts import Calibration, Decision, Judgement, Verdict
from lae_tasks.errors import ContractError
from lae_tasks.review.verdicts import fold_verdicts
from lae_tasks.routing.inputs import RouteInputs, route_inputs
from lae_tasks.routing.labelled import read_labelled
from lae_tasks.runner import Columns, Work, iter_manifests, run_columns
from lae_tasks.schema import arrow_schema
from lae_tasks.state import State, digest_of, load_reviews
from lae_tasks.storage import Storage
from lae_tasks.tables import read_columns, read_table
from lae_tasks.trust.calibration import FOLDS, fit
from lae_tasks.trust.features import FEATURES, READS, features
from lae_tasks.trust.judgements import is_right
from lae_tasks.trust.risk_control import verdicts_needed

STAGE = "calibrate"
#: After every night.
_EVER = "9999-12-31"


@dataclass(frozen=True)
class Judged:
    """The regions that stewards have decided, of the nights that the newest models made.

    Attributes:
        region_ids: Ids, (n,).
        rows: Their features, (n, len(FEATURES)).
        right: Whether the engine was right, (n,).
        drawn: Whether they were drawn at random from what a threshold decides on, (n,).
        scenes: Numbers of their scenes, (n,).
    """

    model_revision: str
    region_ids: tuple[str, ...]
    rows: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    drawn: npt.NDArray[np.bool_]
    scenes: npt.NDArray[np.int64]

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


@dataclass(frozen=True)
class Calibrated:
    """What came of it.

    Attributes:
        manifest: None if nothing was fitted.
        calibration: The one that holds from now on; None if the paper's rule still does.
        why: Why nothing was fitted; empty if something was.
    """

    manifest: Manifest | None
    calibration: Calibration | None
    why: str = ""

    def as_text(self) -> str:
        """For people, in some sentences."""
        said = [f"Nothing fitted: {self.why}."] if self.why else []
        found = self.calibration
        if found is None:
            return " ".join([*said, "The rule `uncertain` goes by its `at`."])
        said.append(
            f"Calibration {found.calibration_id} of {found.night}, from {found.verdicts} verdicts "
            f"({found.right} of regions that were right); expected calibration error "
            f"{found.calibration_error:.3f}."
        )
        target = f"{found.target_precision:g} with confidence {found.confidence:g}"
        said.append(
            f"From {found.accept_at:.3f} on regions are accepted, which reaches {target}: "
            f"{found.above_right} of {found.above} that were drawn at random were right."
        )
        return " ".join(said)


def calibrate(store: Storage, config: Config, today: str) -> Calibrated:
    """Fits a calibration from all verdicts, if enough new ones are in.

    The manifest of `runs/calibrate/<today>/<digest>` holds a Judgement for each
    region that a steward has decided, and the Calibration.

    Args:
        store: Where nights and verdicts are, and the calibration goes.
        config: The settings.
        today: `yyyy-mm-dd`, under which it is filed.

    Raises:
        LaeError: If a table cannot be read.
    """
    state = load_reviews(store)
    verdicts = fold_verdicts(state.verdicts.values())
    judged = read_judged(store, config, state, verdicts)
    if judged is None:
        return Calibrated(None, None, "no night was routed yet")
    before = latest(store, _EVER, judged.model_revision)
    if problem := judged.problem(config):
        return Calibrated(None, before, problem)
    new = len(judged.right) - (before.verdicts if before else 0)
    if before and new < config.route.refit_after:
        why = f"{new} verdicts are new, it takes {config.route.refit_after}"
        return Calibrated(None, before, why)
    fitted = fit(
        judged.rows,
        judged.right,
        judged.drawn,
        judged.scenes,
        night=today,
        model_revision=judged.model_revision,
        target_precision=config.route.target_precision,
        confidence=config.route.target_confidence,
    )
    if fitted is None:
        target, confidence = config.route.target_precision, config.route.target_confidence
        why = f"no probability is shown to reach {target:g} with confidence {confidence:g}"
        return Calibrated(None, before, why)
    calibration, held_out = fitted
    digest = digest_of([calibration.calibration_id])
    work = Work(
        stage=STAGE,
        night=today,
        shard=digest[:16],
        record_types=(Judgement, Calibration),
        config_sha256=config.route.fingerprint(),
        inputs=(digest,),
        model_revision=judged.model_revision,
    )
    manifest = run_columns(store, work, lambda: _tables(judged, calibration, held_out))
    return Calibrated(manifest, calibration)


def latest(store: Storage, before: str, model_revision: str) -> Calibration | None:
    """The newest calibration that was fitted before a night, on what the same models made."""
    found = [
        calibration
        for manifest in iter_manifests(store, STAGE)
        if manifest.night < before and manifest.model_revision == model_revision
        for calibration in read_table(store, manifest.outputs[1], Calibration)
        if calibration.features == FEATURES
    ]
    return max(found, key=lambda c: (c.night, c.verdicts, c.calibration_id), default=None)


def read_judged(
    store: Storage, config: Config, state: State, verdicts: Mapping[str, Verdict]
) -> Judged | None:
    """What stewards have decided; None before the first night."""
    routed: list[tuple[Manifest, RouteInputs]] = []
    for manifest in iter_manifests(store, "route"):
        try:
            inputs = route_inputs(store, manifest.night)
        except ContractError:
            continue  # it runs again just now; what it had before no longer counts
        if inputs.shards and manifest.inputs == inputs.digests:
            routed.append((manifest, inputs))
    if not routed:
        return None
    revision = routed[-1][1].model_revision
    ids: list[str] = []
    parts: list[npt.NDArray[np.float64]] = [np.empty((0, len(FEATURES)))]
    right: list[bool] = []
    drawn: list[bool] = []
    scenes: list[str] = []
    known = pa.array(list(verdicts), type=pa.string())
    # With a calibration, what these rules take is accepted or not by its probability alone.
    by_probability = {"confident", "uncertain"}
    by_probability |= {rule.rule for rule in config.route.rules if rule.until_calibrated}
    for manifest, inputs in routed:
        if inputs.model_revision != revision:
            continue
        rows = read_labelled(store, inputs.shards, inputs.scenes, READS)
        wanted = ("region_id", "scene_id", "category", "rule", "drawn")
        table = read_columns(store, manifest.outputs[0], Decision, wanted)
        if not table.column("region_id").equals(rows.region_id):
            continue
        chosen = np.flatnonzero(pc.is_in(table.column("region_id"), known).to_numpy())
        # A name that came with its data set has no score to learn from.
        chosen = chosen[~rows.imported[chosen]]
        parts.append(features(rows)[chosen])
        for decision in table.take(chosen).to_pylist():
            verdict = verdicts[decision["region_id"]]
            ids.append(decision["region_id"])
            scenes.append(decision["scene_id"])
            drawn.append(decision["drawn"] and decision["rule"] in by_probability)
            spelled = config.vocabulary.spelled
            right.append(is_right(verdict, decision["category"], state.review_items, spelled))
    return Judged(
        model_revision=revision,
        region_ids=tuple(ids),
        rows=np.concatenate(parts),
        right=np.array(right, dtype=bool),
        drawn=np.array(drawn, dtype=bool),
        scenes=np.unique(scenes, return_inverse=True)[1].astype(np.int64),
    )


def _tables(judged: Judged, calibration: Calibration, held_out: npt.NDArray[np.float64]) -> Columns:
    ids = pa.chunked_array([pa.array(judged.region_ids, type=pa.string())])
    judgements = pa.table(
        {
            "region_id": ids,
            "right": judged.right,
            "drawn": judged.drawn,
            "probability": held_out.round(4),
        },
        schema=arrow_schema(Judgement),
    )
    fitted = pa.Table.from_pylist(
        [calibration.model_dump(mode="json")], schema=arrow_schema(Calibration)
    )
    counts = {"right": calibration.right, "drawn": calibration.drawn}
    return Columns(ids, (judgements, fitted), counts)
