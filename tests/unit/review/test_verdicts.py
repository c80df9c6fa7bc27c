"""What is read from one annotation of a steward."""

from typing import Any

import pytest

from lae_tasks.accounts import Rejection
from lae_tasks.contracts import TileCheck, Verdict, VerdictAction
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.review.boxes import to_percent
from lae_tasks.review.label_config import CONTEXT_PREFIX, MASK_PREFIX
from lae_tasks.review.verdicts import (
    added_region_id,
    current_verdicts,
    fold_verdicts,
    read_verdicts,
    withdrawn,
)
from tests.unit.review.conftest import Steward, decided, draw, read, read_all

ACCEPT, RELABEL, ADJUST, REJECT, ADD, CHECK, UNDECIDED, WITHDRAW = VerdictAction


def read_with(steward: Steward, *vocabulary: str) -> list[Verdict]:
    known = Vocabulary.model_validate(vocabulary)
    return decided(read_verdicts(steward.submit(), steward.task.items, known))


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
    others = [v.region_id for v in read_all(steward) if v.action is UNDECIDED]
    assert len(others) == len(steward.task.items) - 1


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


def test_unsure_is_undecided_even_where_the_rest_is_right(steward: Steward) -> None:
    steward.choose(0, "unsure")
    steward.box(0)["value"]["rectanglelabels"] = ["harbor"]
    steward.rest("rest-accept")
    first, *others = read_all(steward)
    item = steward.task.items[0]
    assert (first.region_id, first.action, first.category) == (item.region_id, UNDECIDED, None)
    assert first.bbox_xyxy_px == item.bbox_xyxy_px
    assert {verdict.action for verdict in others} == {ACCEPT}
    assert item.region_id not in fold_verdicts([first, *others])


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
    context = next(iter(steward.task.context))
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
    assert decided(read_verdicts(steward.submit(), steward.task.items, vocabulary)) == []


def test_an_arrow_between_two_boxes_says_nothing(steward: Steward) -> None:
    steward.rest("rest-accept")
    before = read(steward)
    ids = [item.region_id for item in steward.task.items[:2]]
    arrow = {"type": "relation", "from_id": ids[0], "to_id": ids[1], "direction": "right"}
    steward.results.append(arrow)
    assert read(steward) == before


def a_check(steward: Steward) -> TileCheck:
    tile = steward.task.tile
    return TileCheck(
        task_key=steward.task.key,
        tile_id=tile.tile_id,
        scene_id=tile.scene_id,
        window_px=tile.window_px,
    )


def test_a_tile_that_was_looked_over_has_a_verdict_beside_those_of_its_boxes(
    steward: Steward,
) -> None:
    check, items = a_check(steward), steward.task.items
    steward.rest("rest-accept")
    *of_boxes, of_tile = read_verdicts(steward.submit(), items, check=check)
    assert [v.action for v in of_boxes] == [ACCEPT] * len(items)
    assert (of_tile.action, of_tile.region_id, of_tile.category) == (CHECK, check.tile_id, None)
    x, y, width, height = check.window_px
    assert of_tile.bbox_xyxy_px == (x, y, x + width, y + height)
    assert of_tile.region_id not in fold_verdicts([*of_boxes, of_tile])
    (taken_back,) = withdrawn([of_tile], (), "2026-11-23T06:00:00.000000+00:00")
    assert taken_back.action is WITHDRAW
    assert current_verdicts([of_tile, taken_back]) == []
    assert fold_verdicts([of_tile, taken_back]) == {}


def test_a_tile_that_was_not_looked_over_has_none(steward: Steward) -> None:
    steward.rest("rest-unchecked")
    said = read_verdicts(steward.submit(), steward.task.items, check=a_check(steward))
    assert decided(said) == []


def test_a_checked_tile_without_a_box_is_no_blank_annotation(steward: Steward) -> None:
    steward.results = []
    steward.rest("rest-accept")
    box = {"x": 10, "y": 10, "width": 5, "height": 5, "rotation": 0, "rectanglelabels": ["ship"]}
    steward.say("drawn", "box", box)
    added, checked = read_verdicts(steward.submit(), [], check=a_check(steward))
    assert (added.action, added.category, added.tile_id) == (ADD, "ship", checked.tile_id)
    assert checked.action is CHECK
    assert read_verdicts(steward.submit(skipped=True), [], check=a_check(steward)) == []
