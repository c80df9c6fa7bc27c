"""Masks in COCO's run-length code: placed, joined, compared, seen in windows, never drawn whole.

A thing can be as large as its scene, and a scene much larger than memory. Its runs are few.
pycocotools itself does not read runs back that differ by half a billion pixels.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from lae_tasks.contracts import BoxPx, WindowPx
from lae_tasks.geometry import Mask, clip

Places = npt.NDArray[np.int64]


def rle_in_frame(mask: Mask, left_px: int, top_px: int, width_px: int, height_px: int) -> str:
    """COCO compressed RLE of a small mask placed in a large frame, without drawing the frame.

    Args:
        mask: bool (h, w); it must lie inside the frame.
        left_px: Column of the frame at which the mask begins.
        top_px: Row of the frame at which the mask begins.
        width_px: Width of the frame.
        height_px: Height of the frame.

    Returns:
        The `counts` that pycocotools would give for the drawn frame.
    """
    return union([(mask, left_px, top_px)], width_px, height_px)[0]


def union(
    placed: Iterable[tuple[Mask, int, int]], width_px: int, height_px: int
) -> tuple[str, int]:
    """Joins small masks in a large frame, likewise.

    Args:
        placed: Masks, each with the column and the row of the frame at which it begins.
        width_px: Width of the frame.
        height_px: Height of the frame.

    Returns:
        The RLE of what any of them covers, and how many pixels that is.
    """
    several = [_runs(mask, left, top, height_px) for mask, left, top in placed]
    starts, stops = (np.sort(np.concatenate(each)) for each in zip(*several, strict=True))
    # A run begins where all that began before have ended, and ends likewise. Those that meet, as
    # at the frame's edge, are one.
    number = np.arange(len(starts))
    first = starts[np.searchsorted(stops, starts, "left") == number]
    last = stops[np.searchsorted(starts, stops, "right") == number + 1]
    borders = np.ravel(np.column_stack([first, last]))
    counts = np.diff(np.concatenate([[0], borders, [width_px * height_px]]))
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    size = [height_px, width_px]
    rle = coco_mask.frPyObjects({"size": size, "counts": counts}, *size)
    compressed: bytes = rle["counts"]
    return compressed.decode("ascii"), int((last - first).sum())


def _runs(mask: Mask, left_px: int, top_px: int, height_px: int) -> tuple[Places, Places]:
    """Where the runs of a placed mask begin and end in its frame, counted column by column."""
    edges = np.diff(np.pad(mask.T.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    starts, stops = (
        (columns + left_px) * height_px + rows + top_px
        for columns, rows in (np.nonzero(edges == 1), np.nonzero(edges == -1))
    )
    return starts, stops


class Runs:
    """A mask of its box's size, as its runs."""

    def __init__(self, mask_rle: str, bbox_xyxy_px: BoxPx) -> None:
        """Takes an RLE as `lae_tasks.geometry.encode_mask` makes it, and its box in the scene."""
        self._bbox_xyxy_px = bbox_xyxy_px
        borders = np.cumsum(_lengths(mask_rle))
        # COCO counts column by column, beginning with the zeros.
        self._starts, self._stops = borders[: len(borders) // 2 * 2 : 2], borders[1::2]

    def window(self, window_px: WindowPx) -> Mask:
        """What a window of the scene shows of it: bool (window height, window width)."""
        x, y, width, height = window_px
        shown = np.zeros((height, width), dtype=bool)
        box = clip(self._bbox_xyxy_px, window_px)
        if box:
            x0, y0, x1, y1 = box
            shown[y0 - y : y1 - y, x0 - x : x1 - x] = self._part(box)
        return shown

    def shared_px(self, other: "Runs") -> int:
        """How many pixels both have."""
        x0, y0, x1, y1 = self._bbox_xyxy_px
        box = clip(other._bbox_xyxy_px, (x0, y0, x1 - x0, y1 - y0))
        if not box:
            return 0
        theirs = other._within(box)
        begun, ended = (_before(each, *theirs) for each in self._within(box))
        return int((ended - begun).sum())

    def _part(self, bbox_xyxy_px: BoxPx) -> Mask:
        """What a box within its own shows."""
        x0, y0, x1, y1 = bbox_xyxy_px
        starts, stops = self._within(bbox_xyxy_px)
        edges = np.zeros((x1 - x0) * (y1 - y0) + 1, dtype=np.int8)
        edges[starts] = 1
        edges[stops] -= 1  # where the next run begins already, nothing changes
        drawn = np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)
        return drawn.reshape(x1 - x0, y1 - y0).T

    def _within(self, bbox_xyxy_px: BoxPx) -> tuple[Places, Places]:
        """Where runs begin and end in a box within its own, counted column by column of that."""
        x, y, _, bottom = self._bbox_xyxy_px
        x0, y0, x1, y1 = bbox_xyxy_px
        rows, height = bottom - y, y1 - y0
        begin, end = (x0 - x) * rows, (x1 - x) * rows
        runs = slice(
            np.searchsorted(self._stops, begin, "right"), np.searchsorted(self._starts, end)
        )
        starts, stops = np.maximum(self._starts[runs], begin), np.minimum(self._stops[runs], end)
        # Where a run goes on in the next column, it is parted.
        seams = np.arange(begin + rows, end, rows)
        inside = np.searchsorted(starts, seams) > np.searchsorted(stops, seams, "right")
        # A stable sort merges what is in order already; the usual one takes 40 times as long.
        starts, stops = (
            np.sort(np.concatenate([each, seams[inside]]), kind="stable")
            for each in (starts, stops)
        )
        column = (starts - begin) // rows
        above = begin + column * rows + y0 - y
        first, last = (np.clip(each - above, 0, height) for each in (starts, stops))
        seen = first < last
        top = column[seen] * height
        return top + first[seen], top + last[seen]


def _before(places: Places, starts: Places, stops: Places) -> Places:
    """How many pixels of runs lie before each of some places."""
    upto = np.concatenate([[0], np.cumsum(stops - starts)])
    begun = np.searchsorted(starts, places)
    beyond = np.concatenate([[0], stops])[begun] - places  # of the last run that has begun
    return np.asarray(upto[begun] - np.maximum(beyond, 0))


def _lengths(mask_rle: str) -> Places:
    """The lengths of runs.

    As `rleFrString` of COCO's maskApi.c has it: each character carries 5 bits, the lowest first,
    and a bit that says that more follow; the last one's highest bit is the sign. From the fourth
    run on, the difference to the run before the last is written.
    """
    digits = np.frombuffer(mask_rle.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(digits < 32)
    first = np.concatenate([[0], last[:-1] + 1])
    counts = last - first + 1
    shifts = 5 * (np.arange(len(digits)) - np.repeat(first, counts))
    lengths = np.add.reduceat((digits & 31) << shifts, first)
    lengths -= ((digits[last] & 16) != 0).astype(np.int64) << (5 * counts)
    for each in (lengths[1::2], lengths[2::2]):
        np.cumsum(each, out=each)
    return lengths
