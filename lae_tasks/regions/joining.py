"""One object, one region: what several tiles saw of the same thing is joined.

Tiles overlap. Where two of them look at the same ground, both have masks of what lies there: if
two masks agree in this shared margin they are views of one thing. Of a thing that some tile shows
whole, the best whole view is taken; of others all views together.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lae_tasks.config import SegmentConfig
from lae_tasks.contracts import BoxPx, Prompt, Scene, Tile, WindowPx
from lae_tasks.geometry import Mask, box_overlap, clip, decode_mask, mask_in_window
from lae_tasks.regions.choice import is_one_thing, quality
from lae_tasks.regions.rle import union

#: A mask that ends closer to its tile's border, as a share of the tile's side, may end there only
#: because the tile does: models do not paint to the last pixel.
_NEAR_BORDER = 0.01
#: A whole view that shows less of what all views show together is only a part of the thing, too.
#: Not nearly all: what views have too much adds up.
_MOST = 0.6
#: What a border cut off of a thing lies in the thing's other view so far,
_CUT_OFF_WITHIN = 0.7
#: and is so much of what both tiles could see of it. A car at a border is no part of the car park.
_CUT_OFF_SHARE = 0.1
#: Two views of a tile that share less than this of the smaller lie side by side.
_SIDE_BY_SIDE = 0.1


@dataclass(frozen=True)
class View:
    """What one tile shows of a thing, in scene pixels; the mask is RLE of its box's size."""

    tile: Tile
    bbox_xyxy_px: BoxPx
    mask_rle: str
    area_px: int
    predicted_iou: float
    stability_score: float
    prompt: Prompt | None = None


@dataclass(frozen=True)
class Thing:
    """An object in a scene; the mask is RLE of its box's size.

    Attributes:
        views: What the tiles show of it; the scores are those of the first.
        seen_in_part: It ends where its tiles end, and the scene goes on.
    """

    views: tuple[View, ...]
    bbox_xyxy_px: BoxPx
    mask_rle: str
    area_px: int
    seen_in_part: bool


def join(views: Sequence[View], scene: Scene, config: SegmentConfig) -> Iterator[Thing]:
    """The things that a scene's views show, in the order of their first views.

    Those views that agree best are joined first, and what one tile kept apart stays apart. Two
    exceptions: a border may cut a thing in pieces that another tile connects beyond it; and what a
    border cut off and no other view is like goes with the smallest view that it lies within.
    Views of prompts go together if it is the same prompt; what the grid found of it besides is
    left out.

    Args:
        views: All views of all tiles of the scene, tile by tile.
        scene: For its size.
        config: Two views are alike if their IoU in the margin that both tiles show is `join_iou`
            or more, or one lies within the other and fills more than `nested_share` of it.
    """
    of_tile: defaultdict[Tile, list[int]] = defaultdict(list)
    for number, view in enumerate(views):
        of_tile[view.tile].append(number)
    cut = [bool(_cut_sides(view, scene).any()) for view in views]
    alike: list[_Overlap] = []
    within: list[tuple[int, int]] = []
    for one, other, margin in _neighbours(list(of_tile)):
        overlaps = list(_overlaps(views, cut, of_tile[one], of_tile[other], margin))
        alike += [each for each in overlaps if each.is_one_thing(config)]
        within += _cut_off(overlaps, views, cut)
    groups = _Groups(views, cut)
    for each in sorted(alike, key=lambda o: (-o.iou, o.one, o.other)):
        groups.unite(each.one, each.other)
    groups.absorb(within)
    for members in groups.members():
        yield _thing([views[number] for number in members], scene)


