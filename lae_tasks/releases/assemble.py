"""The current truth of a store as a dataset: decisions overlaid by the stewards' verdicts.

An object is in if the engine accepted it and no steward rejected it, or if a steward kept or
added it. What waits for a steward is not in, nor is what a steward's object makes a duplicate.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lae_tasks.config import Config
from lae_tasks.contracts import (
    BoxPx,
    Decision,
    Outcome,
    Region,
    ReviewItem,
    Tile,
    Verdict,
    VerdictAction,
    review_item_id,
)
from lae_tasks.geometry import Mask, clip, encode_mask, mask_bbox
from lae_tasks.imagery.georeference import Georeference, place_of
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.regions.rle import Runs, rle_in_frame
from lae_tasks.releases.dataset import (
    STEWARD,
    Annotation,
    Annotations,
    Category,
    Dataset,
    Object,
    ReleaseImage,
)
from lae_tasks.releases.manifest import ReleaseManifest
from lae_tasks.releases.twins import without_twins
from lae_tasks.review.boxes import beyond_tile
from lae_tasks.review.verdicts import fold_verdicts, respelled
from lae_tasks.state import State

logger = logging.getLogger(__name__)

_MIN_COVER = 0.5
"""A mask no longer fits a steward's box that keeps less than this share of its pixels, or that it
fills less than this share as well as it filled its own."""


@dataclass(frozen=True)
class _Shown:
    """What a tile shows of an object: box and RLE in the tile's pixels."""

    tile: Tile
    item: Object
    bbox_xyxy_px: BoxPx
    mask_rle: str
    area_px: int


def assemble(state: State, config: Config, parent: ReleaseManifest | None = None) -> Dataset:
    """Puts together what the next release would hold.

    Args:
        state: Everything that the nights and the stewards have produced.
        config: The release's settings and the vocabulary.
        parent: The release before; category numbers are taken over from it.
    """
    left_out: Counter[str] = Counter()
    objects = current_objects(state, config, left_out)
    categories = _categories(
        config, parent, {item.category for items in objects.values() for item in items}
    )
    tiles = sorted(state.tiles.values(), key=_reading_order)
    places = {scene.scene_id: place_of(scene) for scene in state.scenes.values()}
    image_of = {
        tile.tile_id: _image(number, tile, places.get(tile.scene_id))
        for number, tile in enumerate(tiles, start=1)
    }
    shown = _shown(objects, tiles, config.release.min_object_share, left_out)
    number_of = {category.name: category.category_id for category in categories}
    annotations = Annotations.of(
        _annotation(
            number,
            each,
            image_of[each.tile.tile_id].image_id,
            number_of[each.item.category],
            places.get(each.item.scene_id),
        )
        for number, each in enumerate(shown, start=1)
    )
    images = tuple(image_of.values())
    return Dataset(images, annotations, categories, dict(sorted(left_out.items())))


def current_objects(
    state: State, config: Config, left_out: Counter[str]
) -> dict[str, list[Object]]:
    """The objects that are in, by scene; counts the rest by reason."""
    found: defaultdict[str, list[Object]] = defaultdict(list)
    for item in _objects(state, config.vocabulary, left_out):
        found[item.scene_id].append(item)
    return {key: without_twins(items, config.route, left_out) for key, items in found.items()}


def _reading_order(tile: Tile) -> tuple[str, str, int, int, str]:
    x, y = tile.window_px[:2]
    return tile.raw_key, tile.scene_id, y, x, tile.tile_id


def _objects(state: State, vocabulary: Vocabulary, left_out: Counter[str]) -> Iterator[Object]:
    """The objects that are in, ordered by region id; counts the rest by reason."""
    verdicts = fold_verdicts(respelled(state.verdicts.values(), vocabulary.spelled))
    # A vocabulary that is respelled renames what was said before, too.
    said = {verdict.category for verdict in verdicts.values()}
    said |= {decision.category for decision in state.decisions.values()}
    spelling = {name: vocabulary.spelled(name) for name in said if name}
    for region_id in sorted(state.decisions.keys() | verdicts.keys()):
        region = state.regions.get(region_id)
        decision = state.decisions.get(region_id)
        verdict = verdicts.get(region_id)
        if verdict:
            sent = state.review_items.get(review_item_id(verdict.task_key, region_id))
            category = verdict.category or (decision.category if decision else None)
            category = spelling.get(category or "")
            item = _by_steward(verdict, category, region, sent)
            reason = "rejected by a steward"
            if item is None and verdict.action is not VerdictAction.REJECT:
                reason = "verdict on a region that is gone"
        elif region and decision:
            item = _by_engine(region, decision, spelling.get(decision.category or ""))
            waits = decision.outcome is Outcome.REVIEW
            reason = "waiting for a steward" if waits else "rejected by a rule"
        else:
            item, reason = None, "decision on a region that is gone"
        if item:
            yield item
        else:
            left_out[reason] += 1
            logger.debug("%s is left out: %s", region_id, reason)


