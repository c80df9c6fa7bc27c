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
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lae_tasks.choice import is_one_thing, quality
from lae_tasks.config import SegmentConfig
from lae_tasks.contracts import BoxPx, Prompt, Scene, Tile, WindowPx
from lae_tasks.geometry import Mask, box_overlap, clip, decode_mask, mask_in_window

#: A mask that ends closer to its tile's border, as a share of the tile's side, may end there only
#: because the tile does: models do not paint to the last pixel.
_NEAR_BORDER = 0.01
#: A whole view that shows less of what all views show together is only a part of the thing, too.
_NEARLY_ALL = 0.75
#: What a border cut off of a thing lies in the thing's other view so far,
_CUT_OFF_WITHIN = 0.7
#: and is so much of what both tiles could see of it. A car at a border is no part of the car park.
_CUT_OFF_SHARE = 0.1


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
    """An object in a scene; the mask is bool, of its box's size.

    Attributes:
        views: What the tiles show of it; the scores are those of the first.
        seen_in_part: It ends where its tiles end, and the scene goes on.
    """

    views: tuple[View, ...]
    bbox_xyxy_px: BoxPx
    mask: Mask
    seen_in_part: bool


def join(views: Sequence[View], scene: Scene, config: SegmentConfig) -> Iterator[Thing]:
    """The things that a scene's views show, in the order of their first views.

    Args:
        views: All views of all tiles of the scene, tile by tile.
        scene: For its size.
        config: Two views are one thing if their IoU in the margin that both tiles show is
            `join_iou` or more, or one lies within the other and fills more than `nested_share` of
            it. A view of one tile goes with one of the other at most. What the border of a tile
            cut off and no other view is like goes with what it lies within. Views of prompts go
            together if it is the same prompt; what the grid found of it besides is left out.
    """
    links, left_out = _links(views, scene, config)
    pairs = np.array(links, dtype=np.int64).reshape(-1, 2)
    linked = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(views),) * 2)
    _, numbers = connected_components(linked, directed=False)
    members: defaultdict[int, list[View]] = defaultdict(list)
    for index, (view, number) in enumerate(zip(views, numbers.tolist(), strict=True)):
        if index not in left_out:
            members[number].append(view)
    for each in members.values():
        yield _thing(each, scene)


def _links(
    views: Sequence[View], scene: Scene, config: SegmentConfig
) -> tuple[list[tuple[int, int]], set[int]]:
    """Numbers of views that are one thing, two by two; and of views of a prompt's thing."""
    of_tile: defaultdict[str, list[int]] = defaultdict(list)
    of_prompt: defaultdict[str, list[int]] = defaultdict(list)
    for number, view in enumerate(views):
        of_tile[view.tile.tile_id].append(number)
        if view.prompt:
            of_prompt[view.prompt.prompt_id].append(number)
    links = [(numbers[0], other) for numbers in of_prompt.values() for other in numbers[1:]]
    left_out: set[int] = set()
    matched: set[int] = set()
    within: list[tuple[int, int]] = []
    tiles = {views[numbers[0]].tile: numbers for numbers in of_tile.values()}
    for one, other, margin in _neighbours(list(tiles)):
        ones, others = (
            [i for i in tiles[t] if clip(views[i].bbox_xyxy_px, margin)] for t in (one, other)
        )
        overlaps = _overlaps(views, ones, others, margin)
        for i, j in _matches(overlaps, config):
            prompted = [k for k in (i, j) if views[k].prompt]
            if len(prompted) == 1:
                left_out.add(j if prompted == [i] else i)
            elif not prompted:
                links.append((i, j))
                matched |= {i, j}
        within += _cut_off(overlaps, views, scene)
    links += [(i, j) for i, j in within if i not in matched and not views[j].prompt]
    return links, left_out


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
    """How two views overlap in the margin that both tiles show, in pixels."""

    one: int
    other: int
    shared_px: int
    one_px: int
    other_px: int

    @property
    def iou(self) -> float:
        return self.shared_px / (self.one_px + self.other_px - self.shared_px)