class _Groups:
    """Which views, by their numbers, are one thing as far as is known."""

    def __init__(self, views: Sequence[View], cut: Sequence[bool]) -> None:
        """Starts with each view for itself, but those of a prompt together."""
        self._views, self._cut = views, cut
        self._alike: defaultdict[int, set[int]] = defaultdict(set)
        self._of = [[number] for number in range(len(views))]
        first: dict[str, int] = {}
        for number, view in enumerate(views):
            if view.prompt:
                self._merge(first.setdefault(view.prompt.prompt_id, number), number)

    def unite(self, one: int, other: int) -> None:
        """Joins the groups of two views that are alike, unless some tile kept them apart."""
        self._alike[one].add(other)
        self._alike[other].add(one)
        if self._can_be_one(self._of[one], self._of[other]):
            self._merge(one, other)
        else:
            self._alike[one].discard(other)
            self._alike[other].discard(one)

    def absorb(self, within: Sequence[tuple[int, int]]) -> None:
        """Joins views that nothing is like to the smallest view that each lies within."""
        smallest: dict[int, int] = {}
        for one, other in within:
            if len(self._of[one]) == 1:
                pair = smallest.get(one, other), other
                smallest[one] = min(pair, key=lambda number: self._views[number].area_px)
        for one, other in smallest.items():
            self._merge(other, one)

    def members(self) -> Iterator[list[int]]:
        """The groups; of a prompt's only what was prompted."""
        for number, group in enumerate(self._of):
            if number == min(group):
                prompted = [each for each in group if self._views[each].prompt]
                yield sorted(prompted or group)

    def _merge(self, one: int, other: int) -> None:
        into, group = self._of[one], self._of[other]
        if group is not into:
            into += group
            for number in group:
                self._of[number] = into

    def _can_be_one(self, ones: Sequence[int], others: Sequence[int]) -> bool:
        """Whether no tile and no two prompts speak against joining two groups."""
        if ones is others:
            return True
        prompts = (self._views[i].prompt for i in (*ones, *others))
        if len({prompt.prompt_id for prompt in prompts if prompt}) > 1:
            return False
        of_tile: defaultdict[str, list[int]] = defaultdict(list)
        for i in ones:
            of_tile[self._views[i].tile.tile_id].append(i)
        return all(
            self._are_pieces(i, j) for j in others for i in of_tile[self._views[j].tile.tile_id]
        )

    def _are_pieces(self, one: int, other: int) -> bool:
        """Whether two views of a tile, side by side, are both part of one view of another tile.

        They may be if the border cut both: what connects them lies beyond it.
        """
        if not (self._cut[one] and self._cut[other] and self._alike[one] & self._alike[other]):
            return False
        views = self._views[one], self._views[other]
        parts = [_part_in(view, view.tile.window_px) for view in views]
        smaller_px = min(view.area_px for view in views)
        return parts[0].shared_px(parts[1]) < _SIDE_BY_SIDE * smaller_px


def _neighbours(tiles: Sequence[Tile]) -> Iterator[tuple[Tile, Tile, WindowPx]]:
    """Every two tiles that overlap, with the window that both show."""
    windows = np.array([tile.window_px for tile in tiles], dtype=np.int64).reshape(-1, 4)
    low, high = windows[:, :2], windows[:, :2] + windows[:, 2:]
    for index, tile in enumerate(tiles):
        start = np.maximum(low[index], low[index + 1 :])
        size = np.minimum(high[index], high[index + 1 :]) - start
        for other in np.flatnonzero((size > 0).all(axis=1)):
            x, y = start[other].tolist()
            width, height = size[other].tolist()
            yield tile, tiles[index + 1 + int(other)], (x, y, width, height)


@dataclass(frozen=True)
class _Overlap:
    """How two views overlap in the margin that both tiles show, in pixels.

    Of a view that falls into pieces there, only those count that touch what the border cut off.
    """

    one: int
    other: int
    shared_px: int
    one_px: int
    other_px: int

    @property
    def iou(self) -> float:
        return self.shared_px / (self.one_px + self.other_px - self.shared_px)

    def is_one_thing(self, config: SegmentConfig) -> bool:
        sizes = self.shared_px, self.one_px, self.other_px
        return bool(is_one_thing(*sizes, config.join_iou, config.nested_share))


def _overlaps(
    views: Sequence[View],
    cut: Sequence[bool],
    ones: Sequence[int],
    others: Sequence[int],
    margin: WindowPx,
) -> Iterator[_Overlap]:
    """Each two views of two tiles that share a pixel of their margin."""
    parts = {
        i: _part_in(views[i], margin)
        for i in (*ones, *others)
        if clip(views[i].bbox_xyxy_px, margin)
    }
    others = [j for j in others if j in parts]
    boxes = np.array([parts[j].bbox_xyxy_px for j in others], dtype=np.float64).reshape(-1, 4)
    for i in (i for i in ones if i in parts):
        box = np.array(parts[i].bbox_xyxy_px, dtype=np.float64)
        for j in (others[k] for k in np.flatnonzero(box_overlap(box, boxes) > 0)):
            one, other = parts[i], parts[j]
            shared = one.shared_px(other)
            if shared:
                one_px = one.touching_px(other) if cut[j] else one.area_px
                other_px = other.touching_px(one) if cut[i] else other.area_px
                yield _Overlap(i, j, shared, one_px, other_px)


def _cut_off(
    overlaps: Sequence[_Overlap], views: Sequence[View], cut: Sequence[bool]
) -> Iterator[tuple[int, int]]:
    """Views that a border cut, with each that they lie within and are no mere detail of."""
    for each in overlaps:
        for small, large in ((each.one, each.other), (each.other, each.one)):
            large_px = each.one_px if large == each.one else each.other_px
            inside = each.shared_px > _CUT_OFF_WITHIN * views[small].area_px
            grown = each.shared_px > _CUT_OFF_SHARE * large_px
            unasked = not views[small].prompt and not views[large].prompt
            if cut[small] and inside and grown and unasked:
                yield small, large


