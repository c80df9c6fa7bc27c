"""Who is asked to look at what, against a real Label Studio and a real S3 server."""

import json
from typing import Any

import httpx
import pytest

from demo.stack.services import LabelStudioServer
from lae_tasks.contracts import Outcome, Purpose, VerdictAction
from lae_tasks.review.verdicts import fold_verdicts
from tests.integration.desk import Desk, another_steward, rest, result
from tests.review_world import commit_night, make_state

#: The first test waits for Label Studio to start.
pytestmark = pytest.mark.timeout(600)

LATER = "2026-11-23"


def all_drawn(desk: Desk) -> None:
    """All regions of the night are accepted, and drawn at random."""
    for region_id, decision in desk.night.decisions.items():
        update = {"drawn": True, "outcome": Outcome.ACCEPT}
        desk.night.decisions[region_id] = decision.model_copy(update=update)


def sent(task: Any) -> list[dict[str, Any]]:
    return json.loads(json.dumps(task.predictions[0].result))


def boxes(task: Any) -> set[str]:
    return {each["id"] for each in sent(task) if each["from_name"] == "box"}


def served(http: httpx.Client, desk: Desk) -> int | None:
    """The task that Label All Tasks gives a user."""
    answer = http.get(f"/api/projects/{desk.project_id}/next/")
    return answer.json()["id"] if answer.status_code == 200 else None


def test_a_night_spends_its_looks_and_the_rest_waits_for_the_next(desk: Desk) -> None:
    desk.night = make_state(store=desk.store)
    later = make_state(8, desk.store)
    commit_night(desk.store, later, LATER)
    to_ask = {
        region_id: decision.drawn
        for state in (desk.night, later)
        for region_id, decision in state.decisions.items()
        if decision.drawn or decision.outcome is Outcome.REVIEW
    }
    drawn = {region_id for region_id, is_drawn in to_ask.items() if is_drawn}
    desk.set(looks_per_night=len(drawn) + 1)
    first = desk.push()
    items = desk.state.review_items.values()
    assert len(items) == len(drawn) + 1
    assert drawn < {item.region_id for item in items}, "the drawn of both nights come first"
    assert first.waiting == len(to_ask) - len(items)
    assert f"{first.waiting} regions wait" in first.as_text()
    assert first.manifest and first.manifest.counts["waiting"] == first.waiting
    by_purpose = [{item.purpose for item in items if item.task_key == k} for k in _keys(desk)]
    assert sorted(by_purpose, key=str) == [{Purpose.DOUBT}] + [{Purpose.DRAWN}] * 2

    again = desk.push()
    assert (again.manifest, again.tasks, again.waiting) == (None, 0, first.waiting)
    desk.push(LATER)
    assert len(desk.state.review_items) == min(len(to_ask), 2 * (len(drawn) + 1))
    desk.set(looks_per_night=None)
    assert desk.push(LATER).waiting == 0
    items = desk.state.review_items.values()
    assert {i.region_id: i.purpose is Purpose.DRAWN for i in items} == to_ask
    assert len(items) == len(to_ask), "nothing is sent twice"
    assert set().union(*map(boxes, desk.tasks())) == to_ask.keys()

    keys = _keys(desk)
    for task in desk.tasks():
        desk.sdk.tasks.delete(id=str(task.id))
    desk.push()
    assert _keys(desk) == keys, "an emptied project has all its tasks again"


def _keys(desk: Desk) -> list[str]:
    return sorted(task.data["lae_key"] for task in desk.tasks())


def test_another_steward_is_asked_where_the_only_one_contradicts(
    desk: Desk, label_studio: LabelStudioServer
) -> None:
    all_drawn(desk)
    assert desk.push().again == 0
    (task,) = desk.tasks()
    with (
        another_steward(label_studio, "bob@example.org") as bob,
        another_steward(label_studio, "eve@example.org") as eve,
    ):
        wrong, *others = sorted(boxes(task))
        reject = result(wrong, "verdict", "choices", {"choices": ["reject"]})
        desk.submit([*desk.sent_results(), reject])  # as the administrator
        assert served(bob, desk) is None, "one steward is enough, as far as Label Studio knows"
        desk.collect()
        assert served(bob, desk) == task.id
        before = desk.sdk.tasks.get(id=task.id)
        assert (before.overlap, before.is_labeled) == (2, False)
        # What comes in meanwhile, and a push that brings the project up to date, changes nothing.
        commit_night(desk.store, make_state(8, desk.store), LATER)
        assert desk.push(LATER).again == 0
        assert desk.sdk.tasks.get(id=task.id).overlap == 2

        _annotate(bob, task.id, sent(task), was_cancelled=True)
        desk.collect()
        assert desk.push().again == 0
        assert desk.sdk.tasks.get(id=task.id).is_labeled is False, "a skip is no look"
        _annotate(eve, task.id, sent(task))
        desk.collect()
        after = desk.sdk.tasks.get(id=task.id)
        assert (after.overlap, after.is_labeled) == (3, False), "they differ: a third one looks"
        _annotate(bob, task.id, [*sent(task), reject])
        desk.collect()
        # Label Studio's own flag, which it sets late now and then, is not looked at here.
        assert desk.push().again == 0, "a third one decided"
        assert desk.sdk.tasks.get(id=task.id).overlap == 3
    held = fold_verdicts(desk.state.verdicts.values())
    assert held[wrong].action is VerdictAction.REJECT
    assert {held[region_id].action for region_id in others} == {VerdictAction.ACCEPT}


