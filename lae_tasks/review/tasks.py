"""Tiles, regions and decisions become Label Studio tasks: one task per tile with its boxes."""

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from lae_tasks.contracts import (
    BoxPx,
    Decision,
    Outcome,
    Purpose,
    Region,
    ReviewItem,
    Tile,
    TileCheck,
    VerdictAction,
    WindowPx,
    review_item_id,
)
from lae_tasks.geometry import clip
from lae_tasks.regions.rle import Runs
from lae_tasks.review.boxes import beyond_tile, to_percent
from lae_tasks.review.label_config import BOX, CONTEXT, CONTEXT_PREFIX, IMAGE, MASK, MASK_PREFIX
from lae_tasks.review.labels import labels
from lae_tasks.review.selection import NO_CATEGORY, rank
from lae_tasks.review.verdicts import fold_verdicts
from lae_tasks.state import State

logger = logging.getLogger(__name__)

#: One constant name: Label Studio shows a prediction only if its version is the project's.
MODEL_VERSION = "lae"
OUTLINE_PX = 2
#: Scores of tasks whose order is random end here.
_EARLY = 0.5
#: What the title of a tile that is checked tells.
CHECK_TITLE = "whole tile: draw what is missing"


@dataclass(frozen=True)
class ReviewTask:
    """A tile with the boxes that stewards are to look at.

    Attributes:
        key: `data.lae_key` of the task in Label Studio: the tile and a digest of its boxes.
        items: The boxes as they are sent, in reading order.
        regions: The regions of the items, by id.
        decisions: The decisions on them, as they are now.
        context: Boxes of what is not asked about here, by region, shown in grey: what stewards
            have drawn or decided, and what is accepted, or in doubt and asked on another tile, in
            another task or later.
        labels: The categories beside the tile, as Label Studio takes them.
        image_uri: `s3://bucket/key` of the tile's rendition.
        title: What the steward reads above the tile.
        left_out: Ids of the regions that were filed with the task and are gone since.
    """

    key: str
    tile: Tile
    items: tuple[ReviewItem, ...]
    regions: Mapping[str, Region]
    decisions: tuple[Decision, ...]
    context: Mapping[str, BoxPx]
    labels: list[dict[str, str]]
    image_uri: str
    title: str
    left_out: tuple[str, ...] = ()

    def payload(self) -> dict[str, Any]:
        """The task as Label Studio imports it, with the boxes as its prediction."""
        tile, window = self.tile, self.tile.window_px
        results = [
            _rectangle(BOX, item.region_id, to_percent(item.bbox_xyxy_px, window), item.category)
            for item in self.items
        ]
        results += [
            _mask(MASK_PREFIX + i.region_id, self.regions[i.region_id], tile) for i in self.items
        ]
        results += [
            _rectangle(
                CONTEXT,
                CONTEXT_PREFIX + region_id,
                to_percent(clip(box, window) or box, window),
                "context",
            )
            | {"readonly": True}
            for region_id, box in self.context.items()
        ]
        size = {"original_width": window[2], "original_height": window[3]}
        prediction = {
            "model_version": MODEL_VERSION,
            "score": self._score(),
            "result": [size | {"image_rotation": 0} | result for result in results],
        }
        data = {
            "image": self.image_uri,
            "title": self.title,
            "labels": self.labels,
            "lae_key": self.key,
        }
        if self.left_out:
            data["lae_left_out"] = list(self.left_out)
        return {"data": data, "predictions": [prediction]}

    def _score(self) -> float:
        """Label Studio serves first what has the lowest score: here, what is worth most.

        What was drawn comes early, and in a random order: what stewards have done of it by any
        time is a random sample, and they cannot tell it from what is in doubt.
        """
        if self.items and self.items[0].purpose is Purpose.DOUBT:
            return 1 - max((decision.priority for decision in self.decisions), default=0.0)
        return _EARLY * int(rank(self.key)[:8], 16) / 16**8


def category_shown(decision: Decision) -> str | None:
    """The name a box is sent with: its best candidate, else the decision's; None without any.

    The decision's is the best candidate, unless it is blocked or no name.
    """
    return next(iter(decision.candidates), decision.category)


def unfit(decision: Decision, state: State) -> str | None:
    """Why a region cannot be shown to a steward; None if it can."""
    region, tile = state.regions.get(decision.region_id), state.tiles.get(decision.tile_id)
    if region is None or tile is None:
        return "no region" if region is None else "no tile"
    if clip(region.bbox_xyxy_px, tile.window_px) is None:
        return "outside its tile"
    return None if category_shown(decision) else NO_CATEGORY