@dataclass(frozen=True)
class _Part:
    """What a window shows of a view, the mask of its box's size."""

    bbox_xyxy_px: BoxPx
    mask: Mask

    @property
    def area_px(self) -> int:
        return int(np.count_nonzero(self.mask))

    def shared_px(self, other: "_Part") -> int:
        """How many pixels both have."""
        x0, y0, x1, y1 = self.bbox_xyxy_px
        theirs = mask_in_window(other.mask, other.bbox_xyxy_px, (x0, y0, x1 - x0, y1 - y0))
        return int(np.count_nonzero(self.mask & theirs))

    def touching_px(self, other: "_Part") -> int:
        """How large those connected parts are that share a pixel with the other."""
        labels, count = ndimage.label(self.mask, structure=np.ones((3, 3), dtype=int))
        if count < 2:
            return self.area_px
        x0, y0, x1, y1 = self.bbox_xyxy_px
        theirs = mask_in_window(other.mask, other.bbox_xyxy_px, (x0, y0, x1 - x0, y1 - y0))
        touching = np.unique(labels[theirs & self.mask])
        return int(np.count_nonzero(np.isin(labels, touching)))


def _part_in(view: View, window_px: WindowPx) -> _Part:
    """The part of a view in a window that its box shares a pixel with."""
    x0, y0, x1, y1 = bbox = clip(view.bbox_xyxy_px, window_px) or view.bbox_xyxy_px
    mask = decode_mask(view.mask_rle, view.bbox_xyxy_px)
    return _Part(bbox, mask_in_window(mask, view.bbox_xyxy_px, (x0, y0, x1 - x0, y1 - y0)))


def _thing(views: Sequence[View], scene: Scene) -> Thing:
    """What the views show together; the best whole view, if it shows most of that."""
    lefts, tops, rights, bottoms = zip(*(view.bbox_xyxy_px for view in views), strict=True)
    bbox = min(lefts), min(tops), max(rights), max(bottoms)
    mask_rle, area_px = _together(views, bbox)
    # A prompt that several tiles were asked about is whole on none of them.
    single = len(views) == 1 or views[0].prompt is None
    whole = [
        view
        for view in views
        if single and view.area_px >= _MOST * area_px and not _cut_sides(view, scene).any()
    ]
    if whole:
        best = max(whole, key=quality)
        return Thing(
            _first(best, views), best.bbox_xyxy_px, best.mask_rle, best.area_px, seen_in_part=False
        )
    largest = max(views, key=lambda view: view.area_px)
    in_part = any(_goes_on(view, bbox, scene) for view in views)
    return Thing(_first(largest, views), bbox, mask_rle, area_px, in_part)


def _together(views: Sequence[View], bbox_xyxy_px: BoxPx) -> tuple[str, int]:
    """The union of the views' masks, of the size of the box around them, and its pixels."""
    if len(views) == 1:
        return views[0].mask_rle, views[0].area_px
    x0, y0, x1, y1 = bbox_xyxy_px
    placed = (
        (
            decode_mask(view.mask_rle, view.bbox_xyxy_px),
            view.bbox_xyxy_px[0] - x0,
            view.bbox_xyxy_px[1] - y0,
        )
        for view in views
    )
    return union(placed, x1 - x0, y1 - y0)


def _first(view: View, views: Sequence[View]) -> tuple[View, ...]:
    return view, *(other for other in views if other is not view)


def _cut_sides(view: View, scene: Scene) -> npt.NDArray[np.bool_]:
    """Whether a view ends at its tile's left, upper, right and lower border, inside the scene."""
    x, y, width, height = view.tile.window_px
    borders = np.array([x, y, x + width, y + height])
    near = np.abs(np.array(view.bbox_xyxy_px) - borders) <= _NEAR_BORDER * max(width, height)
    inside = borders != np.array([0, 0, scene.width_px, scene.height_px])
    return np.asarray(near & inside)


def _goes_on(view: View, bbox_xyxy_px: BoxPx, scene: Scene) -> bool:
    """Whether a view is cut on a side beyond which the whole thing's box does not reach."""
    x, y, width, height = view.tile.window_px
    x0, y0, x1, y1 = bbox_xyxy_px
    reaches = np.array([x0 < x, y0 < y, x1 > x + width, y1 > y + height])
    return bool((_cut_sides(view, scene) & ~reaches).any())
