"""Calibrate: what stewards decided teaches how likely a region is right.

A fitted calibration is filed under the day when it was fitted. It decides all nights that the same
models made, those before it too; with other models, or for another target, the engine learns anew.
"""

import logging
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lae_tasks.accounts import Manifest
from lae_tasks.config import Config, RouteConfig
from lae_tasks.review.verdicts import fold_verdicts, respelled
from lae_tasks.runner import Columns, Work, iter_manifests, run_columns
from lae_tasks.schema import arrow_schema
from lae_tasks.state import digest_of, load_reviews
from lae_tasks.storage import Storage
from lae_tasks.tables import read_table
from lae_tasks.trust.attempts import attempts, file_attempt, retired
from lae_tasks.trust.calibration import fit, probabilities
from lae_tasks.trust.features import categories_of
from lae_tasks.trust.judged import Judged, read_judged
from lae_tasks.trust.records import Calibration, Judgement
from lae_tasks.trust.risk_control import contradicts
from lae_tasks.trust.sample import CALIBRATE as STAGE
from lae_tasks.trust.sample import by_probability, read_calibrations

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibrated:
    """What came of it.

    Attributes:
        manifest: Of a calibration that holds from now on, or of the end of one; None if neither.
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
    region that a steward has decided, and the Calibration. A fit that makes none is filed as an
    Attempt.

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
    return learn(store, config, judged, today)


def learn(store: Storage, config: Config, judged: Judged, today: str) -> Calibrated:
    """Fits a calibration, if enough new verdicts are in, and settles which one holds.

    The arguments are those of `calibrate`, with the regions that stewards have decided.
    """
    route, count = config.route, len(judged.right)
    before = latest(store, judged.model_revision, route)
    if problem := judged.problem(config):
        return Calibrated(None, before, problem)
    tried = [each.verdicts for each in attempts(store, judged.model_revision, route)]
    tried += [before.verdicts] if before else []
    # What was tried without success was tried, too: each fit is another chance to be lucky.
    if tried and count - max(tried) < route.refit_after:
        why = f"{count - max(tried)} verdicts are new, it takes {route.refit_after}"
        return Calibrated(None, before, why)
    rows = judged.rows()
    fitted = fit(
        rows,
        judged.categories,
        judged.right,
        judged.drawn,
        judged.scenes,
        night=today,
        model_revision=judged.model_revision,
        target_precision=route.target_precision,
        confidence=route.target_confidence,
        steward_error=judged.steward_error,
    )
    if fitted and not (before and stays_in_force(store, config, judged, rows, before, *fitted)):
        return Calibrated(file_fitted(store, config, judged, *fitted), fitted[0])
    filed = partial(file_attempt, store, route, today, judged.model_revision, count)
    if fitted:
        filed("")
        why = "a new one would accept less, and nothing that came in since contradicts the old one"
        return Calibrated(None, before, why)
    target, confidence = route.target_precision, route.target_confidence
    why = f"no probability is shown to reach {target:g} with confidence {confidence:g}"
    if before is None:
        filed("")
        return Calibrated(None, None, why)
    why = f"with {count} verdicts {why} any more. The calibration of {before.verdicts} verdicts"
    if is_contradicted(store, config, judged, rows, before):
        why += " is in force no more: what was drawn and looked at since tells against it"
        logger.warning("%s", why)
        return Calibrated(filed(before.calibration_id), None, why)
    filed("")
    why += (
        " stays in force, though what it accepts may be below the target; see what the audit says "
        "of the next release"
    )
    logger.warning("%s", why)
    return Calibrated(None, before, why)


def stays_in_force(
    store: Storage,
    config: Config,
    judged: Judged,
    rows: npt.NDArray[np.float64],
    before: Calibration,
    fitted: Calibration,
    held_out: npt.NDArray[np.float64],
) -> bool:
    """Whether the calibration in force stays, though another one was fitted.

    By bad luck a threshold comes out high now and then, and what is accepted would come and go from
    release to release. So the other one takes over if it accepts more, each by what it says of
    regions that it did not learn from; or if the verdicts tell against the one in force.
    """
    accepted, _ = _accepted_by(store, config, judged, rows, before)
    if np.sum(held_out[judged.drawn] >= fitted.accept_at) >= accepted.sum():
        return False
    return not is_contradicted(store, config, judged, rows, before)


def is_contradicted(
    store: Storage,
    config: Config,
    judged: Judged,
    rows: npt.NDArray[np.float64],
    before: Calibration,
) -> bool:
    """Whether what a calibration accepts, was drawn, and did not teach it, is too bad."""
    accepted, fresh = _accepted_by(store, config, judged, rows, before)
    errors, count = int(np.sum(accepted & fresh & ~judged.right)), int(np.sum(accepted & fresh))
    target, confidence = before.target_precision, before.confidence
    return contradicts(errors, count, target, confidence, judged.steward_error)


def _accepted_by(
    store: Storage,
    config: Config,
    judged: Judged,
    rows: npt.NDArray[np.float64],
    before: Calibration,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Of the regions, which were drawn and are accepted by a calibration, and which it did not see.

    What it has learned from counts by what it said of it where it had not.
    """
    _, learned = read_calibrations(store, {before.calibration_id})
    known = learned[before.calibration_id].probability
    said = probabilities(before, rows, judged.categories, config.vocabulary.spelled).round(4)
    held_out = np.array([known.get(each, np.nan) for each in judged.region_ids], dtype=np.float64)
    fresh = np.isnan(held_out)
    return (np.where(fresh, said, held_out) >= before.accept_at) & judged.drawn, fresh


def latest(store: Storage, model_revision: str, config: RouteConfig) -> Calibration | None:
    """The newest calibration of what the same models made, fitted for the same target.

    None if that is in force no more.
    """
    found = [
        calibration
        for manifest in iter_manifests(store, STAGE)
        if manifest.model_revision == model_revision
        for calibration in read_table(store, manifest.outputs[1], Calibration)
        if categories_of(calibration.features) is not None
        and calibration.target_precision == config.target_precision
        and calibration.confidence == config.target_confidence
    ]
    newest = max(found, key=lambda c: (c.night, c.verdicts, c.calibration_id), default=None)
    return newest if newest and newest.calibration_id not in retired(store) else None


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
