"""How much of what there is a release would hold without looking for what is missing.

Stewards look over tiles that were drawn at random, and draw what is missing. What they leave on
such a tile is taken for what there is. Found is what would be in without them, by the engine and by
the stewards who looked for other reasons.

It does not tell of what neither engine nor stewards see.

Tiles are drawn, not objects, and of small nights a larger share of them, so the share is a weighted
ratio estimate of a cluster sample, its variance that of the linearisation (W. G. Cochran, Sampling
Techniques, 3rd ed. 1977, ch. 6). The interval is Wilson's for the sample size that has this
variance: the objects by the design effect (L. Kish, Survey Sampling, 1965), which is taken as 1 at
least; and less for few tiles, as Student's t asks (E. L. Korn and B. I. Graubard, Survey
Methodology 24, 1998).

Where second looks tell how often stewards are mistaken, each region counts by the probability that
they are not (`trust.seen`).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from scipy.stats import t as student

from lae_tasks.contracts import BoxPx, Tile, Verdict, VerdictAction
from lae_tasks.geometry import box_overlap
from lae_tasks.releases.dataset import Object
from lae_tasks.review.verdicts import current_verdicts, fold_verdicts
from lae_tasks.state import State
from lae_tasks.trust.audit import CONFIDENCE, wilson
from lae_tasks.trust.judgements import is_right

#: With fewer checked tiles nothing is said.
_ENOUGH = 5
#: As everywhere in object detection.
_MIN_IOU = 0.5


@dataclass(frozen=True)
class Recall:
    """What the checked tiles say.

    Attributes:
        tiles: Tiles that stewards looked over to the end.
        objects: What there is on them, with `found` what would be in without that look; both as
            expected with stewards' mistakes.
        recall: The share that was found, each tile weighed by how many it stands for, with `low`
            and `high` the interval's ends.
    """

    tiles: int
    objects: int
    found: int
    recall: float
    low: float
    high: float


#: What was found on a tile, and what there is.
Counted = tuple[float, float]


def recall_of(
    weights: Sequence[float],
    tiles: Sequence[Counted],
    fewest: Sequence[Counted] = (),
    most: Sequence[Counted] = (),
) -> Recall | None:
    """The estimate from what was counted on each tile.

    None if too few tiles were checked, or nothing is on them.

    Args:
        weights: How many tiles each stands for; only their ratios count.
        tiles: As expected with the share of mistakes that second looks tell.
        fewest: The same if stewards make as few mistakes as the second looks allow.
        most: The same if they make as many.
    """
    counted = np.array(tiles, dtype=np.float64).reshape(-1, 2)
    n, (in_all, on_all) = len(tiles), counted.sum(axis=0)
    if n < _ENOUGH or not on_all:
        return None
    weighed = np.array(weights) / np.mean(weights)
    found, there = (counted * weighed[:, None]).T
    objects = float(there.sum())
    share = min(1.0, float(found.sum()) / objects)
    spread = float(((found - share * there) ** 2).sum()) * n / (n - 1) / objects**2
    alone = share * (1 - share) / objects
    effect = max(1.0, spread / alone) if alone else 1.0
    middle, tail = (1 + CONFIDENCE) / 2, n - 1
    of_tiles = float(norm.ppf(middle) / student.ppf(middle, tail)) ** 2
    low, high = wilson(share, objects / effect * of_tiles)
    # How often stewards are mistaken is an estimate itself, independent of the tiles.
    others = [_share(weighed, each, share) for each in (fewest, most)]
    low = share - math.hypot(share - low, share - min(share, *others))
    high = share + math.hypot(high - share, max(share, *others) - share)
    return Recall(n, round(on_all), round(in_all), share, max(0.0, low), min(1.0, high))


def _share(weights: npt.NDArray[np.float64], tiles: Sequence[Counted], otherwise: float) -> float:
    found, there = weights @ np.array(tiles, dtype=np.float64) if tiles else (0.0, 0.0)
    return float(found / there) if there else otherwise


def weights_of(state: State, tile_ids: Iterable[str]) -> list[float]:
    """How many tiles each of some tiles stands for: those of its night, by these of its night."""
    nights = [state.night_of[state.tiles[tile_id].scene_id] for tile_id in tile_ids]
    of_night = Counter(state.night_of[tile.scene_id] for tile in state.tiles.values())
    checked = Counter(nights)
    return [of_night[night] / checked[night] for night in nights]


def checked_tiles(
    state: State,
    without: Mapping[str, Sequence[Object]],
    spelled: Callable[[str], str],
    mistaken: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Counted]:
    """What was found, and what there is, on each tile that was looked over, by tile id.

    Tiles that are gone, as their night runs again, say nothing.

    Args:
        state: What was sent to stewards, and what they said.
        without: The objects that would be in without the verdicts of the check tasks, by scene.
        spelled: How the vocabulary spells a name.
        mistaken: The probability that what stewards say of a region is wrong; 0 where it is not in.
    """
    tile_of = {check.task_key: check.tile_id for check in state.tile_checks.values()}
    current = [v for v in current_verdicts(state.verdicts.values()) if v.task_key in tile_of]
    done = {v.region_id for v in current if v.action is VerdictAction.CHECK} & state.tiles.keys()
    held = fold_verdicts(state.verdicts.values())
    there: defaultdict[str, set[str]] = defaultdict(set)
    for item in state.review_items.values():
        if item.task_key in tile_of and item.region_id in held:
            there[tile_of[item.task_key]].add(item.region_id)
    tiles: defaultdict[str, list[Tile]] = defaultdict(list)
    for tile in state.tiles.values():
        tiles[tile.scene_id].append(tile)
    for verdict in current:
        # Regions belong to one tile each. So must what is missing, or tiles that overlap would
        # count it more often than what was found.
        tile_id = tile_of[verdict.task_key]
        is_drawn = verdict.action is VerdictAction.ADD and verdict.region_id in held
        if is_drawn and tile_id == _nearest(verdict.bbox_xyxy_px, tiles[verdict.scene_id]):
            there[tile_id].add(verdict.region_id)
    by_id = {item.region_id: item for items in without.values() for item in items}

    def count(verdict: Verdict) -> Counted:
        is_in = by_id.get(verdict.region_id)
        wrong = 0.0 if verdict.action is VerdictAction.ADD else mistaken.get(verdict.region_id, 0.0)
        if not verdict.category:  # it is there after all if its stewards are mistaken
            return (wrong if is_in else 0.0), wrong
        same = [
            each.bbox_xyxy_px
            for each in without.get(verdict.scene_id, ())
            if each.category == spelled(verdict.category)
        ]
        own = is_in and is_right(verdict, is_in.category, state.review_items, spelled)
        if own or _overlaps(verdict.bbox_xyxy_px, same):
            return 1 - wrong, 1 - wrong
        # What was put right was found all the same if its stewards are mistaken.
        return (wrong, 1.0) if is_in else (0.0, 1 - wrong)

    counted = {}
    for tile_id in sorted(done):
        each = _without_doubles([held[region_id] for region_id in sorted(there[tile_id])])
        pairs = [count(verdict) for verdict in each]
        counted[tile_id] = sum(found for found, _ in pairs), sum(whole for _, whole in pairs)
    return counted


def _nearest(box: BoxPx, tiles: Sequence[Tile]) -> str | None:
    """The tile whose centre is nearest to that of a box; None without tiles."""

    def distance(tile: Tile) -> tuple[float, str]:
        x, y, width, height = tile.window_px
        across, down = (box[0] + box[2] - 2 * x - width, box[1] + box[3] - 2 * y - height)
        return math.hypot(across, down), tile.tile_id

    return min(tiles, key=distance).tile_id if tiles else None


def _without_doubles(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What two stewards both drew counts once."""
    kept: list[Verdict] = []
    for verdict in sorted(verdicts, key=lambda v: v.action is VerdictAction.ADD):
        same = [each.bbox_xyxy_px for each in kept if each.category == verdict.category]
        if verdict.action is not VerdictAction.ADD or not _overlaps(verdict.bbox_xyxy_px, same):
            kept.append(verdict)
    return kept


def _overlaps(box: BoxPx, others: Sequence[BoxPx]) -> bool:
    if not others:
        return False
    return bool(box_overlap(np.array(box), np.array(others)).max() >= _MIN_IOU)
