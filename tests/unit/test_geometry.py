"""Geometry: windows cover, masks round-trip, overlaps are those of half-open boxes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tasks.geometry import (
    box_overlap,
    decode_mask,
    encode_mask,
    largest_part,
    mask_bbox,
    mask_in_window,
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


def test_the_largest_part_of_a_mask_stays() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[1:5, 1:5] = True
    mask[5, 5] = True  # touches by a corner: the same part
    mask[8, 9:12] = True
    part = largest_part(mask)
    assert part.sum() == 17
    assert mask_bbox(part) == (1, 1, 6, 6)
    assert (largest_part(part) == part).all()
