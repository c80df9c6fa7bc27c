from typing import Any

import pytest

from lae_tasks.accounts import Rejection
from lae_tasks.contracts import Verdict, VerdictAction
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.review.boxes import to_percent
from lae_tasks.review.label_config import CONTEXT_PREFIX, MASK_PREFIX
from lae_tasks.review.label_studio import Annotation, ChangedTask
from lae_tasks.review.tasks import ReviewTask, build_tasks
from lae_tasks.review.verdicts import (
    added_region_id,
    current_verdicts,
    deleted_annotations,
    fold_verdicts,
    read_verdicts,
    withdrawn,
)
from tests.review_world import make_state

ACCEPT, RELABEL, ADJUST, REJECT, ADD, WITHDRAW = VerdictAction


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
    return Steward(next(build_tasks(make_state(), "s3://lae/store", "2026-11-23")))


def read(steward: Steward, **update: Any) -> list[Verdict]:
    task = steward.task
    verdicts = read_verdicts(steward.submit(**update), task.items)
    assert not isinstance(verdicts, Rejection)
    return verdicts


def read_with(steward: Steward, *vocabulary: str) -> list[Verdict]:
    verdicts = read_verdicts(
        steward.submit(), steward.task.items, Vocabulary.model_validate(vocabulary)
    )
    assert not isinstance(verdicts, Rejection)
    return verdicts


def test_the_rest_is_right(steward: Steward) -> None:
    steward.rest("rest-accept")
    verdicts = read(steward)
    assert [v.action for v in verdicts] == [ACCEPT] * len(steward.task.items)
    first, item = verdicts[0], steward.task.items[0]
    assert (first.region_id, first.category) == (item.region_id, item.category)
    assert first.bbox_xyxy_px == item.bbox_xyxy_px
    assert (first.annotator, first.seconds) == ("ada@example.org", 12.5)


def test_the_rest_was_not_checked(steward: Steward) -> None:
    steward.choose(1, "accept")
    steward.rest("rest-unchecked")
    assert [(v.region_id, v.action) for v in read(steward)] == [
        (steward.task.items[1].region_id, ACCEPT)
    ]


def test_rejected_by_choice_or_deleted(steward: Steward) -> None:
    steward.choose(0, "reject")
    steward.delete(2)
    verdicts = read(steward)
    assert [(v.region_id, v.action, v.category) for v in verdicts] == [
        (steward.task.items[0].region_id, REJECT, None),
        (steward.task.items[2].region_id, REJECT, None),
    ]
    assert verdicts[1].bbox_xyxy_px == steward.task.items[2].bbox_xyxy_px


def test_a_relabelled_box_that_is_rejected_is_rejected(steward: Steward) -> None:
    steward.box(0)["value"]["rectanglelabels"] = ["harbor"]
    steward.choose(0, "reject")
    assert [v.action for v in read(steward)] == [REJECT]


def test_unsure_decides_nothing_even_where_the_rest_is_right(steward: Steward) -> None:
    steward.choose(0, "unsure")
    steward.box(0)["value"]["rectanglelabels"] = ["harbor"]
    steward.rest("rest-accept")
    assert steward.task.items[0].region_id not in {v.region_id for v in read(steward)}


def test_relabel_by_digit_search_or_a_new_name(steward: Steward) -> None:
    steward.box(0)["value"]["rectanglelabels"] = ["harbor"]
    items = steward.task.items
    steward.say(items[1].region_id, "other", {"taxonomy": [["vehicle"]]})
    steward.say(items[2].region_id, "other", {"taxonomy": [["vehicle"]]})
    steward.say(items[2].region_id, "newname", {"text": ["  School   Buses "]})
    assert [v.category for v in read_with(steward, "School-Bus")][2] == "School-Bus"
    assert [(v.action, v.category) for v in read(steward)] == [
        (RELABEL, "harbor"),
        (RELABEL, "vehicle"),
        (RELABEL, "school bus"),
    ]


def test_naming_a_box_what_it_was_named_is_no_relabel(steward: Steward) -> None:
    item = steward.task.items[0]
    steward.say(item.region_id, "other", {"taxonomy": [[item.category]]})
    steward.rest("rest-accept")
    assert read(steward)[0].action is ACCEPT


def test_a_moved_box_is_adjusted_and_a_nudge_below_a_pixel_is_not(steward: Steward) -> None:
    moved = to_percent((200, 170, 300, 250), steward.task.tile.window_px)
    steward.box(0)["value"].update(moved)
    steward.box(1)["value"]["x"] += 0.05
    verdicts = read(steward)
    assert [(v.action, v.bbox_xyxy_px) for v in verdicts] == [(ADJUST, (200, 170, 300, 250))]
    assert verdicts[0].category == steward.task.items[0].category


