import json
from dataclasses import replace

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface

from lae_tasks.contracts import (
    BoxPx,
    Decision,
    Outcome,
    Purpose,
    ReviewItem,
    TileCheck,
    Verdict,
    VerdictAction,
)
from lae_tasks.geometry import decode_mask, mask_in_window
from lae_tasks.review.boxes import from_percent
from lae_tasks.review.label_config import CONTEXT_PREFIX, MASK_PREFIX, label_config
from lae_tasks.review.tasks import (
    CHECK_TITLE,
    boxes_to_check,
    build_tasks,
    items_for,
    task_key,
    unfit,
)
from lae_tasks.state import State
from tests.review_world import asked, make_state, tasks_of
from tests.unit.review.test_second_looks import says

STORE = "s3://lae/store"
NIGHT = "2026-11-23"


@pytest.fixture(scope="module")
def state() -> State:
    return make_state()


def test_what_is_in_doubt_and_the_audit_goes_out_and_nothing_else(state: State) -> None:
    (task,) = tasks_of(state, STORE, NIGHT)
    sent = {item.region_id for item in task.items}
    assert sent == {
        d.region_id
        for d in state.decisions.values()
        if d.outcome is Outcome.REVIEW or (d.outcome is Outcome.ACCEPT and d.in_audit)
    }
    assert any(d.in_audit for d in task.decisions)
    assert task.context and not task.context.keys() & sent


def test_a_tile_shows_in_grey_what_other_tiles_decide_or_ask(state: State) -> None:
    # A second tile, a little to the right, that has a single region of its own.
    (tile,) = state.tiles.values()
    x, y, width, height = tile.window_px
    right = tile.model_copy(update={"tile_id": "right", "window_px": (x + 64, y, width, height)})
    moved = next(
        region
        for region in state.regions.values()
        if state.decisions[region.region_id].outcome is Outcome.REVIEW
        and region.bbox_xyxy_px[0] >= x + 64
    )
    there = {moved.region_id: moved.model_copy(update={"tile_id": "right"})}
    decided = state.decisions[moved.region_id].model_copy(update={"tile_id": "right"})
    two = State(
        tiles=state.tiles | {"right": right},
        regions=state.regions | there,
        decisions=state.decisions | {moved.region_id: decided},
    )
    here, beside = sorted(tasks_of(two, STORE, NIGHT), key=lambda task: task.tile.window_px)
    assert [item.region_id for item in beside.items] == [moved.region_id]
    assert moved.region_id in here.context
    visible = {
        region.region_id
        for region in state.regions.values()
        if region.bbox_xyxy_px[2] > x + 64 and region.region_id != moved.region_id
    }
    assert beside.context.keys() == visible
    for result in beside.payload()["predictions"][0]["result"]:
        if result["id"].startswith(CONTEXT_PREFIX):
            assert result["value"]["x"] >= 0 and result["value"]["width"] > 0


def test_the_audit_cannot_be_told_from_the_rest(state: State) -> None:
    (task,) = tasks_of(state, STORE, NIGHT)
    results = task.payload()["predictions"][0]["result"]
    boxes = [r for r in results if r["from_name"] == "box"]
    assert len({tuple(sorted(r)) for r in boxes}) == 1, "all have the same fields"
    assert not any("score" in r or "meta" in r for r in boxes)
    corners = [(r["value"]["y"], r["value"]["x"]) for r in boxes]
    assert corners == sorted(corners), "the order is that of reading, not of confidence"


def test_what_is_worth_most_is_served_first_and_what_was_drawn_early(state: State) -> None:
    def score(purpose: Purpose, priority: float) -> float:
        worth = {"priority": priority}
        valued = {i: each.model_copy(update=worth) for i, each in state.decisions.items()}
        here = State(tiles=state.tiles, regions=state.regions, decisions=valued)
        (task,) = tasks_of(here, STORE, NIGHT, asked(here, purpose))
        return float(task.payload()["predictions"][0]["score"])

    assert score(Purpose.DOUBT, 0.9) == pytest.approx(0.1)
    assert score(Purpose.DOUBT, 0.2) == pytest.approx(0.8)
    assert score(Purpose.DRAWN, 0.9) == score(Purpose.DRAWN, 0.2) < 0.5


def test_boxes_and_masks_are_where_the_regions_are(state: State) -> None:
    (task,) = tasks_of(state, STORE, NIGHT)
    results = {r["id"]: r for r in task.payload()["predictions"][0]["result"]}
    for item in task.items:
        region = task.regions[item.region_id]
        box = results[item.region_id]["value"]
        assert from_percent(box, task.tile.window_px) == region.bbox_xyxy_px == item.bbox_xyxy_px
        outline = _pixels(results[MASK_PREFIX + region.region_id], task.tile.window_px)
        mask = decode_mask(region.mask_rle, region.bbox_xyxy_px)
        placed = mask_in_window(mask, region.bbox_xyxy_px, task.tile.window_px)
        assert outline.any() and not (outline & placed).any(), "nothing of the object is hidden"
        near = np.argwhere(outline)
        x, y = task.tile.window_px[:2]
        x0, y0, x1, y1 = region.bbox_xyxy_px
        assert (near.min(0) >= (y0 - y - 2, x0 - x - 2)).all()
        assert (near.max(0) <= (y1 - y + 1, x1 - x + 1)).all()
    for region_id in task.context:
        assert results[CONTEXT_PREFIX + region_id]["readonly"]


