"""Tiles, regions and decisions become Label Studio tasks: one task per tile with its boxes."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from lae_tasks.contracts import Decision, Outcome, Region, ReviewItem, Tile, VerdictAction
from lae_tasks.geometry import clip
from lae_tasks.regions.rle import Runs
from lae_tasks.review.boxes import to_percent
from lae_tasks.review.label_config import BOX, CONTEXT, CONTEXT_PREFIX, IMAGE, MASK, MASK_PREFIX
from lae_tasks.review.labels import labels
from lae_tasks.review.verdicts import fold_verdicts
from lae_tasks.state import State

#: One constant name: Label Studio shows a prediction only if its version is the project's.
MODEL_VERSION = "lae"
OUTLINE_PX = 2


@dataclass(frozen=True)
class ReviewTask:
    """A tile with the boxes that stewards are to look at.

    Attributes:
        key: `data.lae_key` of the task in Label Studio: the tile and a digest of its boxes.
        items: The boxes as they are sent, in reading order.
        regions: The regions of the items, in the same order.
        decisions: The decisions on them, in the same order.
        context: Regions that need no look here, shown in grey: accepted, or asked on another tile.
        labels: The categories beside the tile, as Label Studio takes them.
        image_uri: `s3://bucket/key` of the tile's rendition.
        title: What the steward reads above the tile.
    """

    key: str
    tile: Tile
    items: tuple[ReviewItem, ...]
    regions: tuple[Region, ...]
    decisions: tuple[Decision, ...]
    context: tuple[Region, ...]
    labels: list[dict[str, str]]
    image_uri: str
    title: str

    def payload(self) -> dict[str, Any]:
        """The task as Label Studio imports it, with the boxes as its prediction."""
        tile, window = self.tile, self.tile.window_px
        results = [
            _rectangle(BOX, item.region_id, to_percent(item.bbox_xyxy_px, window), item.category)
            for item in self.items
        ]
        results += [_mask(MASK_PREFIX + region.region_id, region, tile) for region in self.regions]
        results += [
            _rectangle(
                CONTEXT,
                CONTEXT_PREFIX + region.region_id,
                to_percent(clip(region.bbox_xyxy_px, window) or region.bbox_xyxy_px, window),
                "context",
            )
            | {"readonly": True}
            for region in self.context
        ]
        size = {"original_width": window[2], "original_height": window[3]}
        return {
            "data": {
                "image": self.image_uri,
                "title": self.title,
                "labels": self.labels,
                "lae_key": self.key,
            },
            "predictions": [
                {
                    "model_version": MODEL_VERSION,
                    "score": min(decision.confidence for decision in self.decisions),
                    "result": [size | {"image_rotation": 0} | result for result in results],
                }
            ],
        }


def regions_to_review(state: State) -> dict[str, Decision]:
    """The decisions whose regions go to the stewards: in doubt, or drawn for the audit."""
    return {
        region_id: decision
        for region_id, decision in sorted(state.decisions.items())
        if decision.outcome is Outcome.REVIEW or decision.in_audit
    }


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
    return None if category_shown(decision) else "no category"


def build_tasks(
    state: State, store_uri: str, night: str, vocabulary: Sequence[str] = ()
) -> Iterator[ReviewTask]:
    """Puts the regions to review together by tile, ordered by tile.

    Regions of the audit look exactly like the others; `unfit` ones are left out.

    Args:
        state: The night's tiles, regions and decisions.
        store_uri: `s3://bucket/prefix` of the store, as the tiles' image keys are relative to it.
        night: Shown to the steward.
        vocabulary: The config's.
    """
    asked = {
        region_id: decision
        for region_id, decision in regions_to_review(state).items()
        if unfit(decision, state) is None
    }
    by_tile: defaultdict[str, list[Decision]] = defaultdict(list)
    for decision in asked.values():
        by_tile[decision.tile_id].append(decision)
    verdicts = fold_verdicts(state.verdicts.values())
    settled: defaultdict[str, list[Region]] = defaultdict(list)
    for region in sorted(state.regions.values(), key=_reading_order):
        engine, steward = state.decisions.get(region.region_id), verdicts.get(region.region_id)
        is_in = engine and (region.region_id in asked or engine.outcome is Outcome.ACCEPT)
        if is_in and not (steward and steward.action is VerdictAction.REJECT):
            settled[region.scene_id].append(region)
    for tile_id, decisions in sorted(by_tile.items()):
        tile = state.tiles[tile_id]
        here = {decision.region_id for decision in decisions}
        context = [
            region
            for region in settled[tile.scene_id]
            if region.region_id not in here and clip(region.bbox_xyxy_px, tile.window_px)
        ]
        title = f"{tile.raw_key} · {_place(tile)} · {night}"
        yield _task(state, tile, decisions, context, vocabulary, store_uri, title)


def _task(
    state: State,
    tile: Tile,
    decisions: Iterable[Decision],
    context: Iterable[Region],
    vocabulary: Sequence[str],
    store_uri: str,
    title: str,
) -> ReviewTask:
    ordered = sorted(decisions, key=lambda d: _reading_order(state.regions[d.region_id]))
    regions = [state.regions[decision.region_id] for decision in ordered]
    unkeyed = [
        ReviewItem(
            region_id=region.region_id,
            task_key="",
            tile_id=tile.tile_id,
            scene_id=tile.scene_id,
            window_px=tile.window_px,
            category=category_shown(decision) or "",
            bbox_xyxy_px=clip(region.bbox_xyxy_px, tile.window_px) or region.bbox_xyxy_px,
        )
        for region, decision in zip(regions, ordered, strict=True)
    ]
    key = task_key(tile.tile_id, unkeyed)
    items = [item.model_copy(update={"task_key": key}) for item in unkeyed]
    return ReviewTask(
        key=key,
        tile=tile,
        items=tuple(items),
        regions=tuple(regions),
        decisions=tuple(ordered),
        context=tuple(context),
        labels=labels(items, ordered, vocabulary),
        image_uri=f"{store_uri}/{tile.image_key}",
        title=title,
    )


def _place(tile: Tile) -> str:
    x, y, width, height = tile.window_px
    return f"{width}×{height} at {x}, {y}"


def _reading_order(region: Region) -> tuple[int, int, str]:
    x0, y0, _, _ = region.bbox_xyxy_px
    return y0, x0, region.region_id


def task_key(tile_id: str, items: Iterable[ReviewItem]) -> str:
    """The key by which a task is known again: the same tile with the same boxes and names."""
    shown = sorted(f"{item.region_id} {item.category} {item.bbox_xyxy_px}" for item in items)
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


def vocabulary(state: State, names: Iterable[str]) -> list[str]:
    """Every category name that the engine or a steward has used, and the config's; sorted."""
    found = set(names)
    for decision in state.decisions.values():
        found.update(name for name in (decision.category, *decision.candidates) if name)
    found.update(verdict.category for verdict in state.verdicts.values() if verdict.category)
    return sorted(found)
