"""Stewards who know the truth and are mistaken now and then, and a desk for them to work at.

They answer as Label Studio's page does, with an annotation's results, so that the engine reads them
with the code that reads people's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.quarter import MIN_IOU, Thing, best_match
from lae_tasks.contracts import BoxPx, Purpose, WindowPx
from lae_tasks.geometry import clip
from lae_tasks.review.annotation import Annotation, ChangedTask, TaskProgress
from lae_tasks.review.boxes import from_percent, to_percent
from lae_tasks.review.label_config import (
    ACCEPT,
    BOX,
    CONTEXT,
    IMAGE,
    OTHER,
    REJECT,
    REST,
    REST_ACCEPT,
    VERDICT,
)
from lae_tasks.review.tasks import ReviewTask

#: A box that overlaps a thing by less shows something else.
SAME_THING_IOU = 0.3
#: A thing belongs to a tile that shows as much of it.
_MIN_SHOWN = 0.5
_NONE = (0, 0, 0, 0)

Results = list[dict[str, Any]]


@dataclass(frozen=True)
class Steward:
    """One who looks at boxes.

    Attributes:
        error: The share of looks in which they are mistaken: they accept what is wrong, reject what
            is right, or overlook what is missing. Whether they are is up to name and region, so
            that a second run gives the same.
    """

    name: str
    error: float

    def results(
        self, shown: Sequence[Mapping[str, Any]], things: Sequence[Thing], window: WindowPx
    ) -> Results:
        """The annotation's results for the boxes that a task shows."""
        found: Results = []
        for result in shown:
            if result["from_name"] == BOX:
                found += self._of_box(dict(result), things, window)
        everything_else = _choice(REST, REST, REST_ACCEPT)
        return [*found, everything_else]

    def missing(
        self, shown: Sequence[Mapping[str, Any]], things: Sequence[Thing], window: WindowPx
    ) -> Results:
        """Boxes around what no box of the tile shows."""
        boxes = [
            from_percent(result["value"], window)
            for result in shown
            if result["from_name"] in (BOX, CONTEXT)
        ]
        seen = [best_match(box, things)[1] for box in boxes if box and _overlaps(box, things)]
        found: Results = []
        for number, thing in enumerate(things):
            part = clip(thing.bbox_xyxy_px, window)
            if thing in seen or part is None or _shown(part, thing) < _MIN_SHOWN:
                continue
            if not self._is_mistaken(f"{window}{thing}"):
                found.append(_box(f"drawn-{number}", part, window, thing.category))
        return found

    def judge(
        self, region_id: str, box: BoxPx, category: str, things: Sequence[Thing]
    ) -> tuple[str | None, BoxPx]:
        """The category that a box gets, and the box; None for the category of what is nothing."""
        overlap, thing = best_match(box, things)
        right = thing is not None and overlap >= MIN_IOU and thing.category == category
        if self._is_mistaken(region_id):
            return (None if right else category), box
        if thing is None or overlap < SAME_THING_IOU:
            return None, box
        return thing.category, box if overlap >= MIN_IOU else thing.bbox_xyxy_px

    def _of_box(
        self, result: Mapping[str, Any], things: Sequence[Thing], window: WindowPx
    ) -> Results:
        box = from_percent(result["value"], window)
        assert box
        (category,) = result["value"]["rectanglelabels"]
        parts = [Thing(each.category, clip(each.bbox_xyxy_px, window) or _NONE) for each in things]
        said, its_box = self.judge(result["id"], box, category, parts)
        if said is None:
            return [dict(result), _choice(result["id"], VERDICT, REJECT)]
        if (said, its_box) == (category, box):
            return [dict(result), _choice(result["id"], VERDICT, ACCEPT)]
        value = result["value"] | to_percent(its_box, window)
        named = {
            "from_name": OTHER,
            "type": "taxonomy",
            "value": value | {"taxonomy": [[said]]},
        }
        return [{**result, "value": value}, {**result, **named}]

    def _is_mistaken(self, what: str) -> bool:
        digest = hashlib.sha256(f"{self.name}|{what}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < self.error


#: In the order in which they look; each is mistaken in one look of twenty.
STEWARDS = tuple(Steward(name, 0.05) for name in ("anna", "ben", "cleo"))


def _overlaps(box: BoxPx, things: Sequence[Thing]) -> bool:
    return best_match(box, things)[0] >= SAME_THING_IOU


def _shown(part: BoxPx, thing: Thing) -> float:
    return _area(part) / _area(thing.bbox_xyxy_px)


def _area(box: BoxPx) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _choice(result_id: str, name: str, choice: str) -> dict[str, Any]:
    value = {"choices": [choice]}
    return {"id": result_id, "from_name": name, "to_name": IMAGE, "type": "choices", "value": value}


def _box(result_id: str, box: BoxPx, window: WindowPx, category: str) -> dict[str, Any]:
    value = {**to_percent(box, window), "rotation": 0, "rectanglelabels": [category]}
    return {
        "id": result_id,
        "from_name": BOX,
        "to_name": IMAGE,
        "type": "rectanglelabels",
        "value": value,
    }


def annotation_results(
    task: ReviewTask, steward: Steward, truth: Mapping[str, list[Thing]]
) -> tuple[Results, int]:
    """What a steward answers to a task, and how many looks that took.

    A look at each box that is shown; where a tile is checked, one at the tile, and one for each box
    that is drawn.
    """
    shown = task.payload()["predictions"][0]["result"]
    things, window = truth[task.tile.raw_key], task.tile.window_px
    results = steward.results(shown, things, window)
    if task.items and task.items[0].purpose is not Purpose.CHECK:
        return results, len(task.items)
    drawn = steward.missing(shown, things, window)
    return results + drawn, len(task.items) + 1 + len(drawn)


@dataclass
class _Task:
    task_id: int
    sent: ReviewTask
    created_at: str
    updated_at: str
    wanted: int = 1
    annotations: list[Annotation] = field(default_factory=list)


class SimulatedDesk:
    """What the engine needs of Label Studio, in memory, with stewards at it.

    It has the methods of `LabelStudioReview` that pushing and collecting call.

    Args:
        stewards: In the order in which they look.
        truth: The things of each scene by its raw key.
    """

    def __init__(self, stewards: Sequence[Steward], truth: Mapping[str, list[Thing]]) -> None:
        self._stewards = stewards
        self._truth = truth
        self._tasks: dict[str, _Task] = {}
        # Later than what a real desk has said before.
        self._now = datetime.now(UTC) + timedelta(days=1)
        #: Boxes and tiles that were looked at, each time that it was.
        self.looks = 0

    def _tick(self) -> str:
        self._now += timedelta(seconds=1)
        return self._now.isoformat(timespec="microseconds")

    def find_project(self, title: str) -> int | None:
        """The one that there is."""
        return 1

    def ensure_project(self, *_: Any, **__: Any) -> int:
        """The one that there is."""
        return 1

    def check_project(self, title: str, label_config: str) -> None:
        """It fits."""

    def ensure_webhook(self, project_id: int) -> None:
        """Nobody listens."""

    def send(self, project_id: int, tasks: Iterable[ReviewTask], batch_size: int) -> int:
        """Puts tasks on the desk."""
        before = len(self._tasks)
        for task in tasks:
            at = self._tick()
            self._tasks[task.key] = _Task(len(self._tasks) + 1, task, at, at)
        return len(self._tasks) - before

    def progress(self, project_id: int) -> dict[str, TaskProgress]:
        """How far each task is."""
        return {
            key: TaskProgress(
                task_id=task.task_id,
                stewards=task.wanted,
                annotated=len(task.annotations),
                by={each.version_id: each.annotator for each in task.annotations},
                is_served=len(task.annotations) < task.wanted,
            )
            for key, task in self._tasks.items()
        }

    def ask_more(self, project_id: int, stewards: Mapping[int, int]) -> None:
        """Asks for so many stewards for each task."""
        for task in self._tasks.values():
            task.wanted = max(task.wanted, stewards.get(task.task_id, 1))

    def tasks_since(self, project_id: int, cursor: str | None) -> list[ChangedTask]:
        """The tasks that changed since then."""
        return [
            ChangedTask(
                task.task_id, key, task.created_at, task.updated_at, tuple(task.annotations)
            )
            for key, task in self._tasks.items()
            if cursor is None or task.updated_at > cursor
        ]

    def work(self) -> int:
        """The stewards do all that is open; how many tasks they worked on."""
        worked = 0
        for task in self._tasks.values():
            # Each begins with another one, so that all of them are first and second.
            first = task.task_id % len(self._stewards)
            order = [*self._stewards[first:], *self._stewards[:first]]
            for steward in order[len(task.annotations) : task.wanted]:
                self._annotate(task, steward)
                worked += 1
        return worked

    def _annotate(self, task: _Task, steward: Steward) -> None:
        results, looks = annotation_results(task.sent, steward, self._truth)
        self.looks += looks
        task.updated_at = self._tick()
        task.annotations.append(
            Annotation(
                annotation_id=10 * task.task_id + len(task.annotations),
                task_id=task.task_id,
                task_created_at=task.created_at,
                annotator=f"{steward.name}@example.org",
                updated_at=task.updated_at,
                skipped=False,
                seconds=None,
                result=tuple(results),
            )
        )