def _pixels(result: dict, window_px: tuple[int, int, int, int]) -> np.ndarray:
    _, _, width, height = window_px
    return decode_rle(result["value"]["rle"]).reshape(height, width, 4)[..., 3] > 0


def test_label_studio_accepts_the_config_and_the_prediction(state: State) -> None:
    interface = LabelInterface(label_config(f"{STORE}/review/vocabulary.json"))
    interface.validate()
    (task,) = tasks_of(state, STORE, NIGHT)
    payload = task.payload()
    json.dumps(payload)
    for prediction in payload["predictions"]:
        # The labels of a tile are its task's own data, which this check does not look into.
        known = [r for r in prediction["result"] if r["from_name"] != "box"]
        errors = interface.validate_prediction(prediction | {"result": known}, return_errors=True)
        assert errors == []


def test_the_config_names_the_vocabulary() -> None:
    xml = label_config('s3://lae/a&b"c/vocabulary.json')
    assert "a&amp;b" in xml and "$vocabulary_uri" not in xml


def test_the_task_shows_where_it_comes_from(state: State) -> None:
    (task,) = tasks_of(state, STORE, NIGHT)
    data = task.payload()["data"]
    assert data["image"] == f"{STORE}/{task.tile.image_key}"
    assert task.tile.raw_key in data["title"] and NIGHT in data["title"]
    assert data["lae_key"] == task.key == task_key(task.tile.tile_id, task.items)


def test_the_key_knows_the_boxes_and_their_names_not_their_order(state: State) -> None:
    (task,) = tasks_of(state, STORE, NIGHT)
    first, *others = task.items
    assert task_key("t", task.items) == task_key("t", reversed(task.items))
    renamed = first.model_copy(update={"category": "harbor"})
    assert len({task_key("t", i) for i in (task.items, others, [renamed, *others])}) == 3


def test_a_region_without_a_name_is_sent_with_its_best_candidate(state: State) -> None:
    nameless = _with(state, category=None, candidates=("ship", "harbor"))
    (task,) = tasks_of(nameless, STORE, NIGHT)
    assert "ship" in {item.category for item in task.items}


def test_what_cannot_be_shown_has_a_reason(state: State) -> None:
    nameless = _with(state, category=None, candidates=())
    (changed,) = (d for d in nameless.decisions.values() if d.category is None)
    assert unfit(changed, nameless) == "no category"
    lost = State(tiles=state.tiles, decisions=state.decisions)
    assert {unfit(d, lost) for d in lost.decisions.values()} == {"no region"}


def _with(state: State, **update: object) -> State:
    """The state with one region to review decided otherwise."""
    region_id, decision = next(
        (i, d) for i, d in state.decisions.items() if d.outcome is Outcome.REVIEW
    )
    changed: Decision = decision.model_copy(update=update)
    return State(
        scenes=state.scenes,
        tiles=state.tiles,
        regions=state.regions,
        decisions=state.decisions | {region_id: changed},
    )


def test_tasks_of_any_purpose_look_the_same_and_differ_in_their_keys(state: State) -> None:
    (doubt,), (drawn,) = (
        tasks_of(state, STORE, NIGHT, asked(state, purpose))
        for purpose in (Purpose.DOUBT, Purpose.DRAWN)
    )
    one, other = doubt.payload(), drawn.payload()
    assert one["data"].pop("lae_key") != other["data"].pop("lae_key")
    for payload in (one, other):
        payload["predictions"][0].pop("score")  # by it Label Studio orders tasks
    assert one == other


def test_a_region_that_is_gone_is_left_out_of_what_was_filed(state: State) -> None:
    filed = asked(state)
    gone = filed[0].region_id
    regions = {i: region for i, region in state.regions.items() if i != gone}
    later = State(tiles=state.tiles, regions=regions, decisions=state.decisions)
    (task,) = tasks_of(later, STORE, NIGHT, filed)
    assert task.key == filed[0].task_key
    assert [item.region_id for item in task.items] == [item.region_id for item in filed[1:]]
    assert task.payload()["data"]["lae_left_out"] == [gone]
    assert "lae_left_out" not in next(tasks_of(state, STORE, NIGHT, filed)).payload()["data"]
    assert not list(tasks_of(State(tiles=state.tiles), STORE, NIGHT, filed))
    assert not list(tasks_of(State(regions=regions), STORE, NIGHT, filed)), "the tile is gone"