def _annotate(
    http: httpx.Client, task_id: int, results: list[dict[str, Any]], was_cancelled: bool = False
) -> None:
    answer = http.post(
        f"/api/tasks/{task_id}/annotations/",
        json={"result": [*results, rest("rest-accept")], "was_cancelled": was_cancelled},
        headers={"X-CSRFToken": http.cookies["csrftoken"]},
    )
    assert answer.status_code == 201, answer.text


def test_a_tile_whose_annotation_is_refused_is_another_stewards(
    desk: Desk, label_studio: LabelStudioServer
) -> None:
    desk.push()
    (task,) = desk.tasks()
    with another_steward(label_studio, "blank@example.org") as other:
        blank = desk.submit([])  # as the button + makes it
        manifest, verdicts = desk.collect()
        assert (manifest.rejected_by_reason, verdicts) == ({"blank annotation": 1}, [])
        assert served(other, desk) == task.id
        assert desk.push().again == 0, "it is asked for already"
        _annotate(other, task.id, sent(task))
        _, verdicts = desk.collect()
        assert {verdict.annotator for verdict in verdicts} == {"blank@example.org"}
        assert desk.push().again == 0, "one look is enough"

        # What is taken back by an empty annotation is no look either.
        desk.sdk.annotations.delete(id=blank)
        (annotation,) = desk.tasks()[0].annotations
        desk.sdk.annotations.update(id=annotation["id"], result=[])
        _, news = desk.collect()
        assert {verdict.action for verdict in news} == {VerdictAction.WITHDRAW}
        assert fold_verdicts(desk.state.verdicts.values()) == {}
    with another_steward(label_studio, "third@example.org") as third:
        assert served(third, desk) == task.id


def test_a_share_of_what_is_drawn_is_for_two_stewards_from_the_start(desk: Desk) -> None:
    all_drawn(desk)
    desk.set(second_look_share=1.0)
    pushed = desk.push()
    assert pushed.again == 1
    (task,) = desk.tasks()
    assert task.overlap == 2
    assert {item.looks for item in desk.state.review_items.values()} == {2}
    assert desk.push().again == 0


@pytest.mark.parametrize("bare", [True, False])
def test_a_tile_is_looked_over_for_what_is_missing(desk: Desk, bare: bool) -> None:
    outcome = Outcome.REJECT if bare else Outcome.ACCEPT
    for region_id, decision in desk.night.decisions.items():
        update = {"drawn": False, "outcome": outcome}
        desk.night.decisions[region_id] = decision.model_copy(update=update)
    desk.set(check_share=0.01)
    assert "1 tiles to look over" in desk.push().as_text()
    (task,) = desk.tasks()
    (tile,) = desk.night.tiles.values()
    (check,) = desk.state.tile_checks.values()
    assert task.data["lae_key"] == check.task_key
    assert boxes(task) == (set() if bare else set(desk.night.regions))
    assert "whole tile" in task.data["title"] and task.data["labels"]
    assert desk.push().manifest is None

    drawn = {"x": 10, "y": 10, "width": 5, "height": 5, "rotation": 0, "rectanglelabels": ["ship"]}
    found = [*sent(task), result("drawn", "box", "rectanglelabels", drawn)]
    annotation = desk.submit(found)
    manifest, verdicts = desk.collect()
    assert manifest.rejected_by_reason == {}
    assert manifest.counts == {"add": 1, "check": 1} | (
        {} if bare else {"accept": len(boxes(task))}
    )
    (checked,) = (v for v in verdicts if v.action is VerdictAction.CHECK)
    assert checked.region_id == tile.tile_id
    assert desk.collect() == (None, [])

    desk.sdk.annotations.update(id=annotation, result=[*found, rest("rest-unchecked")])
    manifest, _ = desk.collect()
    # The tile is taken back; what was drawn stays drawn.
    left = {} if bare else {"undecided": len(boxes(task))}
    assert manifest.counts == {"add": 1, "withdraw": 1} | left
    assert desk.collect() == (None, [])
    (task,) = desk.tasks()
    desk.sdk.tasks.delete(id=str(task.id))
    assert desk.push().tasks == 1, "it is sent again if it is lost"
