"""Pushes that fail, come again or meet, against a real Label Studio and a real S3 server."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from demo.stack.processes import free_port
from demo.stack.services import LabelStudioServer, S3Server
from lae_tasks.contracts import Purpose, ReviewItem
from lae_tasks.errors import TransientError
from lae_tasks.review.label_studio import LabelStudioReview
from lae_tasks.review.selection import looks_spent
from lae_tasks.runner import iter_manifests
from lae_tasks.stages import review
from lae_tasks.state import State
from lae_tasks.storage import S3Storage
from lae_tasks.tables import read_table
from tests.integration.desk import NIGHT, Desk, another_steward, rest
from tests.review_world import commit_night, make_state, tasks_of

#: The first test waits for Label Studio to start.
pytestmark = pytest.mark.timeout(600)

LATER = "2026-11-23"
#: How long one of two pushes waits for the other one.
WAIT_S = 120


def keys(desk: Desk) -> list[str]:
    """Of all tasks, in order; one that is there twice stands here twice."""
    return sorted(task.data["lae_key"] for task in desk.tasks())


def filed(desk: Desk) -> set[str]:
    return {
        item.task_key for item in desk.state.review_items.values()
    } | desk.state.tile_checks.keys()


def accept_all(desk: Desk, task: Any, **values: Any) -> int:
    results = json.loads(json.dumps(task.predictions[0].result))
    made = desk.sdk.annotations.create(id=task.id, result=[*results, rest("rest-accept")], **values)
    return int(made.id)


def test_what_a_push_could_not_send_comes_with_the_push_of_the_next_night(desk: Desk) -> None:
    commit_night(desk.store, desk.night, NIGHT)
    with (
        LabelStudioReview(f"http://127.0.0.1:{free_port()}", "0" * 40) as down,
        pytest.raises(TransientError),
    ):
        review.push(desk.store, NIGHT, desk.config, down, desk.access)
    (key,) = filed(desk)
    commit_night(desk.store, make_state(8, desk.store), LATER)
    pushed = desk.push(LATER)
    assert (pushed.tasks, pushed.present) == (len(filed(desk)), 0)
    assert keys(desk) == sorted(filed(desk)) and key in keys(desk)


def test_of_a_deleted_project_only_what_still_waits_comes_back(desk: Desk) -> None:
    desk.night = make_state(store=desk.store)
    later = make_state(8, desk.store)
    commit_night(desk.store, later, LATER)
    desk.set(check_share=0.01)
    desk.push()
    assert len(desk.state.tile_checks) == 2, "also of a night that was not pushed itself"
    before = keys(desk)
    assert before == sorted(filed(desk))

    # Of each night, the check is done, and one of the two other tasks.
    done = set(desk.state.tile_checks)
    for state in (desk.night, later):
        scene_ids = state.scenes.keys()
        items = [i for i in desk.state.review_items.values() if i.scene_id in scene_ids]
        done.add(min(item.task_key for item in items if item.task_key not in done))
    for task in desk.tasks():
        if task.data["lae_key"] in done:
            accept_all(desk, task)
    desk.collect()
    desk.sdk.projects.delete(id=desk.project_id)

    # By a push of either night; the text tells of it.
    pushed = desk.push(LATER)
    assert keys(desk) == sorted(set(before) - done)
    assert (pushed.manifest, pushed.tasks, pushed.present) == (None, len(before) - len(done), 0)
    assert f"{pushed.tasks} tasks sent, 0 there already" in pushed.as_text()
    pushed = desk.push()
    assert (pushed.tasks, pushed.present) == (0, len(before) - len(done))


def test_what_a_check_decided_does_not_keep_the_ordinary_task_away(desk: Desk) -> None:
    desk.set(check_share=1.0)
    desk.push()
    (check,) = desk.state.tile_checks
    (task,) = (task for task in desk.tasks() if task.data["lae_key"] == check)
    accept_all(desk, task)
    desk.collect()
    for task in desk.tasks():
        desk.sdk.tasks.delete(id=str(task.id))
    assert desk.push().tasks == 1
    assert check not in keys(desk)


def test_what_was_left_undecided_outlives_its_task(desk: Desk) -> None:
    desk.push()
    (task,) = desk.tasks()
    desk.submit(desk.sent_results(), "rest-unchecked")
    desk.collect()
    desk.sdk.tasks.delete(id=str(task.id))
    pushed = desk.push()
    assert (pushed.tasks, pushed.again) == (1, 0), "for one more steward"
    accept_all(desk, desk.tasks()[0])
    desk.collect()
    for task in desk.tasks():
        desk.sdk.tasks.delete(id=str(task.id))
    assert desk.push().tasks == 0, "now it is decided"


class _Meeting(LabelStudioReview):
    """A push that waits for another one where both would do the same."""

    barrier: Barrier

    def find_project(self, title: str) -> int | None:
        found = super().find_project(title)
        self.barrier.wait(WAIT_S)
        return found

    def send(self, *args: Any) -> int:
        self.barrier.wait(WAIT_S)  # each has seen what is missing
        return super().send(*args)


class _MeetingStore(S3Storage):
    barrier: Barrier

    def write(self, key: str, *args: Any, **values: Any) -> Any:
        if key.startswith("runs/review/") and key.endswith(".json"):
            self.barrier.wait(WAIT_S)  # neither knows what the other one is about to file
        return super().write(key, *args, **values)


@contextmanager
def meeting(
    desk: Desk, s3: S3Server, label_studio: LabelStudioServer, barrier: Barrier
) -> Iterator[tuple[_MeetingStore, _Meeting]]:
    parts = urlsplit(desk.store.uri)
    with (
        closing(s3.client()) as objects,
        _Meeting(label_studio.url, label_studio.token) as client,
    ):
        store = _MeetingStore(parts.netloc, parts.path.strip("/"), objects)
        store.barrier = client.barrier = barrier
        yield store, client


def _spent(desk: Desk, night: str) -> int:
    manifests = iter_manifests(desk.store, "review", night)
    return sum(looks_spent(read_table(desk.store, m.outputs[0], ReviewItem)) for m in manifests)


@pytest.mark.parametrize("nights", [(NIGHT, NIGHT), (NIGHT, LATER)], ids=["same", "two"])
def test_two_pushes_at_once_double_nothing(
    desk: Desk, s3: S3Server, label_studio: LabelStudioServer, nights: tuple[str, str]
) -> None:
    worlds = [make_state(seed, desk.store) for seed in range(7, 13)]
    commit_night(desk.store, _together(*worlds[:3]), NIGHT)
    commit_night(desk.store, _together(*worlds[3:]), LATER)
    budget = 20
    desk.set(check_share=0.5, looks_per_night=budget, second_look_share=0.5)
    barrier = Barrier(2)

    def push(night: str) -> review.Pushed:
        with meeting(desk, s3, label_studio, barrier) as (store, client):
            return review.push(store, night, desk.config, client, desk.access)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(push, nights)
    assert one.tasks and other.tasks, "both have sent"
    assert one.tasks + other.tasks > len(filed(desk)), "and some of it twice"
    desk.project_id = desk.client.find_project(desk.config.review.project) or 0
    _nothing_is_doubled_or_lost(desk)
    # An empty one may be left where SQLite was locked: Label Studio itself tries again then.
    for project in desk.sdk.projects.list():
        is_another = project.id != desk.project_id and project.title == desk.config.review.project
        assert not is_another or project.task_number == 0
    tiles = Counter(check.tile_id for check in desk.state.tile_checks.values())
    assert len(tiles) == tiles.total() == 4, "each tile is checked once"
    for night in {*nights}:
        assert 0 < _spent(desk, night) <= budget

    desk.set(looks_per_night=None)
    desk.night = _together(*worlds[:3])
    desk.push(LATER)
    _nothing_is_doubled_or_lost(desk)
    there = keys(desk)
    again = desk.push()
    assert (again.manifest, again.tasks, again.present) == (None, 0, len(there))
    assert keys(desk) == there


def _nothing_is_doubled_or_lost(desk: Desk) -> None:
    there = Counter(keys(desk))
    assert set(there.values()) == {1}
    # Of two nights' tasks of the same regions not both need be there.
    items = desk.state.review_items.values()
    asked = {item.region_id for item in items if item.purpose is not Purpose.CHECK}
    assert asked == {item.region_id for item in items if item.task_key in there} & asked
    assert there.keys() <= filed(desk) and desk.state.tile_checks.keys() <= there.keys()


def _together(*states: State) -> State:
    together = State()
    for state in states:
        together.scenes.update(state.scenes)
        together.tiles.update(state.tiles)
        together.regions.update(state.regions)
        together.decisions.update(state.decisions)
    return together


def test_of_doubles_the_one_that_a_steward_has_begun_stays(
    desk: Desk, label_studio: LabelStudioServer
) -> None:
    desk.push()
    (first,) = desk.tasks()
    items = desk.state.review_items.values()
    (payload,) = (task.payload() for task in tasks_of(desk.night, desk.store.uri, NIGHT, items))

    def double() -> Any:
        made = desk.sdk.projects.import_tasks(
            id=desk.project_id, request=[payload], return_task_ids=True
        )
        return desk.sdk.tasks.get(id=str(made.task_ids[0]))

    def there() -> list[int]:
        return sorted(task.id for task in desk.tasks())

    fresh = double()
    with another_steward(label_studio, "quick@example.org") as quick:
        answer = quick.post(
            f"/api/tasks/{fresh.id}/drafts",
            json={"result": [rest("rest-accept")], "lead_time": 1},
            headers={"X-CSRFToken": quick.cookies["csrftoken"]},
        )
        answer.raise_for_status()
    # The push that deletes doubles has listed them before somebody began.
    desk.client.delete_doubles(desk.project_id, [fresh.id])
    assert there() == [first.id, fresh.id]
    desk.sdk.tasks.delete(id=str(fresh.id))

    double(), double()
    assert desk.push().tasks == 0
    assert there() == [first.id], "the oldest, where nobody has begun"
    second, _ = double(), double()
    draft = {"result": [rest("rest-accept")], "lead_time": 1}
    url = f"{label_studio.url}/api/tasks/{second.id}/drafts"
    login = {"Authorization": f"Token {label_studio.token}"}
    httpx.post(url, json=draft, headers=login, trust_env=False).raise_for_status()
    desk.push()
    assert there() == [second.id], "a draft is a beginning"
    third = double()
    accept_all(desk, third)
    fourth = double()
    accept_all(desk, fourth, was_cancelled=True)
    double()
    _, verdicts = desk.collect()
    assert there() == [second.id, third.id, fourth.id], "what stewards did is never deleted"
    assert {verdict.annotation_id for verdict in verdicts} and desk.push().tasks == 0
    assert there() == [second.id, third.id, fourth.id]