def _by_engine(region: Region, decision: Decision, category: str | None) -> Object | None:
    if decision.outcome is not Outcome.ACCEPT or category is None:
        return None
    return Object(
        region_id=region.region_id,
        scene_id=region.scene_id,
        category=category,
        bbox_xyxy_px=region.bbox_xyxy_px,
        mask_rle=region.mask_rle,
        area_px=region.area_px,
        score=round(decision.confidence, 6),
        source=f"engine:{decision.rule}",
    )


def _by_steward(
    verdict: Verdict,
    category: str | None,
    region: Region | None,
    sent: ReviewItem | None,
) -> Object | None:
    """The object as the steward left it; None if it is not one, or its region is gone."""
    if verdict.action is VerdictAction.REJECT or category is None:
        return None
    if region is None and verdict.action is not VerdictAction.ADD:
        return None
    bbox = verdict.bbox_xyxy_px
    if region and bbox == (sent or region).bbox_xyxy_px:  # as the steward saw it: not moved
        bbox, mask_rle, area_px = region.bbox_xyxy_px, region.mask_rle, region.area_px
    else:
        bbox = beyond_tile(bbox, sent, region) if sent and region else bbox
        mask = adjusted_mask(region, bbox) if region else _rectangle(bbox)
        mask_rle, area_px = encode_mask(mask), int(mask.sum())
    return Object(
        region_id=verdict.region_id,
        scene_id=verdict.scene_id,
        category=category,
        bbox_xyxy_px=bbox,
        mask_rle=mask_rle,
        area_px=area_px,
        score=1.0,
        source=STEWARD,
    )


def _size_px(bbox_xyxy_px: BoxPx) -> int:
    x0, y0, x1, y1 = bbox_xyxy_px
    return (x1 - x0) * (y1 - y0)


def _rectangle(bbox_xyxy_px: BoxPx) -> Mask:
    x0, y0, x1, y1 = bbox_xyxy_px
    return np.ones((y1 - y0, x1 - x0), dtype=bool)


def adjusted_mask(region: Region, bbox_xyxy_px: BoxPx) -> Mask:
    """The region's mask cut to a steward's box, or the whole box where that covers too little.

    Returns:
        bool, of the size of the new box.
    """
    x0, y0, x1, y1 = bbox_xyxy_px
    cut = Runs(region.mask_rle, region.bbox_xyxy_px).window((x0, y0, x1 - x0, y1 - y0))
    # Compared with the mask itself, not with the box: an airplane fills a quarter of its own box.
    keeps_its_pixels = cut.sum() >= _MIN_COVER * region.area_px
    filled = region.area_px / _size_px(region.bbox_xyxy_px)
    fills_the_box = cut.mean() >= _MIN_COVER * filled
    return cut if keeps_its_pixels and fills_the_box else _rectangle(bbox_xyxy_px)


def _categories(
    config: Config, parent: ReleaseManifest | None, used: set[str]
) -> tuple[Category, ...]:
    """The parent's categories, then new ones: the vocabulary's in its order, others sorted.

    A category goes only if it left the vocabulary and nothing bears it. Its number is not used
    again.
    """
    vocabulary = config.vocabulary.names
    gone: set[str] = set()
    if parent and vocabulary:
        gone = set(parent.vocabulary) - set(vocabulary) - used
    kept = [
        (entry.category_id, entry.name)
        for entry in (parent.categories if parent else ())
        if entry.name not in gone
    ]
    known = {name for _, name in kept}
    names = [*vocabulary, *sorted(used - set(vocabulary))]
    new = [name for name in dict.fromkeys(names) if name not in known]
    first = parent.next_category_id if parent else 1
    parent_of = {category.name: category.parent or "" for category in config.vocabulary.categories}
    numbered = (*kept, *enumerate(new, start=first))
    return tuple(Category(number, name, parent_of.get(name, "")) for number, name in numbered)


