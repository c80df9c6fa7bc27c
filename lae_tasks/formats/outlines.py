"""Outlines of masks along the edges of their pixels, of thousands of masks at once.

The corners of an outline are where the mask's mixed difference, along x and then along y, is not 0.
In each column of corners those that follow each other are joined by twos, and in each row likewise;
going along these edges gives the rings. An outline's area is the mask's, pixel by pixel.

Pixels that meet at a corner only are apart: they make two polygons, which touch. Polygons are valid
by the OGC's rules.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outlines:
    """Polygons of objects, as ragged arrays.

    Attributes:
        points_px: Corners (n, 2), x and y; each ring ends with its first corner. Outer rings run
            clockwise as seen on the image, holes the other way round.
        rings: Where each ring begins in `points_px`, and the end of the last.
        polygons: Where each polygon begins in `rings`, and the end of the last; its first ring is
            the outer one.
        object_of: The number of the object that each polygon belongs to, ascending.
    """

    points_px: Ints
    rings: Ints
    polygons: Ints
    object_of: Ints

    def outer_rings(self) -> list[tuple[int, Ints]]:
        """The object and the outer ring (n, 2), without its last corner, of each polygon."""
        firsts = self.polygons[:-1]
        return [
            (int(number), self.points_px[begin : end - 1])
            for number, begin, end in zip(
                self.object_of, self.rings[firsts], self.rings[firsts + 1], strict=True
            )
        ]


def trace(
    masks: Sequence[str],
    heights_px: Sequence[int],
    origins_px: Sequence[tuple[int, int]],
    object_of: Sequence[int],
) -> Outlines:
    """Traces objects; one that comes in several masks is their union.

    Args:
        masks: COCO compressed RLEs.
        heights_px: The height of the image of each.
        origins_px: Where the image of each begins in the frame that is asked for, x and y.
        object_of: The number of the object of each, from 0.
    """
    of_mask, column, top, bottom = _column_runs(masks, np.asarray(heights_px, dtype=np.int64))
    if not len(of_mask):
        nothing = np.zeros(1, dtype=np.int64)
        return Outlines(np.zeros((0, 2), dtype=np.int64), nothing, nothing, nothing[:0])
    origins = np.asarray(origins_px, dtype=np.int64)
    numbers = np.asarray(object_of, dtype=np.int64)
    least = origins.min(axis=0)
    x, y = (origins - least)[of_mask].T
    x, top, bottom, number = x + column, y + top, y + bottom, numbers[of_mask]
    width, height = int(x.max()) + 2, int(bottom.max()) + 1  # corners that a row and a column have
    line = (number * width + x) * height
    starts, stops = line + top, line + bottom
    if len(np.unique(numbers)) < len(numbers):
        starts, stops = _union(starts, stops)
    corners = _corners(starts, stops, height)
    return _polygons(*corners, width, height, least)


def _column_runs(masks: Sequence[str], heights: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Of each run within a column: the mask, the column, where it begins and where it ends.

    See `lae_tasks.regions.rle` for how the runs are written.
    """
    digits = np.frombuffer("".join(masks).encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    last = np.flatnonzero(digits < 32)
    first = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    sizes = last - first + 1
    shifts = 5 * (np.arange(len(digits)) - np.repeat(first, sizes))
    lengths = np.add.reduceat((digits & 31) << shifts, first) if len(first) else last
    lengths -= ((digits[last] & 16) != 0).astype(np.int64) << (5 * sizes)
    ends = np.cumsum([len(mask) for mask in masks])
    of_mask = np.searchsorted(ends, last, "right")
    place = _place_in_group(of_mask)
    for parity in (0, 1):
        chosen = np.flatnonzero((place % 2 == parity) & (place > 0))
        lengths[chosen] = _sum_in_group(lengths[chosen], of_mask[chosen])
    borders = _sum_in_group(lengths, of_mask)
    stop_at = np.flatnonzero(place % 2 == 1)
    starts, stops, of_mask = borders[stop_at - 1], borders[stop_at], of_mask[stop_at]
    seen = starts < stops
    starts, stops, of_mask = starts[seen], stops[seen], of_mask[seen]
    height = heights[of_mask]
    from_column, to_column = starts // height, (stops - 1) // height
    columns = to_column - from_column + 1  # a run goes on in the next column without a gap
    run = np.repeat(np.arange(len(starts)), columns)
    column = from_column[run] + _place_in_group(run)
    top = np.where(column == from_column[run], (starts - from_column * height)[run], 0)
    bottom = np.where(column == to_column[run], (stops - to_column * height)[run], height[run])
    return of_mask[run], column, top, bottom


def _begins(groups: Ints) -> Ints:
    """Where groups of equal neighbours begin."""
    return np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1))


