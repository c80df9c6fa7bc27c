"""Segment: the Tiles of a scene become Regions, by SAM's masks: one region for each object."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lae_tasks.accounts import Done, Rejection
from lae_tasks.backends.protocols import MaskGenerator, MaskProposal
from lae_tasks.config import SegmentConfig
from lae_tasks.contracts import Prompt, PromptType, Region, Scene, Tile
from lae_tasks.geometry import box_overlap, clip, encode_mask, mask_bbox, mask_in_window
from lae_tasks.regions.choice import chosen, quality, without_duplicates
from lae_tasks.regions.joining import Thing, View, join
from lae_tasks.stages.tile import load_image
from lae_tasks.storage import MissingObjectError, Storage

STAGE = "segment"

#: A tile that shows less of a box than this share of what the best one shows sees a sliver, of
#: which a model makes worse than nothing: measured with the demo's.
_SLIVER = 0.1
#: A tile that adds less than this share to what others show of a box is not needed.
_ADDS = 0.02
#: How far what several tiles answer may reach beyond their box, as a share of its sides.
_BEYOND_BOX = 0.05


def run(
    tiles: Sequence[Tile],
    scenes: Mapping[str, Scene],
    prompts: Sequence[Prompt],
    store: Storage,
    generator: MaskGenerator,
    config: SegmentConfig,
) -> Iterator[Done | Rejection]:
    """Finds the regions of each scene, tile by tile.

    A scene that came with prompts gets a mask for each of them; others are searched by a grid.

    Args:
        tiles: All tiles of the scenes.
        scenes: The scenes, by id.
        prompts: What the scenes came with.
        store: Where the tiles' renditions lie.
        generator: SAM.
        config: The stage's settings.

    Yields:
        One Done or Rejection for each tile, with the Regions that it shows most of. Counters: the
        masks that were `duplicates` within a tile, the views that were `joined` into another
        tile's, the regions `beyond_max_regions`, and the `prompts_without_mask`.
    """
    of_scene: defaultdict[str, list[Tile]] = defaultdict(list)
    for tile in tiles:
        of_scene[tile.scene_id].append(tile)
    for scene_id, members in of_scene.items():
        asked = [prompt for prompt in prompts if prompt.scene_id == scene_id]
        yield from _Segmenter(scenes[scene_id], store, generator, config).run(members, asked)


class _Segmenter:
    """Segments one scene."""

    def __init__(
        self, scene: Scene, store: Storage, generator: MaskGenerator, config: SegmentConfig
    ) -> None:
        self._scene, self._store = scene, store
        self._generator, self._config = generator, config
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def run(self, tiles: Sequence[Tile], prompts: Sequence[Prompt]) -> Iterator[Done | Rejection]:
        asked = _asked_on(tiles, prompts)
        views: list[View] = []
        seen: list[Tile] = []
        for tile in tiles:
            try:
                views += self._views(tile, asked[tile.tile_id], bool(prompts))
                seen.append(tile)
            except MissingObjectError as error:
                yield Rejection(
                    rejected_id=tile.tile_id, stage=STAGE, reason="image gone", detail=str(error)
                )
        regions = self._regions(views)
        answered = {view.prompt.prompt_id for view in views if view.prompt}
        if seen:  # by the first tile: a prompt may lie where no tile is
            unanswered = len({prompt.prompt_id for prompt in prompts} - answered)
            self._counts[seen[0].tile_id]["prompts_without_mask"] += unanswered
        for tile in seen:
            yield Done(tile.tile_id, regions[tile.tile_id], self._counts[tile.tile_id])

    def _views(self, tile: Tile, prompts: Sequence[Prompt], scene_has_prompts: bool) -> list[View]:
        """What one tile shows, in scene pixels: of its prompts first, then of the grid."""
        by_grid = not scene_has_prompts or self._config.grid_beside_prompts
        if not prompts and not by_grid:
            return []
        image = load_image(tile, self._store)
        masks: list[MaskProposal] = []
        answered: list[Prompt] = []
        if prompts:
            boxes = np.array([_in_tile(prompt, tile) for prompt in prompts], dtype=np.float32)
            for mask, prompt in zip(self._generator.answer(image, boxes), prompts, strict=True):
                if mask and (mask := _near_box(mask, prompt, tile)):
                    masks.append(mask)
                    answered.append(prompt)
        if by_grid:
            masks += self._generator.generate(image)
        kept = without_duplicates(masks, self._config, len(answered)) if by_grid else masks
        self._counts[tile.tile_id]["duplicates"] += len(masks) - len(kept)
        unasked = [None] * (len(kept) - len(answered))
        return [
            _view(tile, mask, prompt)
            for mask, prompt in zip(kept, [*answered, *unasked], strict=True)
        ]

    def _regions(self, views: Sequence[View]) -> dict[str, list[Region]]:
        """The regions of the scene, by the tile that shows most of each."""
        at_home: defaultdict[str, list[tuple[Region, int, float]]] = defaultdict(list)
        of_prompts: defaultdict[str, list[Region]] = defaultdict(list)
        for thing in join(views, self._scene, self._config):
            region = _region(thing)
            self._counts[region.tile_id]["joined"] += len(thing.views) - 1
            if thing.views[0].prompt:
                of_prompts[region.tile_id].append(region)
            else:
                at_home[region.tile_id].append((region, region.area_px, quality(region)))
        regions: dict[str, list[Region]] = defaultdict(list, of_prompts)
        for tile_id, things in at_home.items():
            things.sort(key=lambda thing: (-thing[1], thing[0].bbox_xyxy_px))
            few = chosen(things, self._config)
            regions[tile_id] += few
            self._counts[tile_id]["beyond_max_regions"] += len(things) - len(few)
        return regions


def _asked_on(tiles: Sequence[Tile], prompts: Sequence[Prompt]) -> defaultdict[str, list[Prompt]]:
    """On which tiles each prompt is asked, by tile.

    The tile that shows it whole and furthest from its border; if none does, those that are needed
    to see it.
    """
    asked: defaultdict[str, list[Prompt]] = defaultdict(list)
    windows = np.array([tile.window_px for tile in tiles], dtype=np.float64).reshape(-1, 4)
    low, high = windows[:, :2], windows[:, :2] + windows[:, 2:]
    for prompt in prompts:
        start, end = np.array(prompt.bbox_xyxy_px[:2]), np.array(prompt.bbox_xyxy_px[2:])
        room = np.minimum(start - low, high - end).min(axis=1)
        if len(room) and room.max() >= 0:
            asked[tiles[int(room.argmax())].tile_id].append(prompt)
            continue
        parts = np.hstack([np.maximum(start, low), np.minimum(end, high)])
        for index in _needed(parts):
            asked[tiles[index].tile_id].append(prompt)
    return asked


def _needed(parts: npt.NDArray[np.float64]) -> Iterator[int]:
    """Of the parts (n, 4) of a box that tiles show, those that together show nearly all of them.

    The one that adds most to those before it comes next. Parts that are less than a pixel high or
    wide are none.
    """
    sizes = np.maximum(parts[:, 2:] - parts[:, :2], 0)
    areas_px = np.where((sizes >= 1).all(axis=1), sizes.prod(axis=1), 0)
    most_px = areas_px.max(initial=0)
    useful = np.flatnonzero((areas_px > 0) & (areas_px >= _SLIVER * most_px))
    x0, y0, x1, y1 = parts[useful].T[..., None]
    # The parts' sides cut the box into cells that a tile shows whole or not at all.
    xs, ys = np.unique([x0, x1]), np.unique([y0, y1])
    across = (x0 <= xs[:-1]) & (xs[1:] <= x1)
    down = (y0 <= ys[:-1]) & (ys[1:] <= y1)
    unseen_px = np.outer(np.diff(ys), np.diff(xs))
    while len(useful):
        added_px = ((down @ unseen_px) * across).sum(axis=1)
        best = int(added_px.argmax())
        if added_px[best] < _ADDS * most_px:
            return
        yield int(useful[best])
        unseen_px[np.ix_(down[best], across[best])] = 0


def _near_box(mask: MaskProposal, prompt: Prompt, tile: Tile) -> MaskProposal | None:
    """A tile's answer, not far beyond a box that the tile does not show whole; None if not near."""
    x, y, width, height = tile.window_px
    x_min, y_min, x_max, y_max = prompt.bbox_xyxy_px
    if x <= x_min and y <= y_min and x_max <= x + width and y_max <= y + height:
        return mask
    across, down = _BEYOND_BOX * (x_max - x_min), _BEYOND_BOX * (y_max - y_min)
    left, top = math.floor(x_min - across) - x, math.floor(y_min - down) - y
    right, bottom = math.ceil(x_max + across) - x, math.ceil(y_max + down) - y
    box = clip(mask.bbox_xyxy_px, (left, top, right - left, bottom - top))
    if box is None:
        return None
    left, top, right, bottom = box
    part = mask_in_window(mask.mask, mask.bbox_xyxy_px, (left, top, right - left, bottom - top))
    if not part.any():
        return None
    x0, y0, x1, y1 = mask_bbox(part)
    bbox = (left + x0, top + y0, left + x1, top + y1)
    return replace(mask, bbox_xyxy_px=bbox, mask=part[y0:y1, x0:x1])


