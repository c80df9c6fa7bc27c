"""Route: every Label becomes a Decision: accept, review or reject, with the rule's name."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lae_tasks.backends.protocols import TextEmbedder
from lae_tasks.config import RouteConfig
from lae_tasks.contracts import Decision, Done, Label, Merge, Outcome, Region, Scene, Tile
from lae_tasks.geometry import box_overlap, suppress_duplicates
from lae_tasks.names import canonical_form, merge_names

STAGE = "route"


@dataclass(frozen=True)
class Candidate:
    """A labelled region with all that the rules look at.

    Attributes:
        is_cut: It reaches a border of its tile that is not the scene's.
        seen_whole: It is cut, but another tile has the same thing whole, and that is not rejected.
        category: Its canonical name; None if it was not recognized.
        confidence: The score that the config names; None where it is not known.
    """

    label: Label
    region: Region
    is_cut: bool
    seen_whole: bool
    category: str | None
    confidence: float | None


def run(
    labels: Sequence[Label],
    regions: Mapping[str, Region],
    tiles: Mapping[str, Tile],
    scenes: Mapping[str, Scene],
    embedder: TextEmbedder | None,
    vocabulary: Sequence[str],
    config: RouteConfig,
) -> Iterator[Done]:
    """Decides every label of a night.

    Names are merged over the whole night first, then the rules look at each region, and last,
    per scene and category, duplicates are suppressed (boxes in scene pixels, so the same object
    seen in two tiles counts once).

    Yields:
        One Done for each label: its Decision, and a Merge where it is the first of its name; a
        counter for each outcome and rule, such as `reject duplicate`.
    """
    ledger = _ledger(labels, vocabulary, embedder, config)
    candidates = _candidates(labels, regions, tiles, scenes, ledger, config)
    rulings = {c.region.region_id: _rule(c, vocabulary, config) for c in candidates if not c.is_cut}
    cut = _with_whole_views([c for c in candidates if c.is_cut], candidates, rulings, tiles, config)
    rulings |= {c.region.region_id: _rule(c, vocabulary, config) for c in cut}
    for region_id in _duplicates(candidates, rulings, config):
        rulings[region_id] = (Outcome.REJECT, "duplicate")
    unlisted = dict(ledger)
    for candidate in candidates:
        decision = _decision(candidate, *rulings[candidate.region.region_id], config)
        merge = unlisted.pop(candidate.label.category_said or "", None)
        outputs = (decision, merge) if merge else (decision,)
        counted = {f"{decision.outcome.value} {decision.rule}": 1}
        yield Done(candidate.region.region_id, outputs, counted)


def _ledger(
    labels: Sequence[Label],
    vocabulary: Sequence[str],
    embedder: TextEmbedder | None,
    config: RouteConfig,
) -> dict[str, Merge]:
    counts = Counter(label.category_said for label in labels if label.category_said)
    embed = embedder.embed_names if embedder else None
    merges = merge_names(counts, vocabulary, embed, config.merge_similarity)
    return {merge.name: merge for merge in merges}


def _candidates(
    labels: Sequence[Label],
    regions: Mapping[str, Region],
    tiles: Mapping[str, Tile],
    scenes: Mapping[str, Scene],
    ledger: Mapping[str, Merge],
    config: RouteConfig,
) -> list[Candidate]:
    candidates = []
    for label in labels:
        region = regions[label.region_id]
        said = label.category_said
        candidates.append(
            Candidate(
                label=label,
                region=region,
                is_cut=_is_cut(region, tiles[region.tile_id], scenes[region.scene_id]),
                seen_whole=False,
                category=ledger[said].canonical if said else None,
                confidence=getattr(label, config.score),
            )
        )
    return candidates


Rule = Callable[[Candidate, Sequence[str], RouteConfig], bool]

#: The rules in their order; the first that holds decides.
RULES: tuple[tuple[str, Outcome, Rule], ...] = (
    ("unrecognized", Outcome.REJECT, lambda c, _v, _cfg: c.category is None),
    ("cut_by_tile", Outcome.REJECT, lambda c, _v, cfg: cfg.reject_cut and c.seen_whole),
    ("too_small", Outcome.REJECT, lambda c, _v, cfg: c.region.area_px < cfg.min_area_px),
    ("too_long", Outcome.REJECT, lambda c, _v, cfg: _aspect(c.region) > cfg.max_aspect),
    ("monochrome", Outcome.REJECT, lambda c, _v, cfg: c.label.crop_std < cfg.min_crop_std),
    ("no_confidence", Outcome.REVIEW, lambda c, _v, _cfg: c.confidence is None),
    ("low_confidence", Outcome.REJECT, lambda c, _v, cfg: (c.confidence or 0) < cfg.reject_below),
    ("seen_in_part", Outcome.REVIEW, lambda c, _v, cfg: cfg.reject_cut and c.is_cut),
    ("new_category", Outcome.REVIEW, lambda c, v, _cfg: bool(v) and c.category not in v),
    ("clip_disagrees", Outcome.REVIEW, lambda c, _v, _cfg: _clip_disagrees(c)),
    ("unsure", Outcome.REVIEW, lambda c, _v, cfg: (c.confidence or 0) < cfg.accept_at),
    ("confident", Outcome.ACCEPT, lambda _c, _v, _cfg: True),
)


def _rule(
    candidate: Candidate, vocabulary: Sequence[str], config: RouteConfig
) -> tuple[Outcome, str]:
    return next(
        (outcome, name) for name, outcome, holds in RULES if holds(candidate, vocabulary, config)
    )


def _is_cut(region: Region, tile: Tile, scene: Scene) -> bool:
    """Whether the region reaches a border of its tile that is not the scene's border."""
    x, y, width, height = tile.window_px
    x0, y0, x1, y1 = region.bbox_xyxy_px
    return (
        (x0 <= x and x > 0)
        or (y0 <= y and y > 0)
        or (x1 >= x + width and x + width < scene.width_px)
        or (y1 >= y + height and y + height < scene.height_px)
    )


