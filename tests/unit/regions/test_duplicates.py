"""Duplicates: suppression is what greedy suppression is defined as, whatever it is asked of."""

import json
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tasks.config import Measure
from lae_tasks.contracts import BoxPx
from lae_tasks.geometry import Mask, encode_mask
from lae_tasks.regions import duplicates as module
from lae_tasks.regions.duplicates import Shapes, duplicates

MEASURES: list[Measure] = ["iou", "containment", "mask_iou", "mask_containment"]


def shapes_of(boxes: Sequence[BoxPx], masks: Sequence[Mask] | None = None) -> Shapes:
    rows = np.array(boxes, dtype=np.int64).reshape(-1, 4)
    if masks is None:
        return Shapes(rows)
    areas = np.array([mask.sum() for mask in masks], dtype=np.int64)
    return Shapes(rows, lambda number: encode_mask(masks[number]), areas)


def kept(boxes: Sequence[BoxPx], scores: Sequence[float], threshold: float) -> list[int]:
    gone = duplicates(shapes_of(boxes), scores, threshold)
    return np.flatnonzero(~gone).tolist()


def test_the_best_of_each_cluster_stays() -> None:
    boxes = [(0, 0, 10, 10), (1, 0, 11, 10), (50, 50, 60, 60), (0, 1, 10, 11)]
    assert kept(boxes, [0.5, 0.9, 0.1, 0.7], 0.5) == [1, 2]


def test_boxes_are_xyxy_not_xywh() -> None:
    # As xywh, the first box would reach to (60, 60) and swallow the second.
    assert kept([(20, 20, 40, 40), (42, 42, 60, 60)], [0.9, 0.8], 0.1) == [0, 1]


def test_half_open_boxes_that_meet_share_nothing() -> None:
    assert kept([(0, 0, 10, 10), (10, 0, 20, 10), (0, 10, 10, 20)], [1, 1, 1], 0.0) == [0, 1, 2]


def test_containment_drops_what_lies_inside_a_better_box() -> None:
    shapes = shapes_of([(0, 0, 100, 100), (10, 10, 30, 30), (90, 90, 200, 200)])
    scores = [0.9, 0.8, 0.7]
    assert duplicates(shapes, scores, 0.5, "containment").tolist() == [False, True, False]
    assert not duplicates(shapes, scores, 0.5, "iou").any()


def test_only_shapes_of_one_group_are_compared() -> None:
    boxes = [(0, 0, 10, 10)] * 4
    gone = duplicates(shapes_of(boxes), [1, 2, 3, 4], 0.5, groups=[7, -1, 7, -1])
    assert gone.tolist() == [True, True, False, False]


def test_what_stays_in_any_case_takes_what_it_overlaps() -> None:
    boxes = [(x, 0, x + 40, 40) for x in (0, 12, 24)]  # each overlaps the next, not the one after
    stays = np.array([True, True, False])
    assert duplicates(shapes_of(boxes), [3, 2, 1], 0.5).tolist() == [False, True, False]
    assert duplicates(shapes_of(boxes), [3, 2, 1], 0.5, staying=stays).tolist() == [0, 0, 1]
    # Of equal scores it comes first, wherever its box lies.
    assert duplicates(shapes_of(boxes), [1, 1, 1], 0.5, staying=~stays).tolist() == [0, 1, 0]


def test_nothing_has_no_duplicates() -> None:
    assert duplicates(shapes_of([]), [], 0.5, groups=[]).tolist() == []