def _overlaps(
    views: Sequence[View], ones: Sequence[int], others: Sequence[int], margin: WindowPx
) -> list[_Overlap]:
    """Each two views of two tiles that share a pixel."""
    found: list[_Overlap] = []
    if not ones or not others:
        return found
    parts = {i: _part_in(views[i], margin) for i in (*ones, *others)}
    boxes = np.array([parts[j].bbox_xyxy_px for j in others], dtype=np.float64)
    for i in ones:
        box = np.array(parts[i].bbox_xyxy_px, dtype=np.float64)
        for j in (others[k] for k in np.flatnonzero(box_overlap(box, boxes) > 0)):
            shared = parts[i].shared_px(parts[j])
            if shared:
                found.append(_Overlap(i, j, shared, parts[i].area_px, parts[j].area_px))
    return found


def _matches(overlaps: Sequence[_Overlap], config: SegmentConfig) -> Iterator[tuple[int, int]]:
    """Which views of two tiles are one thing: the best match first, each view at most once."""
    used: set[int] = set()
    for each in sorted(overlaps, key=lambda o: (-o.iou, o.one, o.other)):
        same = is_one_thing(
            each.shared_px, each.one_px, each.other_px, config.join_iou, config.nested_share
        )
        if same and not used & {each.one, each.other}:
            used |= {each.one, each.other}
            yield each.one, each.other


def _cut_off(
    overlaps: Sequence[_Overlap], views: Sequence[View], scene: Scene
) -> Iterator[tuple[int, int]]:
    """Views that a border cut, each with a view that it lies within and is no mere detail of."""
    for each in overlaps:
        for small, large in ((each.one, each.other), (each.other, each.one)):
            large_px = each.one_px if large == each.one else each.other_px
            inside = each.shared_px > _CUT_OFF_WITHIN * views[small].area_px
            grown = each.shared_px > _CUT_OFF_SHARE * large_px
            is_cut = not views[small].prompt and _cut_sides(views[small], scene).any()
            if inside and grown and is_cut:
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


def _part_in(view: View, window_px: WindowPx) -> _Part:
    """The part of a view in a window that its box shares a pixel with."""
    x0, y0, x1, y1 = bbox = clip(view.bbox_xyxy_px, window_px) or view.bbox_xyxy_px
    mask = decode_mask(view.mask_rle, view.bbox_xyxy_px)
    return _Part(bbox, mask_in_window(mask, view.bbox_xyxy_px, (x0, y0, x1 - x0, y1 - y0)))


def _thing(views: Sequence[View], scene: Scene) -> Thing:
    """What the views show together; the best whole view, if it shows nearly all of that."""
    lefts, tops, rights, bottoms = zip(*(view.bbox_xyxy_px for view in views), strict=True)
    x0, y0, x1, y1 = bbox = min(lefts), min(tops), max(rights), max(bottoms)
    together = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for view in views:
        left, top, right, bottom = view.bbox_xyxy_px
        part = decode_mask(view.mask_rle, view.bbox_xyxy_px)
        together[top - y0 : bottom - y0, left - x0 : right - x0] |= part
    enough_px = _NEARLY_ALL * np.count_nonzero(together)
    # A prompt that several tiles were asked about is whole on none of them.
    single = len(views) == 1 or views[0].prompt is None
    whole = [
        view
        for view in views
        if single and view.area_px >= enough_px and not _cut_sides(view, scene).any()
    ]
    if whole:
        best = max(whole, key=quality)
        mask = decode_mask(best.mask_rle, best.bbox_xyxy_px)
        return Thing(_first(best, views), best.bbox_xyxy_px, mask, seen_in_part=False)
    largest = max(views, key=lambda view: view.area_px)
    in_part = any(_goes_on(view, bbox, scene) for view in views)
    return Thing(_first(largest, views), bbox, together, in_part)


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