def test_relabelled_and_moved_keeps_both(steward: Steward) -> None:
    steward.box(0)["value"].update(to_percent((200, 170, 300, 250), steward.task.tile.window_px))
    steward.box(0)["value"]["rectanglelabels"] = ["harbor"]
    (verdict,) = read(steward)
    assert (verdict.action, verdict.category) == (RELABEL, "harbor")
    assert verdict.bbox_xyxy_px == (200, 170, 300, 250)


def draw(steward: Steward, result_id: str, box: tuple[int, int, int, int], name: str) -> None:
    value = {
        **to_percent(box, steward.task.tile.window_px),
        "rotation": 0,
        "rectanglelabels": [name],
    }
    steward.say(result_id, "box", value)


def test_a_drawn_box_is_added_once_with_an_id_of_its_content(steward: Steward) -> None:
    box = (400, 400, 440, 430)
    draw(steward, "new-1", box, "ship")
    draw(steward, "new-2", box, "ship")
    (verdict,) = read(steward)
    tile_id = steward.task.tile.tile_id
    assert (verdict.action, verdict.category, verdict.bbox_xyxy_px) == (ADD, "ship", box)
    assert verdict.region_id == added_region_id(tile_id, box, "ship")
    assert len(verdict.region_id) == 16 and verdict.task_key == steward.task.key


def test_a_drawn_box_without_area_or_rejected_is_none(steward: Steward) -> None:
    draw(steward, "new-1", (400, 400, 400, 430), "ship")
    draw(steward, "new-2", (400, 400, 440, 430), "ship")
    steward.say("new-2", "verdict", {"choices": ["reject"]})
    assert read(steward) == []


def test_outlines_and_context_add_nothing(steward: Steward) -> None:
    context = steward.task.context[0].region_id
    draw(steward, CONTEXT_PREFIX + context, (400, 400, 440, 430), "ship")
    assert read(steward) == []


def test_a_key_pressed_on_an_outline_leaves_its_box_undecided(steward: Steward) -> None:
    marked = steward.task.items[0].region_id
    steward.say(MASK_PREFIX + marked, "verdict", {"choices": ["reject"]})
    steward.rest("rest-accept")
    assert marked not in {v.region_id for v in read(steward)}
    steward.choose(0, "accept")
    assert marked in {v.region_id for v in read(steward)}


def test_label_studios_own_marks_are_not_trusted(steward: Steward) -> None:
    for result in steward.results:
        result["origin"] = "prediction-changed"
    steward.rest("rest-accept")
    assert {v.action for v in read(steward, minute=1)} == {ACCEPT}


def test_a_skipped_task_decides_nothing(steward: Steward) -> None:
    steward.rest("rest-accept")
    assert read(steward, skipped=True) == []


def test_an_annotation_that_does_not_start_from_our_boxes_is_rejected(steward: Steward) -> None:
    steward.results.clear()
    draw(steward, "new-1", (400, 400, 440, 430), "ship")
    steward.rest("rest-accept")
    answer = read_verdicts(steward.submit(), steward.task.items)
    assert isinstance(answer, Rejection) and answer.reason == "blank annotation"


def test_all_boxes_deleted_is_no_blank_annotation(steward: Steward) -> None:
    for number in range(len(steward.task.items)):
        steward.delete(number)
    assert {v.action for v in read(steward)} == {REJECT}


@pytest.mark.parametrize(
    "broken",
    [
        {"id": "a", "from_name": "box", "value": {"x": 1}},
        {"id": "a", "from_name": "box"},
        {"value": {}},
        {"id": "a", "from_name": "newname", "value": {"text": [None]}},
        {"id": "a", "from_name": "other", "value": {"taxonomy": ["ship"]}},
        {
            "id": "a",
            "from_name": "box",
            "value": {"x": 1, "y": 1, "width": 1, "height": 1, "rotation": "90"},
        },
        *(
            {
                "id": "a",
                "from_name": "box",
                "value": {"x": x, "y": 1, "width": 1, "height": 1},
            }
            for x in ("10", True, 1e308, float("inf"), float("nan"), None)
        ),
    ],
)
def test_a_malformed_result_rejects_the_annotation(
    steward: Steward, broken: dict[str, Any]
) -> None:
    steward.results.append(broken)
    answer = read_verdicts(steward.submit(), steward.task.items)
    assert isinstance(answer, Rejection) and answer.reason == "malformed result"


def test_a_vocabulary_that_is_respelled_relabels_nothing(steward: Steward) -> None:
    names = dict.fromkeys(item.category.title() for item in steward.task.items)
    vocabulary = Vocabulary.model_validate(list(names))
    steward.rest("rest-unchecked")
    assert read_verdicts(steward.submit(), steward.task.items, vocabulary) == []