def _place_in_group(groups: Ints) -> Ints:
    begins = _begins(groups)
    sizes = np.diff(begins, append=len(groups))
    return np.arange(len(groups)) - np.repeat(begins, sizes)


def _sum_in_group(values: Ints, groups: Ints) -> Ints:
    """The sums of values so far, of each group for itself."""
    begins = _begins(groups)
    sums = np.cumsum(values)
    before = (sums - values)[begins]
    return np.asarray(sums - np.repeat(before, np.diff(begins, append=len(groups))))


def _union(starts: Ints, stops: Ints) -> tuple[Ints, Ints]:
    """Runs that share nothing, of those that may; as `lae_tasks.regions.rle.union` does it."""
    starts, stops = np.sort(starts), np.sort(stops)
    number = np.arange(len(starts))
    first = starts[np.searchsorted(stops, starts, "left") == number]
    last = stops[np.searchsorted(starts, stops, "right") == number + 1]
    return first, last


def _corners(starts: Ints, stops: Ints, height: int) -> tuple[Ints, npt.NDArray[np.int8]]:
    """Corners, by column and row, and the signs of the mixed difference there.

    Where two pixels meet at a corner it is 2 or -2; such a corner is there twice.
    """
    places = np.concatenate([starts, stops, starts + height, stops + height])
    signs = np.repeat(np.array([1, -1, -1, 1], dtype=np.int8), len(starts))
    order = np.argsort(places, kind="stable")
    places = places[order]
    begins = _begins(places)
    sums = np.add.reduceat(signs[order], begins)
    seen = np.flatnonzero(sums)
    times = np.abs(sums[seen])
    return np.repeat(places[begins[seen]], times), np.repeat(np.sign(sums[seen]), times)


def _polygons(
    places: Ints, signs: npt.NDArray[np.int8], width: int, height: int, least: Ints
) -> Outlines:
    line, y = np.divmod(places, height)
    number, x = np.divmod(line, width)
    # A corner has its neighbour in the column beside it: 0 and 1, 2 and 3, … Rows are sorted.
    second = np.flatnonzero(places[1:] == places[:-1]) + 1
    row = (number * height + y) * width + x
    by_row = np.argsort(row, kind="stable")
    at = np.empty_like(by_row)
    at[by_row] = np.arange(len(by_row))
    # Where pixels touch, an outline goes round one of them: of left and right, above has the one
    # that the pixel has.
    _swap(by_row, at, second[signs[second] < 0])
    leaving = np.flatnonzero(signs > 0)  # along their row; the others leave along their column
    compact = np.cumsum(signs > 0) - 1
    beside = at ^ 1
    ring = _lowest(compact[by_row[beside[leaving]] ^ 1])
    # No ring may come twice to a corner: it becomes two rings, one of them a hole.
    ring_at = ring[compact[np.where(signs > 0, np.arange(len(signs)), np.arange(len(signs)) ^ 1)]]
    touching = second[ring_at[second] == ring_at[second - 1]]
    if len(touching):
        _swap(by_row, at, touching)
    following = compact[by_row[at[leaving] ^ 1] ^ 1]
    ring = _lowest(following) if len(touching) else ring
    heads, of_ring, sizes = np.unique(ring, return_inverse=True, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(2 * sizes + 1)])
    start = offsets[of_ring] + 2 * ((sizes[of_ring] - _steps_to(ring, following)) % sizes[of_ring])
    points = np.empty((int(offsets[-1]), 2), dtype=np.int64)
    points[start] = np.column_stack([x, y])[leaving]
    arrived = by_row[at[leaving] ^ 1]
    points[start + 1] = np.column_stack([x, y])[arrived]
    points[offsets[1:] - 1] = points[offsets[:-1]]
    areas = np.bincount(of_ring, (x[leaving] - x[arrived]) * y[leaving])
    object_of = number[leaving[heads]]
    return _assembled(points, offsets, areas > 0, object_of, least)


