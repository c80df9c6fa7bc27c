"""What the stewards did in Label Studio that the store does not know yet."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from lae_tasks.accounts import Done, Rejection
from lae_tasks.config import Config
from lae_tasks.contracts import ReviewItem, TileCheck, Verdict
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.review.annotation import Annotation, version_id
from lae_tasks.review.label_studio import LabelStudioReview
from lae_tasks.review.verdicts import (
    BLANK,
    COLLECT,
    current_verdicts,
    deleted_annotations,
    read_verdicts,
    withdrawn,
)
from lae_tasks.state import State

#: Annotations this much older than the newest verdict are read again: a server's transaction may
#: become visible later than its time stamp says.
OVERLAP = timedelta(minutes=10)


def read_new(
    state: State, config: Config, label_studio: LabelStudioReview
) -> list[Done | Rejection]:
    """What the state lacks of each annotation that changed lately.

    Returns:
        A Done with its new verdicts, none if they are known, or a Rejection that is not in the
        state yet.
    """
    project_id = label_studio.find_project(config.review.project)
    if project_id is None:
        return []
    checks = {check.task_key: check for check in state.tile_checks.values()}
    items: defaultdict[str, list[ReviewItem]] = defaultdict(list)
    for item in state.review_items.values():
        items[item.task_key].append(item)
    held: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in current_verdicts(state.verdicts.values()):
        held[verdict.task_key].append(verdict)
    known = {
        (v.task_created_at, version_id(v.annotation_id, v.decided_at))
        for v in state.verdicts.values()
    }
    results: list[Done | Rejection] = []
    for task in label_studio.tasks_since(project_id, cursor(state)):
        key = task.lae_key or ""
        sent = [item for item in items[key] if item.region_id not in task.left_out]
        # Only what came from this very task: there may be another one of the same key.
        of_task = [v for v in held[key] if v.task_created_at == task.created_at]
        for annotation in task.annotations:
            version = annotation.version_id
            before = [v for v in of_task if v.annotation_id == annotation.annotation_id]
            if version in state.refused or (task.created_at, version) in known:
                results.append(Done(version))
            elif sent or key in checks:
                results.append(_read(annotation, sent, checks.get(key), before, config.vocabulary))
            elif _unknown_id(version) in state.refused:
                results.append(Done(version))
            else:
                results.append(_unknown(annotation, key))
        for annotation_id, verdicts in deleted_annotations(task, of_task).items():
            taken_back = withdrawn(verdicts, (), task.updated_at)
            results.append(_done(version_id(annotation_id, task.updated_at), taken_back))
    return results


def cursor(state: State) -> str | None:
    """From when on annotations have to be read; None before the first verdict."""
    newest = max((verdict.decided_at for verdict in state.verdicts.values()), default=None)
    return (datetime.fromisoformat(newest) - OVERLAP).isoformat() if newest else None


def _read(
    annotation: Annotation,
    sent: Sequence[ReviewItem],
    check: TileCheck | None,
    before: Sequence[Verdict],
    vocabulary: Vocabulary,
) -> Done | Rejection:
    """What an annotation says now, and what it said before and no longer does."""
    verdicts = read_verdicts(annotation, sent, vocabulary, check)
    if isinstance(verdicts, Rejection):
        if verdicts.reason != BLANK or not before:
            return verdicts
        verdicts = []  # everything in it was deleted: it was taken back
    decided = {verdict.region_id for verdict in verdicts}
    taken_back = withdrawn(before, decided, annotation.updated_at)
    return _done(annotation.version_id, [*verdicts, *taken_back])


def _unknown(annotation: Annotation, lae_key: str) -> Rejection:
    return Rejection(
        rejected_id=_unknown_id(annotation.version_id),
        stage=COLLECT,
        reason="unknown task",
        detail=f"task {annotation.task_id} (lae_key {lae_key or None}) is none that this store has "
        "sent",
    )


def _unknown_id(version: str) -> str:
    """Not the version's own id: it is read as soon as its task is known.

    A push may have filed the task after this state was read.
    """
    return f"{version}/unknown"


def _done(record_id: str, verdicts: Sequence[Verdict]) -> Done:
    return Done(record_id, verdicts, Counter(verdict.action.value for verdict in verdicts))