def moored(count: int = 5) -> tuple[list[BoxPx], list[Mask]]:
    """Ships of 80 x 14 px at 45 degrees, 14 px apart: no two share a pixel, their boxes do."""
    y, x = np.mgrid[:160, :160] + 0.5
    along, across = (x + y) / np.sqrt(2), (x - y) / np.sqrt(2)
    boxes, masks = [], []
    for number in range(count):
        shift = (number - count // 2) * 14
        ship = (abs(along - 113) < 40) & (abs(across - shift) < 7)
        rows, columns = np.flatnonzero(ship.any(axis=1)), np.flatnonzero(ship.any(axis=0))
        x0, y0, x1, y1 = (int(e) for e in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        boxes.append((x0, y0, x1, y1))
        masks.append(ship[y0:y1, x0:x1])
    return boxes, masks


@pytest.mark.parametrize(
    ("measure", "stay"), [("iou", 3), ("containment", 3), ("mask_iou", 5), ("mask_containment", 5)]
)
def test_ships_that_are_moored_slantwise_stay_by_their_masks(measure: Measure, stay: int) -> None:
    boxes, masks = moored()
    gone = duplicates(shapes_of(boxes, masks), [0.9] * 5, 0.5, measure)
    assert 5 - gone.sum() == stay


def test_a_part_goes_by_containment_of_masks() -> None:
    whole = np.ones((20, 20), dtype=bool)
    part = np.triu(np.ones((10, 10), dtype=bool))
    shapes = shapes_of([(0, 0, 20, 20), (5, 5, 15, 15)], [whole, part])
    assert duplicates(shapes, [1, 0], 0.5, "mask_containment").tolist() == [False, True]
    assert not duplicates(shapes, [1, 0], 0.5, "mask_iou").any()


def suppress_one_by_one(
    boxes: Sequence[BoxPx],
    scores: Sequence[float],
    threshold: float,
    measure: Measure,
    masks: Sequence[Mask] | None = None,
    staying: Sequence[bool] | None = None,
) -> list[int]:
    """The definition, shape against shape, pixel by pixel."""
    canvas = []
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        pixels = np.zeros((200, 200), dtype=bool)
        own = measure.startswith("mask_") and masks is not None
        pixels[y0:y1, x0:x1] = masks[number] if own and masks else True
        canvas.append(pixels)
    result: list[int] = []
    stays = staying or [False] * len(boxes)
    for index in sorted(range(len(boxes)), key=lambda i: (-scores[i], not stays[i], boxes[i], i)):
        for better in [] if stays[index] else result:
            one, other = canvas[index], canvas[better]
            shared = (one & other).sum()
            whole = min(one.sum(), other.sum()) if "containment" in measure else (one | other).sum()
            if shared / whole > threshold:
                break
        else:
            result.append(index)
    return result


def invented(draw: random.Random, count: int) -> tuple[list[BoxPx], list[float], list[Mask]]:
    boxes, scores, masks = [], [], []
    for _ in range(count):
        x, y = draw.randrange(40), draw.randrange(40)
        width, height = draw.choice((1, 9, 12, 60)), draw.choice((1, 9, 12, 90))
        boxes.append((x, y, x + width, y + height))
        scores.append(round(draw.random(), 1))  # many ties
        mask = np.random.default_rng(draw.randrange(99)).random((height, width)) < 0.7
        mask[0, 0] = True
        masks.append(mask)
    return boxes, scores, masks


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(MEASURES),
    st.integers(0, 80),
    st.integers(1, 4),
    st.sampled_from([0, 3, 1 << 24]),
    st.sampled_from([1, 16]),
    st.sampled_from([0, 100, 1 << 20]),
)
def test_suppression_is_what_it_is_defined_as(
    seed: int,
    measure: Measure,
    count: int,
    n_groups: int,
    most_pairs: int,
    lane: int,
    most_drawn_px: int,
) -> None:
    draw = random.Random(seed)
    boxes, scores, masks = invented(draw, count)
    groups = [draw.randrange(n_groups) for _ in boxes]
    share = draw.choice((0.0, 0.3))
    stays = [draw.random() < share for _ in boxes]
    threshold = draw.choice((0.0, 0.3, 0.5, 1.0))
    with pytest.MonkeyPatch.context() as patch:
        # Few pairs at a time, and groups that are too large, without large examples.
        patch.setattr(module, "_PAIRS_AT_ONCE", 5)
        patch.setattr(module, "_PAIRS_OF_GROUPS", most_pairs)
        patch.setattr(module, "_BOXES_OF_A_LANE", lane)
        patch.setattr(module, "_MOST_DRAWN_PX", most_drawn_px)
        shapes = shapes_of(boxes, masks)
        gone = duplicates(shapes, scores, threshold, measure, groups, np.array(stays, dtype=bool))
    for group in set(groups):
        some = [i for i in range(count) if groups[i] == group]
        of_group = [[values[i] for i in some] for values in (boxes, scores, masks, stays)]
        expected = suppress_one_by_one(*of_group[:2], threshold, measure, *of_group[2:])
        assert [i for i in some if not gone[i]] == sorted(some[i] for i in expected)


@given(st.permutations(list(range(12))))
def test_suppression_does_not_depend_on_order(order: list[int]) -> None:
    draw = random.Random(3)
    boxes = []
    for _ in range(12):
        x, y = draw.randrange(20), draw.randrange(20)
        boxes.append((x, y, x + 12, y + 12))
    scores = [round(draw.random(), 1) for _ in boxes]
    expected = {boxes[i] for i in kept(boxes, scores, 0.3)}
    shuffled = [boxes[i] for i in order]
    again = kept(shuffled, [scores[i] for i in order], 0.3)
    assert {shuffled[i] for i in again} == expected


def test_memory_does_not_grow_with_the_pairs_that_touch() -> None:
    draw = np.random.default_rng(0)
    corners = draw.integers(0, 100, (20_000, 2))  # 200 million pairs
    shapes = Shapes(np.hstack([corners, corners + draw.integers(90, 100, (20_000, 2))]))
    tracemalloc.start()
    gone = duplicates(shapes, draw.random(20_000), 0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert gone.mean() > 0.99
    assert peak < 20e6


LARGE = """
from pathlib import Path
import numpy as np
from lae_tasks.regions.duplicates import Shapes, duplicates
from lae_tasks.regions.rle import union
side, step, count = 30_000, 300, 4
square = np.ones((step, step), dtype=bool)
rle, area_px = union([(square, at, at) for at in range(0, side, step)], side, side)
corners = np.array([[0, 0], [200, 200], [100, 0], [100, 100]])
shapes = Shapes(np.hstack([corners, corners + side]), lambda _: rle, np.full(count, area_px))
one, other = np.triu_indices(count, 1)
print((shapes.overlap(one, other, "mask_containment") * 9).round(2).tolist())
print(duplicates(shapes, np.arange(count), 0.6, "mask_containment").astype(int).tolist())
status = Path("/proc/self/status").read_text().split()
print(int(status[status.index("VmHWM:") + 1]) // 1024)
"""


def test_masks_as_large_as_a_scene_are_compared_in_little_memory() -> None:
    # In a process of its own: tracemalloc does not see what pycocotools takes.
    command = [sys.executable, "-c", LARGE]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    overlaps, gone, peak_mb = map(json.loads, run.stdout.splitlines())
    assert overlaps == [4.96, 6.0, 4.99, 3.98, 4.99, 6.0], "in ninths of each square, nearly"
    assert gone == [False, False, True, False]
    assert peak_mb < 300


@pytest.mark.parametrize("side", [30_000, 400])
def test_a_hundred_thousand_boxes_of_one_category_take_seconds(side: int) -> None:
    draw = np.random.default_rng(0)
    corners = draw.integers(0, side, (100_000, 2))
    boxes = np.hstack([corners, corners + draw.integers(10, 80, (100_000, 2))])
    boxes[0] = (0, 0, side, 100)  # a road, through the whole scene
    scores = draw.random(100_000)
    started = time.process_time()
    gone = duplicates(Shapes(boxes), scores, 0.5)
    assert time.process_time() - started < 20
    assert (gone.mean() > 0.8) == (side == 400)
