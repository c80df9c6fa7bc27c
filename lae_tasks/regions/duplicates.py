"""Which of many boxes or masks show one thing twice: non-maximum suppression, over whole columns.

Boxes are xyxy and half open, as everywhere. Many groups, such as the categories of scenes, are
looked at in one go; memory does not grow with the number of boxes of a group that touch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from lae_tasks.config import Measure
from lae_tasks.contracts import BoxPx
from lae_tasks.geometry import Mask, box_area, box_overlap, decode_mask, overlap, shared_px
from lae_tasks.regions.rle import Runs

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

#: Pairs of boxes that are compared at a time.
_PAIRS_AT_ONCE = 1 << 17
#: Pairs that may touch, of the groups that are settled together. A group with more is settled box
#: by box.
_PAIRS_OF_GROUPS = 1 << 23
#: Masks with larger boxes are compared by their runs, as they may be as large as their scene. Of
#: small ones, drawing takes a tenth of the time.
_MOST_DRAWN_PX = 1 << 20
#: Masks that are kept: pairs that stand together have masks in common. Runs may take more memory.
_DRAWN_AT_ONCE, _RUNS_AT_ONCE = 64, 8
#: A group is cut into lanes of about so many boxes, so that only near ones are compared.
_BOXES_OF_A_LANE = 16


@dataclass(frozen=True)
class Shapes:
    """Boxes, and where masks are to be compared, these.

    Attributes:
        boxes_xyxy_px: int64 (n, 4).
        rle_of: The mask of a box by its number, RLE of the size of the box; None compares boxes.
        mask_area_px: int64 (n,), the masks' pixels.
    """

    boxes_xyxy_px: Numbers
    rle_of: Callable[[int], str] | None = None
    mask_area_px: Numbers | None = None

    def overlap(
        self, one: Numbers, other: Numbers, measure: Measure, above: float = -1.0
    ) -> Scores:
        """Overlap of pairs of shapes, by their numbers; shape (n,), in [0, 1].

        Args:
            one: The one of each pair.
            other: The other.
            measure: `iou`: intersection over union. `containment`: over the smaller of both. The
                same of masks: `mask_iou`, `mask_containment`.
            above: Masks are compared only where the overlap may be above this, as far as their
                boxes tell; elsewhere it is 0.
        """
        boxes = self.boxes_xyxy_px
        if not measure.startswith("mask_"):
            return box_overlap(boxes[one], boxes[other], measure)
        if self.rle_of is None or self.mask_area_px is None:
            raise ValueError(f"{measure}: there are no masks")
        area, areas = self.mask_area_px[one], self.mask_area_px[other]
        # No mask shares more than the boxes do.
        shared = np.minimum(shared_px(boxes[one], boxes[other]), np.minimum(area, areas))
        near = overlap(shared, area, areas, measure) > max(above, 0.0)
        shared[~near] = 0
        shared[near] = self._shared_px(one[near], other[near])
        return overlap(shared, area, areas, measure)

    def is_rectangle(self, number: int) -> bool:
        """Whether a mask fills its box."""
        assert self.mask_area_px is not None
        return bool(self.mask_area_px[number] == box_area(self.boxes_xyxy_px[number]))

    def _shared_px(self, one: Numbers, other: Numbers) -> list[int]:
        """The pixels that the masks of pairs share."""
        boxes = self.boxes_xyxy_px
        low = np.maximum(boxes[one, :2], boxes[other, :2])
        high = np.minimum(boxes[one, 2:], boxes[other, 2:])
        # Where both boxes are, in the pixels of each mask.
        places = [np.hstack([low, high]) - np.tile(boxes[each, :2], 2) for each in (one, other)]
        larger_px = np.maximum(box_area(boxes[one]), box_area(boxes[other]))
        columns = one, other, *places, larger_px <= _MOST_DRAWN_PX
        mask, runs = self._mask, self._runs
        found = []
        for mine, its, my_place, its_place, is_small in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            if is_small:
                part, other_part = (
                    mask(number)[y0:y1, x0:x1]
                    for number, (x0, y0, x1, y1) in ((mine, my_place), (its, its_place))
                )
                found.append(int(np.count_nonzero(part & other_part)))
            else:
                found.append(runs(mine).shared_px(runs(its)))
        return found

    @cached_property
    def _mask(self) -> Callable[[int], Mask]:
        """A mask by its number, drawn."""
        return lru_cache(_DRAWN_AT_ONCE)(lambda number: decode_mask(*self._rle(number)))

    @cached_property
    def _runs(self) -> Callable[[int], Runs]:
        """A mask by its number, as its runs."""
        return lru_cache(_RUNS_AT_ONCE)(lambda number: Runs(*self._rle(number)))

    def _rle(self, number: int) -> tuple[str, BoxPx]:
        assert self.rle_of
        return self.rle_of(number), tuple(self.boxes_xyxy_px[number].tolist())


def duplicates(
    shapes: Shapes,
    scores: npt.ArrayLike,
    threshold: float,
    measure: Measure = "iou",
    groups: npt.ArrayLike | None = None,
    staying: Flags | None = None,
) -> Flags:
    """Greedy non-maximum suppression: of each shape, whether a better one makes it superfluous.

    In each group, by falling score: a shape goes if its overlap with a better one that stays is
    above the threshold. Of equal scores those come first that stay in any case; other ties are
    broken by the box itself, so the result does not depend on the order of the input.

    Args:
        shapes: Boxes or masks.
        scores: Their scores, of shape (n,).
        threshold: The largest overlap, in [0, 1], that two shapes that stay may have.
        measure: As in `Shapes.overlap`.
        groups: Numbers of shape (n,): only shapes of the same one are compared. None: all are.
        staying: Of shape (n,): those that stay in any case, and so take what they overlap. None:
            no shape does.
    """
    boxes = shapes.boxes_xyxy_px
    gone = np.zeros(len(boxes), dtype=bool)
    if not len(boxes):
        return gone
    sinking = -np.asarray(scores, dtype=np.float64)
    may_go = np.ones(len(boxes), dtype=bool) if staying is None else ~staying

    def ranked(members: Numbers) -> Numbers:
        order = np.lexsort((*boxes[members].T[::-1], may_go[members], sinking[members]))
        return np.asarray(members[order])

    lanes = _Lanes.of(boxes, np.zeros(len(boxes)) if groups is None else np.asarray(groups))
    for start, stop in lanes.portions():
        if lanes.pairs(start, stop) > _PAIRS_OF_GROUPS:
            members = np.unique(lanes.row[lanes.first[start] : lanes.first[stop]])
            gone[_one_by_one(shapes, ranked(members), may_go, threshold, measure)] = True
            continue
        conflicts = []
        for one, other in lanes.touching(start, stop):
            too_near = shapes.overlap(one, other, measure, threshold) > threshold
            conflicts.append((one[too_near], other[too_near]))
        one, other = (np.concatenate(ends) for ends in zip(*conflicts, strict=True))
        _settle(one, other, ranked(np.unique([one, other])), may_go, gone)
    return gone


def _settle(one: Numbers, other: Numbers, in_order: Numbers, may_go: Flags, gone: Flags) -> None:
    """Marks what goes, of pairs of shapes of which only one can stay.

    Args:
        one: The one of each pair.
        other: The other.
        in_order: All of them by their rank, the best first.
        may_go: Of all shapes, those that do not stay in any case.
        gone: What goes is marked here.
    """
    rank = np.zeros(len(gone), dtype=np.int64)
    rank[in_order] = np.arange(len(in_order))
    better, worse = np.where(rank[one] < rank[other], (one, other), (other, one))
    better, worse = better[may_go[worse]], worse[may_go[worse]]
    # Before its own pairs, all are settled in which a shape is the worse one. A plain loop takes
    # less time than to find which pairs could be settled at once.
    pairs = np.argsort(rank[better])
    flags = bytearray(gone.tobytes())
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        few = pairs[start : start + _PAIRS_AT_ONCE]
        for stays, goes in zip(better[few].tolist(), worse[few].tolist(), strict=True):
            if not flags[stays]:
                flags[goes] = True
    gone[:] = np.frombuffer(flags, dtype=bool)


def _one_by_one(
    shapes: Shapes, in_order: Numbers, may_go: Flags, threshold: float, measure: Measure
) -> Numbers:
    """Of shapes in the order of their rank, those that go; only as many are held as there are."""
    left, top, right, bottom = np.ascontiguousarray(shapes.boxes_xyxy_px[in_order].T)
    may_go = may_go[in_order]
    stays = np.ones(len(in_order), dtype=bool)
    for best in range(len(in_order)):
        if stays[best]:
            worse = slice(best + 1, None)
            meet = stays[worse] & (left[worse] < right[best]) & (right[worse] > left[best])
            meet &= may_go[worse] & (top[worse] < bottom[best]) & (bottom[worse] > top[best])
            near = best + 1 + np.flatnonzero(meet)
            one = np.repeat(in_order[best], len(near))
            overlaps = shapes.overlap(one, in_order[near], measure, threshold)
            stays[near[overlaps > threshold]] = False
    gone: Numbers = in_order[~stays]
    return gone


@dataclass(frozen=True)
class _Lanes:
    """Boxes sorted for a sweep along x: each group is cut into lanes across y.

    A box has an entry in each lane that it reaches into. Entries are sorted by lane and left side;
    those that a box may touch follow it there.

    Attributes:
        boxes: int64 (n, 4).
        row: Of each entry the number of its box.
        lane: Of each entry its lane.
        end: Of each entry the first one behind it that begins beyond its box.
        first: Of each group its first entry; and at last, the number of entries.
        first_lane: Of each box the first lane that it reaches into.
    """

    boxes: Numbers
    row: Numbers
    lane: Numbers
    end: Numbers
    first: Numbers
    first_lane: Numbers

    @classmethod
    def of(cls, boxes: Numbers, groups: npt.NDArray[np.generic]) -> "_Lanes":
        """Cuts and sorts them."""
        _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
        by_group = np.argsort(group, kind="stable")
        starts = np.cumsum(size) - size
        left, top, right, bottom = np.ascontiguousarray(boxes.T)
        upper = np.minimum.reduceat(top[by_group], starts)
        extent = np.maximum.reduceat(bottom[by_group], starts) - upper
        heights = np.add.reduceat((bottom - top)[by_group], starts)
        # Neither narrower than a box is high, or each would have entries in many lanes.
        lanes = np.minimum(extent * size // heights, size // _BOXES_OF_A_LANE).clip(1)
        before = np.cumsum(lanes) - lanes
        within = [(y - upper[group]) * lanes[group] // extent[group] for y in (top, bottom - 1)]
        first_lane = before[group] + within[0]
        entries = within[1] - within[0] + 1
        row = np.repeat(np.arange(len(boxes)), entries)
        lane = first_lane[row] + _counted(entries)
        span = int(right.max() - left.min()) + 1
        key = lane * span + (left[row] - left.min())
        order = np.argsort(key, kind="stable")
        row, lane, key = row[order], lane[order], key[order]
        end = np.searchsorted(key, key + (right - left)[row])
        first = np.searchsorted(lane, np.append(before, lanes.sum()))
        return cls(boxes, row, lane, end, first, first_lane)

    def pairs(self, start: int, stop: int) -> int:
        """How many pairs of entries of some groups may touch."""
        entries = np.arange(self.first[start], self.first[stop])
        return int((self.end[entries] - entries - 1).sum())

    def portions(self) -> Iterator[tuple[int, int]]:
        """Groups, from and to, that are few enough pairs to be settled together."""
        counts = self.end - np.arange(len(self.row)) - 1
        until = np.concatenate([[0], np.cumsum(counts)])[self.first]
        start = 0
        while start < len(until) - 1:
            stop = int(np.searchsorted(until, until[start] + _PAIRS_OF_GROUPS, side="right")) - 1
            stop = max(stop, start + 1)
            yield start, stop
            start = stop

    def touching(self, start: int, stop: int) -> Iterator[tuple[Numbers, Numbers]]:
        """Pairs of boxes of some groups that share a pixel, each pair once, some at a time."""
        entries = np.arange(self.first[start], self.first[stop])
        counts = self.end[entries] - entries - 1
        until = np.cumsum(counts)
        begin = 0
        while begin < len(entries):
            done = until[begin - 1] if begin else 0
            stop_at = int(np.searchsorted(until, done + _PAIRS_AT_ONCE, side="right"))
            few = slice(begin, max(stop_at, begin + 1))
            entry = np.repeat(entries[few], counts[few])
            after = entry + 1 + _counted(counts[few])
            one, other = self.row[entry], self.row[after]
            # Where two boxes reach into several lanes together, the first of these counts.
            once = np.maximum(self.first_lane[one], self.first_lane[other]) == self.lane[entry]
            one, other = one[once], other[once]
            top, bottom = self.boxes[:, 1], self.boxes[:, 3]
            meet = (top[one] < bottom[other]) & (top[other] < bottom[one])
            yield one[meet], other[meet]
            begin = few.stop


def _counted(counts: Numbers) -> Numbers:
    """0, 1, 2, … as often as each number says, one after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) - np.repeat(ends - counts, counts)