def test_what_was_filed_is_sent_with_its_name_though_the_decision_is_another(state: State) -> None:
    filed = asked(state)
    renamed = {i: d.model_copy(update={"category": "x"}) for i, d in state.decisions.items()}
    later = State(tiles=state.tiles, regions=state.regions, decisions=renamed)
    (task,) = tasks_of(later, STORE, NIGHT, filed)
    assert task.items == tuple(filed)


def test_what_waits_or_is_in_another_task_is_grey(state: State) -> None:
    first, *others = asked(state)
    (task,) = tasks_of(state, STORE, NIGHT, [first])
    assert {item.region_id for item in others} <= task.context.keys()


def test_what_stewards_have_left_is_grey_as_they_left_it(state: State) -> None:
    first, second, third, fourth, *others = asked(state)
    x, y, width, _ = first.window_px
    whole = state.regions[fourth.region_id].bbox_xyxy_px
    beyond = (whole[0], whole[1], x + width + 40, whole[3])
    regions = {
        fourth.region_id: state.regions[fourth.region_id].model_copy(
            update={"bbox_xyxy_px": beyond}
        )
    }
    at_border = fourth.model_copy(update={"bbox_xyxy_px": (*beyond[:2], x + width, beyond[3])})
    moved, drawn = (x + 5, y + 5, x + 30, y + 30), (x + 40, y + 5, x + 60, y + 30)
    said = [
        _says(second, VerdictAction.ADJUST, moved),
        _says(third, VerdictAction.REJECT, third.bbox_xyxy_px),
        _says(at_border, VerdictAction.ACCEPT, at_border.bbox_xyxy_px),
        _says(first, VerdictAction.ADD, drawn).model_copy(update={"region_id": "drawn"}),
    ]
    later = State(
        tiles=state.tiles,
        regions=state.regions | regions,
        decisions=state.decisions,
        review_items={item.record_id: item for item in (second, third, at_border, *others)},
        verdicts={verdict.verdict_id: verdict for verdict in said},
    )
    (task,) = tasks_of(later, STORE, NIGHT, [first])
    assert (task.context[second.region_id], task.context["drawn"]) == (moved, drawn)
    assert third.region_id not in task.context
    assert task.context[fourth.region_id] == beyond, "another tile shows the rest of it"
    gone = {i: region for i, region in later.regions.items() if i != second.region_id}
    (task,) = tasks_of(replace(later, regions=gone), STORE, NIGHT, [first])
    assert second.region_id not in task.context and "drawn" in task.context


def _says(item: ReviewItem, action: VerdictAction, box: BoxPx) -> Verdict:
    return says(
        "ada",
        action,
        region_id=item.region_id,
        tile_id=item.tile_id,
        scene_id=item.scene_id,
        task_key=item.task_key,
        verdict_id=f"{item.region_id}-{action}",
        bbox_xyxy_px=box,
    )


def test_a_check_shows_what_is_accepted_or_in_doubt(state: State) -> None:
    (tile_id,) = state.tiles
    rejected = _with(state, outcome=Outcome.REJECT)
    (out,) = (i for i, d in rejected.decisions.items() if d.outcome is Outcome.REJECT)
    shown = boxes_to_check(rejected, [tile_id])[tile_id]
    assert {d.region_id for d in shown} == set(state.regions) - {out}
    items = items_for(rejected, shown, Purpose.CHECK, 1)
    check = _check(state, items)
    (task,) = build_tasks(rejected, items, [check], STORE, NIGHT)
    assert len(task.items) == len(shown) and not task.context
    assert CHECK_TITLE in task.payload()["data"]["title"]


def test_a_tile_without_a_box_is_checked_with_the_names_of_its_night(state: State) -> None:
    check = _check(state, [])
    nothing = State(tiles=state.tiles)
    (bare,) = build_tasks(nothing, [], [check], STORE, NIGHT)
    assert (bare.key, bare.items, bare.labels) == (check.task_key, (), [])
    rejected = {
        i: d.model_copy(update={"outcome": Outcome.REJECT}) for i, d in state.decisions.items()
    }
    night = State(tiles=state.tiles, regions=state.regions, decisions=rejected)
    (task,) = build_tasks(night, [], [check], STORE, NIGHT, ["zebra crossing"])
    assert "zebra crossing" in {label["value"] for label in task.labels}
    assert len(task.labels) > 1
    assert task.payload()["predictions"][0]["result"] == []


def test_names_that_were_only_rejected_are_offered_where_there_are_no_others(state: State) -> None:
    nonsense = _with(state, outcome=Outcome.REJECT, category="nonsense", candidates=())
    (task,) = build_tasks(nonsense, [], [_check(state, [])], STORE, NIGHT)
    offered = {label["value"] for label in task.labels}
    assert offered and "nonsense" not in offered


def _check(state: State, items: list[ReviewItem]) -> TileCheck:
    (tile,) = state.tiles.values()
    return TileCheck(
        task_key=task_key(tile.tile_id, items),
        tile_id=tile.tile_id,
        scene_id=tile.scene_id,
        window_px=tile.window_px,
    )
