"""Fits that made no calibration: they are filed, too, so that luck is not tried at each call."""

from collections.abc import Iterator

from lae_tasks.accounts import Done, Manifest
from lae_tasks.config import RouteConfig
from lae_tasks.runner import Work, iter_manifests, run
from lae_tasks.state import digest_of
from lae_tasks.storage import Storage
from lae_tasks.tables import read_table
from lae_tasks.trust.records import Attempt

STAGE = "attempt"


def file_attempt(
    store: Storage,
    config: RouteConfig,
    today: str,
    model_revision: str,
    verdicts: int,
    retires: str,
) -> Manifest:
    """Files a fit that made no calibration.

    Args:
        store: Where to.
        config: The settings that it was for.
        today: `yyyy-mm-dd`, under which it is filed.
        model_revision: Of the models that were to be calibrated.
        verdicts: How many it was fitted on.
        retires: Id of the calibration that is in force no more; empty for none.
    """
    target, confidence = config.target_precision, config.target_confidence
    attempt = Attempt(
        attempt_id=digest_of([model_revision, str(target), str(confidence), str(verdicts)])[:16],
        verdicts=verdicts,
        target_precision=target,
        confidence=confidence,
        retires=retires,
    )
    digest = digest_of([attempt.attempt_id, retires])
    work = Work(STAGE, today, digest[:16], (Attempt,), "", (digest,), model_revision)
    key = attempt.attempt_id
    return run(store, work, [key], [Done(key, [attempt])])


def attempts(store: Storage, model_revision: str, config: RouteConfig) -> Iterator[Attempt]:
    """Those for the same models and the same target."""
    for manifest in iter_manifests(store, STAGE):
        if manifest.model_revision == model_revision:
            for attempt in read_table(store, manifest.outputs[0], Attempt):
                target = attempt.target_precision, attempt.confidence
                if target == (config.target_precision, config.target_confidence):
                    yield attempt


def retired(store: Storage) -> set[str]:
    """Ids of the calibrations that are in force no more, though no other one took over."""
    manifests = iter_manifests(store, STAGE)
    found = (each for m in manifests for each in read_table(store, m.outputs[0], Attempt))
    return {attempt.retires for attempt in found if attempt.retires}
