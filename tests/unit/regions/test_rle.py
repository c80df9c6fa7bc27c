"""Masks as runs are the masks that would have been drawn."""

import tracemalloc

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from lae_tasks.contracts import WindowPx
from lae_tasks.geometry import Mask, encode_mask, mask_in_window
from lae_tasks.regions.rle import Runs, rle_in_frame, union

seeds = st.integers(0, 2**32 - 1)
shares = st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0])


def random_mask(seed: int, share: float, height: int, width: int) -> Mask:
    """Of large and small blotches, so that runs are of one, two and three characters."""
    rng = np.random.default_rng(seed)
    step = int(rng.integers(1, 60))
    coarse = rng.random((height // step + 1, width // step + 1)) < share
    return np.repeat(np.repeat(coarse, step, axis=0), step, axis=1)[:height, :width]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_rle_in_frame_is_that_of_the_drawn_frame(
    seed: int, share: float, height: int, width: int, left: int, top: int, right: int, bottom: int
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    frame = np.pad(mask, ((top, bottom), (left, right)))
    drawn = coco_mask.encode(np.asfortranarray(frame, dtype=np.uint8))["counts"].decode()
    rows, columns = frame.shape
    assert rle_in_frame(mask, left, top, columns, rows) == drawn


places = st.tuples(shares, st.integers(0, 40), st.integers(0, 90))


@given(seeds, st.lists(places, min_size=1, max_size=5), st.integers(1, 300), st.integers(1, 90))
def test_a_union_is_that_of_the_drawn_masks(
    seed: int, several: list[tuple[float, int, int]], height: int, width: int
) -> None:
    masks = [random_mask(seed + n, share, height, width) for n, (share, _, _) in enumerate(several)]
    frame = np.zeros((height + 90, width + 40), dtype=bool)
    for mask, (_, left, top) in zip(masks, several, strict=True):
        frame[top : top + height, left : left + width] |= mask
    placed = [(mask, left, top) for mask, (_, left, top) in zip(masks, several, strict=True)]
    rle, area_px = union(placed, width + 40, height + 90)
    assert rle == encode_mask(frame)
    assert area_px == frame.sum()


def test_runs_of_a_frame_of_a_billion_pixels_are_read_back() -> None:
    side = 50_000
    square = np.ones((2, 2), dtype=bool)
    corners = [(square, x, y) for x in (0, side - 2) for y in (0, side - 2)]
    rle, area_px = union(corners, side, side)
    assert area_px == 16
    shown = Runs(rle, (0, 0, side, side)).window((side - 4, side - 4, 4, 4))
    np.testing.assert_array_equal(shown, np.pad(square, ((2, 0), (2, 0))))


@given(
    seeds,
    shares,
    st.integers(1, 300),
    st.integers(1, 90),
    st.tuples(
        st.integers(-50, 150), st.integers(-50, 350), st.integers(1, 200), st.integers(1, 400)
    ),
)
@example(0, 1.0, 1, 1, (500, 500, 1, 1))
def test_a_window_shows_what_the_drawn_mask_has_there(
    seed: int, share: float, height: int, width: int, window: WindowPx
) -> None:
    mask = random_mask(seed, share, height, width)
    bbox = (20, 10, 20 + width, 10 + height)
    shown = Runs(encode_mask(mask), bbox).window(window)
    np.testing.assert_array_equal(shown, mask_in_window(mask, bbox, window))


sizes = st.tuples(st.integers(1, 300), st.integers(1, 90))
corners = st.tuples(st.integers(-90, 90), st.integers(-300, 300))


@given(seeds, shares, shares, sizes, sizes, corners)
@example(0, 1.0, 1.0, (5, 5), (5, 5), (5, 0))
def test_masks_share_the_pixels_that_the_drawn_ones_share(
    seed: int,
    share: float,
    its_share: float,
    size: tuple[int, int],
    its_size: tuple[int, int],
    corner: tuple[int, int],
) -> None:
    mask, other = random_mask(seed, share, *size), random_mask(seed + 1, its_share, *its_size)
    (left, top), (height, width) = corner, its_size
    box, its_box = (0, 0, *size[::-1]), (left, top, left + width, top + height)
    runs, its_runs = Runs(encode_mask(mask), box), Runs(encode_mask(other), its_box)
    drawn = mask & mask_in_window(other, its_box, (0, 0, *size[::-1]))
    assert runs.shared_px(its_runs) == its_runs.shared_px(runs) == drawn.sum()


def test_two_masks_as_large_as_a_scene_are_compared_in_little_memory() -> None:
    side, step = 30_000, 300
    square = np.ones((step, step), dtype=bool)
    rle, area_px = union([(square, at, at) for at in range(0, side, step)], side, side)
    shifted = (100, 100, side + 100, side + 100)
    tracemalloc.start()
    one, other = Runs(rle, (0, 0, side, side)), Runs(rle, shifted)
    assert one.shared_px(one) == area_px == 100 * step**2
    # Of each square, with itself and with the one before.
    assert one.shared_px(other) == 100 * 200**2 + 99 * 100**2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6, "bytes"
