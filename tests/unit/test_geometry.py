"""Geometry: windows cover, masks round-trip, suppression is right and independent of order."""

import random
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tasks.contracts import BoxPx
from lae_tasks.geometry import (
    box_overlap,
    decode_mask,
    encode_mask,
    largest_part,
    mask_bbox,
    mask_in_window,
    suppress_duplicates,
    tile_windows,
)

side = st.integers(1, 300)


@given(side, side, st.integers(8, 64), st.integers(0, 7))
def test_windows_cover_the_scene_and_stay_inside(
    width: int, height: int, size: int, overlap: int
) -> None:
    covered = np.zeros((height, width), dtype=int)
    windows = list(tile_windows(width, height, size, overlap))
    for x, y, w, h in windows:
        assert (w, h) == (min(size, width), min(size, height))
        assert 0 <= x <= width - w
        assert 0 <= y <= height - h
        covered[y : y + h, x : x + w] += 1
    assert covered.min() >= 1
    assert len(set(windows)) == len(windows)


def test_the_last_window_slides_inward() -> None:
    assert [x for x, *_ in tile_windows(1000, 100, 400, 100)] == [0, 300, 600]
    assert [x for x, *_ in tile_windows(1001, 100, 400, 100)] == [0, 300, 600, 601]


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_masks_survive_rle(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    box = (3, 4, 3 + width, 4 + height)
    assert (decode_mask(encode_mask(mask), box) == mask).all()


def test_a_mask_is_placed_and_clipped() -> None:
    mask = np.ones((4, 6), dtype=bool)
    placed = mask_in_window(mask, (8, 8, 14, 12), (10, 0, 10, 10))
    assert placed.shape == (10, 10)
    assert mask_bbox(placed) == (0, 8, 4, 10)
    assert not mask_in_window(mask, (8, 8, 14, 12), (50, 50, 5, 5)).any()


def test_iou_of_known_boxes() -> None:
    box = np.array([0.0, 0, 10, 10])
    others = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]])
    assert box_overlap(box, others) == pytest.approx([1.0, 50 / 150, 0.0])


def test_suppression_keeps_the_best_of_each_cluster() -> None:
    boxes = [(0, 0, 10, 10), (1, 0, 11, 10), (50, 50, 60, 60), (0, 1, 10, 11)]
    assert suppress_duplicates(boxes, [0.5, 0.9, 0.1, 0.7], 0.5) == [1, 2]


def test_suppression_compares_xyxy_not_xywh() -> None:
    # As xywh, the first box would reach to (60, 60) and swallow the second.
    assert suppress_duplicates([(20, 20, 40, 40), (42, 42, 60, 60)], [0.9, 0.8], 0.1) == [0, 1]


@given(st.permutations(list(range(12))))
def test_suppression_does_not_depend_on_order(order: list[int]) -> None:
    draw = random.Random(3)
    boxes = []
    for _ in range(12):
        x, y = draw.randrange(20), draw.randrange(20)
        boxes.append((x, y, x + 12, y + 12))
    scores = [round(draw.random(), 1) for _ in boxes]
    kept = {boxes[i] for i in suppress_duplicates(boxes, scores, 0.3)}
    shuffled = [boxes[i] for i in order]
    again = suppress_duplicates(shuffled, [scores[i] for i in order], 0.3)
    assert {shuffled[i] for i in again} == kept


def suppress_one_by_one(
    boxes: list[BoxPx], scores: list[float], threshold: float, measure: Any
) -> list[int]:
    """The definition, box against box."""
    ranking = sorted(range(len(boxes)), key=lambda i: (-scores[i], boxes[i]))
    rows = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    kept: list[int] = []
    for index in ranking:
        if not kept or box_overlap(rows[index], rows[kept], measure).max() <= threshold:
            kept.append(index)
    return kept


@given(st.integers(0, 2**32 - 1), st.sampled_from(["iou", "containment"]), st.integers(0, 60))
def test_suppression_is_what_it_is_defined_as(seed: int, measure: Any, count: int) -> None:
    draw = random.Random(seed)
    boxes, scores = [], []
    for _ in range(count):
        x, y = draw.randrange(40), draw.randrange(40)
        boxes.append((x, y, x + draw.choice((1, 9, 12, 60)), y + draw.choice((1, 9, 12))))
        scores.append(round(draw.random(), 1))
    threshold = draw.choice((0.0, 0.3, 0.5, 1.0))
    found = suppress_duplicates(boxes, scores, threshold, measure)
    assert found == suppress_one_by_one(boxes, scores, threshold, measure)


def test_suppression_of_very_many_boxes_takes_seconds() -> None:
    draw = np.random.default_rng(0)
    corners = draw.integers(0, 30_000, (20_000, 2))
    boxes = np.hstack([corners, corners + draw.integers(10, 80, (20_000, 2))])
    boxes[0] = (0, 0, 30_000, 100)  # a road, through the whole scene
    started = time.process_time()
    kept = suppress_duplicates(boxes, draw.random(20_000), 0.5)
    assert time.process_time() - started < 20
    assert 19_000 < len(kept) < 20_000


def test_containment_drops_what_lies_inside_a_better_box() -> None:
    boxes = [(0, 0, 100, 100), (10, 10, 30, 30), (90, 90, 200, 200)]
    assert suppress_duplicates(boxes, [0.9, 0.8, 0.7], 0.5, "containment") == [0, 2]
    assert suppress_duplicates(boxes, [0.9, 0.8, 0.7], 0.5, "iou") == [0, 1, 2]


def test_the_largest_part_of_a_mask_stays() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[1:5, 1:5] = True
    mask[5, 5] = True  # touches by a corner: the same part
    mask[8, 9:12] = True
    part = largest_part(mask)
    assert part.sum() == 17
    assert mask_bbox(part) == (1, 1, 6, 6)
    assert (largest_part(part) == part).all()