def test_an_arrow_between_two_boxes_says_nothing(steward: Steward) -> None:
    steward.rest("rest-accept")
    before = read(steward)
    ids = [item.region_id for item in steward.task.items[:2]]
    arrow = {"type": "relation", "from_id": ids[0], "to_id": ids[1], "direction": "right"}
    steward.results.append(arrow)
    assert read(steward) == before


def test_the_same_annotation_has_the_same_ids_and_an_edit_has_others(steward: Steward) -> None:
    steward.rest("rest-accept")
    ids = {v.verdict_id for v in read(steward)}
    assert ids == {v.verdict_id for v in read(steward)}
    assert not ids & {v.verdict_id for v in read(steward, minute=1)}


def test_fold_keeps_the_latest_in_any_order(steward: Steward) -> None:
    steward.rest("rest-accept")
    early = read(steward, minute=1)
    steward.choose(0, "reject")
    late = read(steward, number=2, minute=2, annotator="bob@example.org")
    folded = fold_verdicts([*late, *early])
    assert folded == fold_verdicts([*early, *late])
    assert folded[steward.task.items[0].region_id].action is REJECT
    assert len(folded) == len(steward.task.items)
    assert list(folded) == sorted(folded)


def test_of_several_stewards_most_have_the_say(steward: Steward) -> None:
    steward.choose(0, "reject")
    one = read(steward)[0]
    accepted = one.model_copy(update={"action": VerdictAction.ACCEPT, "category": "ship"})

    def said(verdict: Verdict, who: str, at: int) -> Verdict:
        return verdict.model_copy(
            update={
                "verdict_id": f"{who}{at}",
                "annotator": who,
                "annotation_id": ord(who[0]),
                "decided_at": f"2026-01-01T00:00:{at:02d}Z",
            }
        )

    history = [said(accepted, "anna", 1), said(accepted, "bo", 2), said(one, "cy", 3)]
    assert fold_verdicts(history)[one.region_id].verdict_id == "bo2"
    # As many say one thing as another: the latest holds.
    assert fold_verdicts(history[1:])[one.region_id].verdict_id == "cy3"
    # Bo has thought again; only the last word of each counts.
    again = [*history, said(one, "bo", 4)]
    assert fold_verdicts(again)[one.region_id].verdict_id == "bo4"
    assert fold_verdicts(again[::-1]) == fold_verdicts(again)


def test_an_edited_annotation_replaces_its_former_version_whole(steward: Steward) -> None:
    draw(steward, "new-1", (400, 400, 440, 430), "ship")
    steward.choose(0, "reject")
    before = read(steward, minute=1)
    steward.results = [r for r in steward.results if r["id"] != "new-1"]
    draw(steward, "new-1", (400, 400, 450, 430), "ship")
    after = read(steward, minute=2)
    added = [v for v in fold_verdicts([*before, *after]).values() if v.action is ADD]
    assert [v.bbox_xyxy_px for v in added] == [(400, 400, 450, 430)]


def test_a_verdict_that_is_taken_back_holds_no_longer(steward: Steward) -> None:
    steward.rest("rest-accept")
    first = read(steward, minute=1)
    steward.choose(0, "unsure")
    second = read(steward, minute=2)
    undecided = steward.task.items[0].region_id
    back = withdrawn(first, {v.region_id for v in second}, second[0].decided_at)
    assert [(v.region_id, v.action, v.category) for v in back] == [(undecided, WITHDRAW, None)]
    history = [*first, *second, *back]
    assert undecided not in fold_verdicts(history)
    assert len(fold_verdicts(history)) == len(first) - 1
    other = read(steward, number=2, minute=0)
    assert set(fold_verdicts([*other, *back, *first])) == {v.region_id for v in other}


def test_what_a_deleted_annotation_decided_is_gone(steward: Steward) -> None:
    steward.rest("rest-accept")
    held = [*read(steward, minute=1), *read(steward, number=2, minute=2)]
    left = steward.submit(number=2, minute=2)

    def task(updated_at: str) -> ChangedTask:
        return ChangedTask(1, steward.task.key, left.task_created_at, updated_at, (left,))

    gone = deleted_annotations(task("2026-11-23T06:00:00.000000+00:00"), held)
    assert set(gone) == {1} and len(gone[1]) == len(steward.task.items)
    back = withdrawn(gone[1], (), "2026-11-23T06:00:00.000000+00:00")
    assert {v.annotation_id for v in current_verdicts([*held, *back])} == {2}
    # A server that was set back has not deleted anything.
    assert deleted_annotations(task("2026-11-23T05:00:30.000000+00:00"), held) == {}


def test_annotations_of_the_same_number_on_another_server_are_others(steward: Steward) -> None:
    steward.rest("rest-accept")
    old = read(steward, minute=1)
    steward.choose(0, "unsure")
    new = read(steward, minute=2, task_created_at="2026-11-23T05:01:30.000000+00:00")
    assert len(new) == len(old) - 1
    assert len(fold_verdicts([*old, *new])) == len(old)
