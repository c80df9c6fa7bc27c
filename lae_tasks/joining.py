"""One object, one region: what several tiles saw of the same thing is joined.

Tiles overlap. Where two of them look at the same ground, both have masks of what lies there: if
two masks agree in this shared margin they are views of one thing. Of a thing that some tile shows
whole, the best whole view is taken; of one that no tile shows whole, all its views together.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lae_tasks.choice import WITHIN
from lae_tasks.config import SegmentConfig
from lae_tasks.contracts import BoxPx, Prompt, Scene, Tile, WindowPx
from lae_tasks.geometry import Mask, box_overlap, clip, decode_mask, mask_in_window

#: A mask that ends closer to its tile's border, as a share of the tile's side, may end there only
#: because the tile does: models do not paint to the last pixel.
_NEAR_BORDER = 0.01
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
            it. A view of one tile goes with one of the other at most, except for what the border
            of a tile cut off: however small, it goes with what it lies within. Views of prompts
            go together if it is the same prompt.
    """
    pairs = np.array(list(_pairs(views, scene, config)), dtype=np.int64).reshape(-1, 2)
    linked = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(views),) * 2)
    _, number = connected_components(linked, directed=False)
    members: defaultdict[int, list[View]] = defaultdict(list)
    for view, thing in zip(views, number.tolist(), strict=True):
        members[thing].append(view)
    for each in members.values():
        yield _thing(each, scene)


def _pairs(views: Sequence[View], scene: Scene, config: SegmentConfig) -> Iterator[tuple[int, int]]:
    """Numbers of views that are one thing, two by two."""
    is_cut = [any(_cut_sides(view, scene)) for view in views]
    of_tile: defaultdict[str, list[int]] = defaultdict(list)
    of_prompt: defaultdict[str, list[int]] = defaultdict(list)
    for number, view in enumerate(views):
        if view.prompt:
            of_prompt[view.prompt.prompt_id].append(number)
        else:
            of_tile[view.tile.tile_id].append(number)
    for numbers in of_prompt.values():
        yield from ((numbers[0], other) for other in numbers[1:])
    tiles = {views[numbers[0]].tile: numbers for numbers in of_tile.values()}
    for one, other, margin in _neighbours(list(tiles)):
        ones, others = (
            [i for i in tiles[t] if clip(views[i].bbox_xyxy_px, margin)] for t in (one, other)
        )
        if ones and others:
            yield from _matches(views, is_cut, ones, others, margin, config)


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


def _matches(
    views: Sequence[View],
    is_cut: Sequence[bool],
    ones: Sequence[int],
    others: Sequence[int],
    margin: WindowPx,
    config: SegmentConfig,
) -> Iterator[tuple[int, int]]:
    """Which views of two tiles are one thing: the best match first, each view at most once."""
    found: list[tuple[float, int, int]] = []
    parts = {i: _part_in(views[i], margin) for i in (*ones, *others)}
    boxes = np.array([parts[j].bbox_xyxy_px for j in others], dtype=np.float64)
    for i in ones:
        box = np.array(parts[i].bbox_xyxy_px, dtype=np.float64)
        for j in (others[k] for k in np.flatnonzero(box_overlap(box, boxes) > 0)):
            shared = parts[i].shared_px(parts[j])
            small, large = sorted((parts[i].area_px, parts[j].area_px))
            iou = shared / (small + large - shared)
            nested = shared > WITHIN * small and small > config.nested_share * large
            if iou >= config.join_iou or nested:
                found.append((iou, i, j))
            elif any(is_cut[k] and _is_cut_off(views[k], shared, large) for k in (i, j)):
                yield i, j
    used: set[int] = set()
    for _, i, j in sorted(found, key=lambda match: (-match[0], match[1:])):
        if i not in used and j not in used:
            used |= {i, j}
            yield i, j


def _is_cut_off(view: View, shared: int, large: int) -> bool:
    """Whether a cut view lies in one that covers `large` pixels of the margin, and is no detail."""
    return shared > _CUT_OFF_WITHIN * view.area_px and shared > _CUT_OFF_SHARE * large


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
    whole = [view for view in views if not any(_cut_sides(view, scene))]
    if whole or len(views) == 1:
        best = max(whole or views, key=lambda v: v.predicted_iou * v.stability_score)
        mask = decode_mask(best.mask_rle, best.bbox_xyxy_px)
        ordered = (best, *(view for view in views if view is not best))
        return Thing(ordered, best.bbox_xyxy_px, mask, seen_in_part=not whole)
    lefts, tops, rights, bottoms = zip(*(view.bbox_xyxy_px for view in views), strict=True)
    x0, y0, x1, y1 = min(lefts), min(tops), max(rights), max(bottoms)
    mask = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for view in views:
        left, top, right, bottom = view.bbox_xyxy_px
        part = decode_mask(view.mask_rle, view.bbox_xyxy_px)
        mask[top - y0 : bottom - y0, left - x0 : right - x0] |= part
    largest = max(views, key=lambda view: view.area_px)
    ordered = (largest, *(view for view in views if view is not largest))
    in_part = any(_goes_on(view, (x0, y0, x1, y1), scene) for view in views)
    return Thing(ordered, (x0, y0, x1, y1), mask, in_part)


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