def items_for(
    state: State, decisions: Iterable[Decision], purpose: Purpose, looks: int
) -> list[ReviewItem]:
    """The boxes of a new task, in reading order, as they will be sent.

    Args:
        state: Has the decisions' regions and tile.
        decisions: Those on the regions that the task asks about, all of one tile, and not `unfit`.
        purpose: Why it is asked about.
        looks: By how many stewards.
    """
    items = []
    for decision in decisions:
        region, tile = state.regions[decision.region_id], state.tiles[decision.tile_id]
        items.append(
            ReviewItem(
                region_id=region.region_id,
                task_key="",
                tile_id=tile.tile_id,
                scene_id=tile.scene_id,
                window_px=tile.window_px,
                category=category_shown(decision) or "",
                bbox_xyxy_px=clip(region.bbox_xyxy_px, tile.window_px) or region.bbox_xyxy_px,
                purpose=purpose,
                looks=looks,
            )
        )
    items.sort(key=_reading_order)
    key = task_key(items[0].tile_id, items) if items else ""
    return [item.model_copy(update={"task_key": key}) for item in items]


def boxes_to_check(state: State, tile_ids: Iterable[str]) -> dict[str, list[Decision]]:
    """By tile the decisions on what a task that checks it shows.

    That is what is accepted or in review on it, and was not rejected by a steward.
    """
    rejected = _rejected_by_stewards(state)
    found: dict[str, list[Decision]] = {tile_id: [] for tile_id in tile_ids}
    for region_id, decision in sorted(state.decisions.items()):
        out = decision.outcome is Outcome.REJECT or region_id in rejected
        if decision.tile_id in found and not out and unfit(decision, state) is None:
            found[decision.tile_id].append(decision)
    return found


def build_tasks(
    state: State,
    items: Iterable[ReviewItem],
    checks: Iterable[TileCheck],
    store_uri: str,
    night: str,
    vocabulary: Sequence[str] = (),
) -> Iterator[ReviewTask]:
    """Makes tasks of what was filed, ordered by tile; whatever they are for, they look the same.

    A region or a tile that is gone since, as the night ran again, is left out.

    Args:
        state: The night of the items' scenes.
        items: Boxes as they were filed.
        checks: Tiles to look over; their boxes are among the items.
        store_uri: `s3://bucket/prefix` of the store, as the tiles' image keys are relative to it.
        night: Shown to the steward.
        vocabulary: The config's.
    """
    tile_of: dict[str, str] = {}
    by_key: defaultdict[str, list[ReviewItem]] = defaultdict(list)
    for item in items:
        tile_of[item.task_key] = item.tile_id
        by_key[item.task_key].append(item)
    to_check = {check.task_key: check.tile_id for check in checks}
    shown_on = _ByPlace(_known_boxes(state))
    named = [decision for decision in state.decisions.values() if decision.category]
    kept = [decision for decision in named if decision.outcome is not Outcome.REJECT]
    # What was only rejected is offered where there is nothing else to draw with.
    names = [name for name, _ in Counter(d.category for d in kept or named).most_common() if name]
    for key, tile_id in sorted((tile_of | to_check).items()):
        tile = state.tiles.get(tile_id)
        there = [item for item in by_key[key] if item.region_id in state.regions]
        left_out = {item.region_id for item in by_key[key]} - {item.region_id for item in there}
        if left_out:
            logger.info("task %s: %d regions are gone since: left out", key, len(left_out))
        if tile is None or not (there or key in to_check):
            logger.info("task %s: nothing of it is there any more: not sent", key)
            continue
        here = {item.region_id for item in there}
        title = f"{tile.raw_key} · {_window(tile)} · {night}"
        decisions = [state.decisions[i.region_id] for i in there if i.region_id in state.decisions]
        yield ReviewTask(
            key=key,
            tile=tile,
            items=tuple(sorted(there, key=_reading_order)),
            regions={item.region_id: state.regions[item.region_id] for item in there},
            decisions=tuple(decisions),
            context={
                region_id: box
                for region_id, box in shown_on(tile.scene_id, tile.window_px)
                if region_id not in here
            },
            labels=labels(there, decisions, vocabulary, names if key in to_check else ()),
            image_uri=f"{store_uri}/{tile.image_key}",
            title=f"{title} · {CHECK_TITLE}" if key in to_check else title,
            left_out=tuple(sorted(left_out)),
        )