def _with_whole_views(
    cut: Sequence[Candidate],
    candidates: Sequence[Candidate],
    rulings: Mapping[str, tuple[Outcome, str]],
    tiles: Mapping[str, Tile],
    config: RouteConfig,
) -> list[Candidate]:
    """Looks among what is whole, and not rejected, for each thing that is cut.

    Two regions are the same thing if the part of the whole one that the other's tile shows has the
    same box.
    """
    if not config.reject_cut:
        return list(cut)
    whole: defaultdict[str, list[Region]] = defaultdict(list)
    for each in candidates:
        if not each.is_cut and rulings[each.region.region_id][0] is not Outcome.REJECT:
            whole[each.region.scene_id].append(each.region)
    boxes = {
        scene_id: np.array([region.bbox_xyxy_px for region in found], dtype=np.float64)
        for scene_id, found in whole.items()
    }
    tile_ids = {
        scene_id: np.array([region.tile_id for region in found])
        for scene_id, found in whole.items()
    }
    looked = []
    for each in cut:
        region = each.region
        others = boxes.get(region.scene_id, np.empty((0, 4)))
        others = others[tile_ids[region.scene_id] != region.tile_id] if len(others) else others
        x, y, width, height = tiles[region.tile_id].window_px
        visible = np.clip(others, (x, y, x, y), (x + width, y + height, x + width, y + height))
        overlaps = box_overlap(np.array(region.bbox_xyxy_px, dtype=np.float64), visible)
        looked.append(replace(each, seen_whole=bool((overlaps > config.nms_iou).any())))
    return looked


def _aspect(region: Region) -> float:
    x0, y0, x1, y1 = region.bbox_xyxy_px
    return max(x1 - x0, y1 - y0) / min(x1 - x0, y1 - y0)


def _clip_disagrees(candidate: Candidate) -> bool:
    second = candidate.label.clip_category
    return second is not None and canonical_form(second) != canonical_form(candidate.category or "")


def _duplicates(
    candidates: Sequence[Candidate],
    rulings: Mapping[str, tuple[Outcome, str]],
    config: RouteConfig,
) -> list[str]:
    """Regions that a better one of the same scene and category makes superfluous."""
    groups: dict[tuple[str, str | None], list[Candidate]] = {}
    for candidate in candidates:
        if rulings[candidate.region.region_id][0] is not Outcome.REJECT:
            groups.setdefault((candidate.region.scene_id, candidate.category), []).append(candidate)
    duplicates = []
    for group in groups.values():
        boxes = [c.region.bbox_xyxy_px for c in group]
        # What is accepted outranks what is not; then the confidence counts.
        scores = [
            (rulings[c.region.region_id][0] is Outcome.ACCEPT) + (c.confidence or 0.0)
            for c in group
        ]
        kept = set(suppress_duplicates(boxes, scores, config.nms_iou, config.nms_measure))
        duplicates += [c.region.region_id for i, c in enumerate(group) if i not in kept]
    return duplicates


def _decision(candidate: Candidate, outcome: Outcome, rule: str, config: RouteConfig) -> Decision:
    region = candidate.region
    names = [candidate.category, candidate.label.clip_category]
    return Decision(
        region_id=region.region_id,
        tile_id=region.tile_id,
        scene_id=region.scene_id,
        outcome=outcome,
        rule=rule,
        category=candidate.category,
        confidence=candidate.confidence or 0.0,
        calibration=f"none:{config.score}",
        candidates=tuple(dict.fromkeys(n for n in names if n))[: config.max_candidates],
        in_audit=outcome is Outcome.ACCEPT and _drawn(region.region_id, config),
    )


def _drawn(region_id: str, config: RouteConfig) -> bool:
    """A draw that depends on seed and region only, so that a rerun draws the same."""
    digest = hashlib.sha256(f"{config.audit_seed}|{region_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < config.audit_share * 2**64
