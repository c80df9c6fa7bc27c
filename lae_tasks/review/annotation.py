"""What stewards left in Label Studio, in our words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Annotation:
    """A steward's work on one task, as Label Studio has it now.

    Attributes:
        task_created_at: When its task was made; ISO 8601, UTC.
        annotator: The steward's e-mail; their id where the server does not tell.
        updated_at: ISO 8601, UTC.
        skipped: The steward skipped the task.
        seconds: Time taken for the task, over all edits.
        result: The annotation's results, as they are.
    """

    annotation_id: int
    task_id: int
    task_created_at: str
    annotator: str
    updated_at: str
    skipped: bool
    seconds: float | None
    result: tuple[Mapping[str, Any], ...]

    @property
    def version_id(self) -> str:
        """Names this version of the annotation: it changes whenever the steward edits it."""
        return version_id(self.annotation_id, self.updated_at)


def version_id(annotation_id: int, changed_at: str) -> str:
    """The id of what an annotation was from that time on."""
    return f"{annotation_id}@{changed_at}"


@dataclass(frozen=True)
class ChangedTask:
    """A task that changed, with the annotations that it has now, if any; times as ISO 8601, UTC.

    Attributes:
        left_out: Ids of regions that were filed with it, but are not in it.
    """

    task_id: int
    lae_key: str | None
    created_at: str
    updated_at: str
    annotations: tuple[Annotation, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskProgress:
    """How far a task is.

    Attributes:
        stewards: By how many Label Studio has it looked at.
        annotated: How many annotations it has that are no skip; it is served until they are as
            many as that.
        by: Who made each annotation of this key that is no skip, by the id of its version.
        is_served: Whether a steward may still come upon it by `Label All Tasks`.
        doubles: Ids of other tasks of the same key that nobody has begun.
    """

    task_id: int
    stewards: int
    annotated: int
    by: Mapping[str, str]
    is_served: bool
    doubles: tuple[int, ...] = ()


def changed_task(task: Any, emails: Mapping[int, str]) -> ChangedTask:
    """A task as the SDK gives it, with the e-mails of the users by their ids."""
    return ChangedTask(
        task_id=int(task.id),
        lae_key=(task.data or {}).get("lae_key"),
        created_at=utc(task.created_at),
        updated_at=utc(task.updated_at),
        annotations=tuple(_annotation(task, raw, emails) for raw in task.annotations or ()),
        left_out=tuple((task.data or {}).get("lae_left_out") or ()),
    )


def _annotation(task: Any, raw: Any, emails: Mapping[int, str]) -> Annotation:
    return Annotation(
        annotation_id=int(raw["id"]),
        task_id=int(task.id),
        task_created_at=utc(task.created_at),
        annotator=_annotator(raw, emails),
        updated_at=utc(raw["updated_at"]),
        skipped=bool(raw.get("was_cancelled")),
        seconds=raw.get("lead_time"),
        result=tuple(raw.get("result") or ()),
    )


def progress_of(tasks: Sequence[Any], emails: Mapping[int, str]) -> TaskProgress:
    """How far the tasks of one key are, as the SDK gives them, with the e-mails of the users.

    The first that a steward has begun counts, else the first. What is begun is never a double.
    """
    begun = [task for task in tasks if task.annotations or task.draft_exists]
    counts = min(begun or tasks, key=lambda task: int(task.id))
    kept = {task.id for task in (*begun, counts)}
    said = {task.id: _looks(task) for task in begun}
    return TaskProgress(
        task_id=int(counts.id),
        stewards=int(counts.overlap),
        annotated=len(said.get(counts.id, ())),
        by={
            version_id(int(raw["id"]), utc(raw["updated_at"])): _annotator(raw, emails)
            for looks in said.values()
            for raw in looks
        },
        is_served=not counts.is_labeled,
        doubles=tuple(int(task.id) for task in tasks if task.id not in kept),
    )


def _looks(task: Any) -> list[Any]:
    return [raw for raw in task.annotations or () if not raw.get("was_cancelled")]


def _annotator(raw: Any, emails: Mapping[int, str]) -> str:
    by = raw.get("completed_by")
    user_id = by.get("id") if isinstance(by, Mapping) else by
    return emails.get(user_id or 0) or str(user_id)


def utc(moment: str | datetime) -> str:
    """ISO 8601 in UTC with microseconds, so that texts compare like times."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