def _known_boxes(state: State) -> dict[str, dict[str, BoxPx]]:
    """By scene the boxes of what is there, by region: as stewards have left it, else the engine.

    What a steward drew is there, too, so that nobody draws it again.
    """
    found: defaultdict[str, dict[str, BoxPx]] = defaultdict(dict)
    for region_id, decision in state.decisions.items():
        region = state.regions.get(region_id)
        if region and decision.outcome is not Outcome.REJECT:
            found[region.scene_id][region_id] = region.bbox_xyxy_px
    for region_id, verdict in fold_verdicts(state.verdicts.values()).items():
        region, boxes = state.regions.get(region_id), found[verdict.scene_id]
        if verdict.action is VerdictAction.REJECT:
            boxes.pop(region_id, None)
        elif verdict.action is VerdictAction.ADD:
            boxes[region_id] = verdict.bbox_xyxy_px
        elif region:  # else it is gone since
            sent = state.review_items.get(review_item_id(verdict.task_key, region_id))
            box = verdict.bbox_xyxy_px
            boxes[region_id] = beyond_tile(box, sent, region) if sent else box
    return {scene_id: dict(sorted(boxes.items())) for scene_id, boxes in found.items() if boxes}


class _ByPlace:
    """Finds the boxes that a window shows: a scene may have thousands of tiles."""

    def __init__(self, of_scene: Mapping[str, Mapping[str, BoxPx]]) -> None:
        self._of_scene = {scene_id: list(boxes.items()) for scene_id, boxes in of_scene.items()}
        self._boxes = {
            scene_id: np.array(list(boxes.values()), dtype=np.int64)
            for scene_id, boxes in of_scene.items()
        }

    def __call__(self, scene_id: str, window_px: WindowPx) -> list[tuple[str, BoxPx]]:
        boxes = self._boxes.get(scene_id)
        if boxes is None:
            return []
        x, y, width, height = window_px
        begins_before = (boxes[:, 0] < x + width) & (boxes[:, 1] < y + height)
        there = begins_before & (boxes[:, 2] > x) & (boxes[:, 3] > y)
        return [self._of_scene[scene_id][number] for number in np.flatnonzero(there)]


def _rejected_by_stewards(state: State) -> set[str]:
    held = fold_verdicts(state.verdicts.values())
    return {region for region, said in held.items() if said.action is VerdictAction.REJECT}


def _window(tile: Tile) -> str:
    x, y, width, height = tile.window_px
    return f"{width}×{height} at {x}, {y}"


def _reading_order(item: ReviewItem) -> tuple[int, int, str]:
    x0, y0, _, _ = item.bbox_xyxy_px
    return y0, x0, item.region_id


def task_key(tile_id: str, items: Iterable[ReviewItem]) -> str:
    """The key by which a task is known again: the same boxes of a tile, names and purpose.

    The purpose cannot be read from it: stewards could.
    """
    shown = sorted(f"{i.region_id} {i.category} {i.bbox_xyxy_px} {i.purpose}" for i in items)
    return f"{tile_id}-{hashlib.sha256('|'.join(shown).encode()).hexdigest()[:8]}"


def _rectangle(
    name: str, result_id: str, percent: Mapping[str, float], label: str
) -> dict[str, Any]:
    return {
        "id": result_id,
        "from_name": name,
        "to_name": IMAGE,
        "type": "rectanglelabels",
        "value": {**percent, "rotation": 0, "rectanglelabels": [label]},
    }


def _mask(result_id: str, region: Region, tile: Tile) -> dict[str, Any]:
    """The mask's outline, drawn around the object so that nothing of it is hidden."""
    from label_studio_sdk.converter.brush import mask2rle  # takes seconds

    placed = Runs(region.mask_rle, region.bbox_xyxy_px).window(tile.window_px)
    outline = binary_dilation(placed, iterations=OUTLINE_PX) & ~placed
    return {
        "id": result_id,
        "from_name": MASK,
        "to_name": IMAGE,
        "type": "brushlabels",
        "readonly": True,
        "value": {
            "format": "rle",
            "rle": mask2rle(outline.astype(np.uint8) * 255),  # type: ignore[no-untyped-call]
            "brushlabels": [MASK],
        },
    }
