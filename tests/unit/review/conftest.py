"""A steward who works on a task, without a page: what is sent comes back as they would leave it."""

from typing import Any

import pytest

from lae_tasks.accounts import Rejection
from lae_tasks.contracts import Verdict, VerdictAction
from lae_tasks.review.annotation import Annotation
from lae_tasks.review.boxes import to_percent
from lae_tasks.review.tasks import ReviewTask
from lae_tasks.review.verdicts import read_verdicts
from tests.review_world import make_state, tasks_of


class Steward:
    """Does to the results what a steward does on the page."""

    def __init__(self, task: ReviewTask) -> None:
        self.task = task
        self.results: list[dict[str, Any]] = task.payload()["predictions"][0]["result"]

    def box(self, number: int) -> dict[str, Any]:
        region_id = self.task.items[number].region_id
        (found,) = (r for r in self.results if r["id"] == region_id and r["from_name"] == "box")
        return found

    def say(self, result_id: str, name: str, value: dict[str, Any]) -> None:
        self.results.append(
            {"id": result_id, "from_name": name, "to_name": "image", "value": value}
        )

    def choose(self, number: int, choice: str) -> None:
        self.say(self.task.items[number].region_id, "verdict", {"choices": [choice]})

    def rest(self, choice: str) -> None:
        self.say("r3st", "rest", {"choices": [choice]})

    def delete(self, number: int) -> None:
        self.results.remove(self.box(number))

    def submit(self, number: int = 1, minute: int = 0, **update: Any) -> Annotation:
        fields: dict[str, Any] = {
            "annotation_id": number,
            "task_id": 1,
            "task_created_at": "2026-11-23T04:00:00.000000+00:00",
            "annotator": "ada@example.org",
            "updated_at": f"2026-11-23T05:{minute:02d}:00.000000+00:00",
            "skipped": False,
            "seconds": 12.5,
            "result": tuple(self.results),
        }
        return Annotation(**fields | update)


@pytest.fixture
def steward() -> Steward:
    return Steward(next(tasks_of(make_state(), "s3://lae/store", "2026-11-23")))


def read_all(steward: Steward, **update: Any) -> list[Verdict]:
    verdicts = read_verdicts(steward.submit(**update), steward.task.items)
    assert not isinstance(verdicts, Rejection)
    return verdicts


def decided(verdicts: list[Verdict] | Rejection) -> list[Verdict]:
    assert not isinstance(verdicts, Rejection)
    return [verdict for verdict in verdicts if verdict.action is not VerdictAction.UNDECIDED]


def read(steward: Steward, **update: Any) -> list[Verdict]:
    return decided(read_all(steward, **update))


def draw(steward: Steward, result_id: str, box: tuple[int, int, int, int], name: str) -> None:
    value = {
        **to_percent(box, steward.task.tile.window_px),
        "rotation": 0,
        "rectanglelabels": [name],
    }
    steward.say(result_id, "box", value)