def _image(number: int, tile: Tile, place: Georeference | None) -> ReleaseImage:
    return ReleaseImage(
        image_id=number,
        tile_id=tile.tile_id,
        scene_id=tile.scene_id,
        scene_key=tile.raw_key,
        window_px=tile.window_px,
        key=tile.image_key,
        sha256=tile.image_sha256,
        place=place.window(*tile.window_px[:2]) if place else None,
    )


def _shown(
    objects: dict[str, list[Object]],
    tiles: Sequence[Tile],
    min_share: float,
    left_out: Counter[str],
) -> list[_Shown]:
    """Which object is annotated on which tile, in the order of tiles and region ids.

    An object that no tile shows enough of is annotated on those that show most of it: enough of
    what the best of them shows.
    """
    of_scene: defaultdict[str, list[Tile]] = defaultdict(list)
    for tile in tiles:
        of_scene[tile.scene_id].append(tile)
    on_tile: defaultdict[str, list[_Shown]] = defaultdict(list)
    for scene_id, items in objects.items():
        for item in items:
            # Parts, not the whole: an object may be as large as its scene.
            runs = Runs(item.mask_rle, item.bbox_xyxy_px)
            touched = [t for t in of_scene[scene_id] if clip(item.bbox_xyxy_px, t.window_px)]
            seen = [(tile, int(_part(runs, item, tile).sum())) for tile in touched]
            best_px = max((area_px for _, area_px in seen), default=0)
            if not best_px:
                left_out["no tile shows it"] += 1
            for tile, area_px in seen:
                if area_px and area_px >= min_share * best_px:
                    on_tile[tile.tile_id].append(_on(tile, item, _part(runs, item, tile)))
    return [each for tile in tiles for each in on_tile[tile.tile_id]]


def _part(runs: Runs, item: Object, tile: Tile) -> Mask:
    """The object's mask in that part of its box that the tile shows."""
    x0, y0, x1, y1 = clip(item.bbox_xyxy_px, tile.window_px) or (0, 0, 0, 0)
    return runs.window((x0, y0, x1 - x0, y1 - y0))


def _on(tile: Tile, item: Object, part: Mask) -> _Shown:
    x, y, width, height = tile.window_px
    left, top = max(item.bbox_xyxy_px[0] - x, 0), max(item.bbox_xyxy_px[1] - y, 0)
    x0, y0, x1, y1 = 0, 0, *part.shape[::-1]
    if part.size < _size_px(item.bbox_xyxy_px):
        x0, y0, x1, y1 = mask_bbox(part)  # cut by the tile's edge: what is left has its own box
    return _Shown(
        tile=tile,
        item=item,
        bbox_xyxy_px=(left + x0, top + y0, left + x1, top + y1),
        mask_rle=rle_in_frame(part, left, top, width, height),
        area_px=int(part.sum()),
    )


def _annotation(
    number: int,
    shown: _Shown,
    image_id: int,
    category_id: int,
    place: Georeference | None,
) -> Annotation:
    item = shown.item
    x0, y0, x1, y1 = item.bbox_xyxy_px
    middle = (x0 + x1) / 2, (y0 + y1) / 2
    pixel_m2 = place.pixel_area_m2(*middle) if place else None
    lon_lat = place.lon_lat(*middle) if place else None
    return Annotation(
        annotation_id=number,
        image_id=image_id,
        region_id=item.region_id,
        category_id=category_id,
        category=item.category,
        bbox_xyxy_px=shown.bbox_xyxy_px,
        mask_rle=shown.mask_rle,
        area_px=shown.area_px,
        bbox_scene_xyxy_px=item.bbox_xyxy_px,
        score=item.score,
        source=item.source,
        # Rounded to what means something: a square decimetre, and a centimetre on the ground.
        area_m2=round(item.area_px * pixel_m2, 2) if pixel_m2 else None,
        lon_lat=(round(lon_lat[0], 7), round(lon_lat[1], 7)) if lon_lat else None,
    )
