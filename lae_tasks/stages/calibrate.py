"""Calibrate: what stewards decided teaches how likely a region is right.

A fitted calibration is filed under the day when it was fitted. It decides all nights that the same
models made, those before it too; with other models, or for another target, the engine learns anew.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lae_tasks.accounts import Manifest
from lae_tasks.config import Config, RouteConfig
from lae_tasks.contracts import Decision, Verdict
from lae_tasks.review.verdicts import fold_verdicts, respelled
from lae_tasks.routing.inputs import whole_nights
from lae_tasks.routing.labelled import Names, read_labelled
from lae_tasks.runner import Columns, Work, iter_manifests, run_columns
from lae_tasks.schema import arrow_schema
from lae_tasks.state import State, digest_of, load_reviews
from lae_tasks.storage import Storage
from lae_tasks.tables import read_columns, read_table
from lae_tasks.trust.calibration import FOLDS, fit, probabilities
from lae_tasks.trust.features import FEATURES, READS, categories_of, features
from lae_tasks.trust.judgements import is_right
from lae_tasks.trust.mistakes import steward_error
from lae_tasks.trust.records import Calibration, Judgement
from lae_tasks.trust.risk_control import contradicts, verdicts_needed
from lae_tasks.trust.sample import CALIBRATE as STAGE
from lae_tasks.trust.sample import asked_for, by_probability, is_random, read_calibrations

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """The regions that stewards have decided, of the nights that the newest models made.

    Attributes:
        region_ids: Ids, (n,).
        rows: Their features, (n, len(FEATURES)).
        categories: What the engine calls them, (n,).
        right: Whether the engine was right, (n,).
        drawn: Whether they were drawn at random from what a threshold decides on, (n,).
        scenes: Numbers of their scenes, (n,).
        steward_error: The share of looks in which stewards are mistaken; None if too few second
            looks tell.
    """

    model_revision: str
    region_ids: tuple[str, ...]
    rows: npt.NDArray[np.float64]
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
            return " ".join([*said, "What is accepted is up to the rules."])
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
    if not by_probability(config.route):
        why = "no rule goes by what could be learned; add `uncertain` to route.rules"
        return Calibrated(None, None, why)
    state = load_reviews(store)
    said = respelled(state.verdicts.values(), config.vocabulary.spelled)
    state = replace(state, verdicts={verdict.verdict_id: verdict for verdict in said})
    judged = read_judged(store, config, state, fold_verdicts(said))
    if judged is None:
        return Calibrated(None, None, "no night was routed yet")
    before = latest(store, judged.model_revision, config.route)
    if problem := judged.problem(config):
        return Calibrated(None, before, problem)
    new = len(judged.right) - (before.verdicts if before else 0)
    if before and new < config.route.refit_after:
        why = f"{new} verdicts are new, it takes {config.route.refit_after}"
        return Calibrated(None, before, why)
    fitted = fit(
        judged.rows,
        judged.categories,
        judged.right,
        judged.drawn,
        judged.scenes,
        night=today,
        model_revision=judged.model_revision,
        target_precision=config.route.target_precision,
        confidence=config.route.target_confidence,
        steward_error=judged.steward_error,
    )
    if fitted is None:
        target, confidence = config.route.target_precision, config.route.target_confidence
        why = f"no probability is shown to reach {target:g} with confidence {confidence:g}"
        if before:
            why = (
                f"with {len(judged.right)} verdicts {why} any more. The calibration of "
                f"{before.verdicts} verdicts stays in force, though what it accepts may be below "
                "the target; see what the audit says of the next release"
            )
            logger.warning("%s", why)
        return Calibrated(None, before, why)
    if before and stays_in_force(store, config, judged, before, *fitted):
        why = "a new one would accept less, and nothing that came in since contradicts the old one"
        return Calibrated(None, before, why)
    return Calibrated(file_fitted(store, config, judged, *fitted), fitted[0])


def stays_in_force(
    store: Storage,
    config: Config,
    judged: Judged,
    before: Calibration,
    fitted: Calibration,
    held_out: npt.NDArray[np.float64],
) -> bool:
    """Whether the calibration in force stays, though another one was fitted.

    By bad luck a threshold comes out high now and then, and what is accepted would come and go from
    release to release. So the other one takes over if it accepts more; or if the verdicts on what
    was drawn, and accepted by the one in force, which these did not teach, tell against that.
    """
    said = probabilities(before, judged.rows, judged.categories, config.vocabulary.spelled)
    accepted = (said.round(4) >= before.accept_at) & judged.drawn
    if np.sum(held_out[judged.drawn] >= fitted.accept_at) >= accepted.sum():
        return False
    _, learned = read_calibrations(store, {before.calibration_id})
    known = learned[before.calibration_id].probability
    fresh = accepted & np.array([region_id not in known for region_id in judged.region_ids])
    errors = int(np.sum(fresh & ~judged.right))
    target, confidence = before.target_precision, before.confidence
    return not contradicts(errors, int(fresh.sum()), target, confidence, judged.steward_error)


def latest(store: Storage, model_revision: str, config: RouteConfig) -> Calibration | None:
    """The newest calibration of what the same models made, fitted for the same target."""
    found = [
        calibration
        for manifest in iter_manifests(store, STAGE)
        if manifest.model_revision == model_revision
        for calibration in read_table(store, manifest.outputs[1], Calibration)
        if categories_of(calibration.features) is not None
        and calibration.target_precision == config.target_precision
        and calibration.confidence == config.target_confidence
    ]
    return max(found, key=lambda c: (c.night, c.verdicts, c.calibration_id), default=None)


def read_judged(
    store: Storage, config: Config, state: State, verdicts: Mapping[str, Verdict]
) -> Judged | None:
    """What stewards have decided; None before the first night."""
    routed = list(whole_nights(store))
    if not routed:
        return None
    revision = routed[-1][1].model_revision
    ids: list[str] = []
    parts: list[npt.NDArray[np.float64]] = [np.empty((0, len(FEATURES)))]
    categories: list[str | None] = []
    right: list[bool] = []
    drawn: list[bool] = []
    scenes: list[str] = []
    known = pa.array(list(verdicts), type=pa.string())
    spelled = config.vocabulary.spelled
    rules, purposes = by_probability(config.route), asked_for(state.review_items.values())
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
        rows=np.concatenate(parts),
        categories=Names.of(categories),
        right=np.array(right, dtype=bool),
        drawn=np.array(drawn, dtype=bool),
        scenes=np.unique(scenes, return_inverse=True)[1].astype(np.int64),
        steward_error=steward_error(state.verdicts.values(), state.review_items.values()),
    )


def file_fitted(
    store: Storage,
    config: Config,
    judged: Judged,
    calibration: Calibration,
    held_out: npt.NDArray[np.float64],
) -> Manifest:
    """Writes what was fitted, and what it was fitted on.

    Args:
        store: Where to.
        config: The settings.
        judged: The regions that it was fitted on.
        calibration: What came of it.
        held_out: P(right) of each region, where it was not learned from, (n,).
    """
    digest = digest_of([calibration.calibration_id])
    work = Work(
        stage=STAGE,
        night=calibration.night,
        shard=digest[:16],
        record_types=(Judgement, Calibration),
        config_sha256=config.route.fingerprint(),
        inputs=(digest,),
        model_revision=judged.model_revision,
    )
    return run_columns(store, work, lambda: _tables(judged, calibration, held_out))


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