def _swap(order: Ints, at: Ints, second: Ints) -> None:
    """Lets corners change places with the ones before them, in an order and its inverse."""
    first = second - 1
    at[first], at[second] = at[second], at[first]
    order[at[first]], order[at[second]] = first, second


def _lowest(following: Ints) -> Ints:
    """The lowest number of the cycle that each number is in; twice as far in each round."""
    lowest: Ints = np.arange(len(following))
    lower: Ints = np.minimum(lowest, following)
    while not np.array_equal(lower, lowest):
        lowest, following = lower, following[following]
        lower = np.minimum(lowest, lowest[following])
    return lower


def _steps_to(ends: Ints, following: Ints) -> Ints:
    """How many steps each number of a cycle is from the cycle's end; likewise."""
    numbers = np.arange(len(following))
    steps: Ints = (numbers != ends).astype(np.int64)
    at: Ints = np.where(numbers == ends, numbers, following)
    while not np.array_equal(at, ends):
        steps, at = steps + steps[at], at[at]
    return steps


def _assembled(
    points: Ints, offsets: Ints, is_outer: npt.NDArray[np.bool_], object_of: Ints, least: Ints
) -> Outlines:
    """Gives each hole to its polygon, and puts the rings in order."""
    outers, holes = np.flatnonzero(is_outer), np.flatnonzero(~is_outer)
    polygon_of = np.cumsum(is_outer) - 1
    first = np.searchsorted(object_of[outers], object_of[holes])
    several = np.searchsorted(object_of[outers], object_of[holes], "right") > first + 1
    polygon_of[holes] = first
    if several.any():
        unsure = holes[several]
        among = outers[np.isin(object_of[outers], object_of[unsure])]
        # Objects side by side, so that one search does for all, and none finds another one's ring.
        beside = np.repeat(object_of * (points[:, 0].max() + 1), np.diff(offsets))
        apart = np.split(points + np.outer(beside, (1, 0)), offsets[1:-1])
        found = _around([apart[n] for n in unsure], [apart[n] for n in among])
        polygon_of[unsure] = polygon_of[among[found]]
    order = np.lexsort([~is_outer, polygon_of])
    sizes = np.diff(offsets)[order]
    rings = np.concatenate([[0], np.cumsum(sizes)])
    moved = np.arange(len(points)) + np.repeat(offsets[order] - rings[:-1], sizes)
    polygons = np.concatenate([[0], np.cumsum(np.bincount(polygon_of, minlength=len(outers)))])
    return Outlines(points[moved] + least, rings, polygons, object_of[outers])


def _around(holes: Sequence[Ints], rings: Sequence[Ints]) -> Ints:
    """Which ring each hole lies in: the smallest of those that do not leave it out."""
    # The pixel at the left of a hole's upper corner of those most to the left is one of the mask.
    corners = [hole[np.lexsort(hole.T[::-1])[0]] for hole in holes]
    polygons = shapely.polygons([shapely.linearrings(ring) for ring in rings])
    pixels = shapely.STRtree(shapely.points(np.add(corners, (-0.5, 0.5))))
    around, inside = pixels.query(polygons, predicate="contains")
    order = np.lexsort([shapely.area(polygons[around]), inside])
    return np.asarray(around[order[_begins(inside[order])]])