def _in_tile(prompt: Prompt, tile: Tile) -> tuple[float, float, float, float]:
    """A prompt as far as a tile shows it, in the tile's pixels."""
    x, y, width, height = tile.window_px
    x0, y0, x1, y1 = prompt.bbox_xyxy_px
    return max(x0 - x, 0.0), max(y0 - y, 0.0), min(x1 - x, width), min(y1 - y, height)


def _view(tile: Tile, mask: MaskProposal, prompt: Prompt | None) -> View:
    x, y = tile.window_px[:2]
    x0, y0, x1, y1 = mask.bbox_xyxy_px
    return View(
        tile=tile,
        bbox_xyxy_px=(x0 + x, y0 + y, x1 + x, y1 + y),
        mask_rle=encode_mask(mask.mask),
        area_px=int(mask.mask.sum()),
        predicted_iou=mask.predicted_iou,
        stability_score=mask.stability_score,
        prompt=prompt,
    )


def _fit(thing: Thing, prompt: Prompt) -> float | None:
    """IoU of a thing's box with its prompt's; None for a point."""
    if prompt.prompt_type is not PromptType.BOX:
        return None
    box, others = np.array(prompt.bbox_xyxy_px), np.array([thing.bbox_xyxy_px], dtype=np.float64)
    return round(float(box_overlap(box, others)[0]), 4)


def _region(thing: Thing) -> Region:
    first = thing.views[0]
    identity = f"{first.tile.tile_id}|{thing.bbox_xyxy_px}|{thing.mask_rle}"
    prompt = first.prompt
    if prompt:
        identity += f"|{prompt.prompt_id}"
    return Region(
        region_id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        tile_id=first.tile.tile_id,
        scene_id=first.tile.scene_id,
        bbox_xyxy_px=thing.bbox_xyxy_px,
        mask_rle=thing.mask_rle,
        area_px=thing.area_px,
        # Rounded: the last bits of a float are no finding.
        predicted_iou=round(min(1.0, max(0.0, first.predicted_iou)), 4),
        stability_score=round(min(1.0, max(0.0, first.stability_score)), 4),
        prompt_type=prompt.prompt_type if prompt else PromptType.GRID,
        seen_in_part=thing.seen_in_part,
        prompt_category=prompt.category if prompt else None,
        prompt_iou=_fit(thing, prompt) if prompt else None,
    )
