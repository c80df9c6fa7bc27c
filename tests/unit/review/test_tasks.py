import json

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface

from lae_tasks.contracts import Decision, Outcome
from lae_tasks.geometry import decode_mask, mask_in_window
from lae_tasks.review.boxes import from_percent
from lae_tasks.review.label_config import CONTEXT_PREFIX, MASK_PREFIX, label_config
from lae_tasks.review.tasks import (
    build_tasks,
    regions_to_review,
    task_key,
    unfit,
    vocabulary,
)
from lae_tasks.state import State
from tests.review_world import make_state

STORE = "s3://lae/store"
NIGHT = "2026-11-23"


@pytest.fixture(scope="module")
def state() -> State:
    return make_state()


def test_what_is_in_doubt_and_the_audit_goes_out_and_nothing_else(state: State) -> None:
    (task,) = build_tasks(state, STORE, NIGHT)
    sent = {item.region_id for item in task.items}
    assert sent == {
        d.region_id
        for d in state.decisions.values()
        if d.outcome is Outcome.REVIEW or (d.outcome is Outcome.ACCEPT and d.in_audit)
    }
    assert any(d.in_audit for d in task.decisions)
    rest = {r.region_id for r in task.context}
    assert rest and not rest & sent


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
    here, beside = sorted(build_tasks(two, STORE, NIGHT), key=lambda task: task.tile.window_px)
    assert [item.region_id for item in beside.items] == [moved.region_id]
    assert moved.region_id in {region.region_id for region in here.context}
    visible = {
        region.region_id
        for region in state.regions.values()
        if region.bbox_xyxy_px[2] > x + 64 and region.region_id != moved.region_id
    }
    assert {region.region_id for region in beside.context} == visible
    for result in beside.payload()["predictions"][0]["result"]:
        if result["id"].startswith(CONTEXT_PREFIX):
            assert result["value"]["x"] >= 0 and result["value"]["width"] > 0


def test_the_audit_cannot_be_told_from_the_rest(state: State) -> None:
    (task,) = build_tasks(state, STORE, NIGHT)
    results = task.payload()["predictions"][0]["result"]
    boxes = [r for r in results if r["from_name"] == "box"]
    assert len({tuple(sorted(r)) for r in boxes}) == 1, "all have the same fields"
    assert not any("score" in r or "meta" in r for r in boxes)
    corners = [(r["value"]["y"], r["value"]["x"]) for r in boxes]
    assert corners == sorted(corners), "the order is that of reading, not of confidence"


def test_boxes_and_masks_are_where_the_regions_are(state: State) -> None:
    (task,) = build_tasks(state, STORE, NIGHT)
    results = {r["id"]: r for r in task.payload()["predictions"][0]["result"]}
    for item, region in zip(task.items, task.regions, strict=True):
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
    for region in task.context:
        assert results[CONTEXT_PREFIX + region.region_id]["readonly"]


def _pixels(result: dict, window_px: tuple[int, int, int, int]) -> np.ndarray:
    _, _, width, height = window_px
    return decode_rle(result["value"]["rle"]).reshape(height, width, 4)[..., 3] > 0


def test_label_studio_accepts_the_config_and_the_prediction(state: State) -> None:
    interface = LabelInterface(label_config(f"{STORE}/review/vocabulary.json"))
    interface.validate()
    (task,) = build_tasks(state, STORE, NIGHT)
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
    (task,) = build_tasks(state, STORE, NIGHT)
    data = task.payload()["data"]
    assert data["image"] == f"{STORE}/{task.tile.image_key}"
    assert task.tile.raw_key in data["title"] and NIGHT in data["title"]
    assert data["lae_key"] == task.key == task_key(task.tile.tile_id, task.items)


def test_the_key_knows_the_boxes_and_their_names_not_their_order(state: State) -> None:
    (task,) = build_tasks(state, STORE, NIGHT)
    first, *others = task.items
    assert task_key("t", task.items) == task_key("t", reversed(task.items))
    renamed = first.model_copy(update={"category": "harbor"})
    assert len({task_key("t", i) for i in (task.items, others, [renamed, *others])}) == 3


def test_a_region_without_a_name_is_sent_with_its_best_candidate(state: State) -> None:
    nameless = _with(state, category=None, candidates=("ship", "harbor"))
    (task,) = build_tasks(nameless, STORE, NIGHT)
    assert "ship" in {item.category for item in task.items}


def test_what_cannot_be_shown_is_left_out_with_a_reason(state: State) -> None:
    nameless = _with(state, category=None, candidates=())
    (changed,) = (d for d in regions_to_review(nameless).values() if d.category is None)
    assert unfit(changed, nameless) == "no category"
    (task,) = build_tasks(nameless, STORE, NIGHT)
    assert changed.region_id not in {item.region_id for item in task.items}
    lost = State(tiles=state.tiles, decisions=state.decisions)
    assert {unfit(d, lost) for d in lost.decisions.values()} == {"no region"}
    assert list(build_tasks(lost, STORE, NIGHT)) == []


def _with(state: State, **update: object) -> State:
    """The state with one region to review decided otherwise."""
    region_id, decision = next(iter(regions_to_review(state).items()))
    changed: Decision = decision.model_copy(update=update)
    return State(
        tiles=state.tiles,
        regions=state.regions,
        decisions=state.decisions | {region_id: changed},
    )


def test_the_vocabulary_holds_every_name_once_and_sorted(state: State) -> None:
    names = vocabulary(state, ["zebra crossing", "ship"])
    assert names == sorted(set(names))
    assert {"zebra crossing", "ship"} <= set(names)
    assert {d.category for d in state.decisions.values()} <= set(names)
