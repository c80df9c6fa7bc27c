"""Which of a tile's masks are worth keeping."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from lae_tasks.backends.protocols import MaskProposal
from lae_tasks.config import SegmentConfig

T = TypeVar("T")

#: COCO's size classes, by area in pixels: small below the first, medium below the second
#: (https://cocodataset.org/#detection-eval).
_SIZE_CLASSES_PX = (32**2, 96**2)
#: So much of a mask has to lie in another to be within it: masks' edges are never quite the same.
_WITHIN = 0.9


class Scored(Protocol):
    """A mask in any form, with the model's scores."""

    @property
    def predicted_iou(self) -> float:
        """What the model thinks of it."""

    @property
    def stability_score(self) -> float:
        """How little it changes with the threshold."""


def quality(mask: Scored) -> float:
    """How good a mask is: what the model thinks of it, times its stability."""
    return mask.predicted_iou * mask.stability_score


def is_one_thing(
    shared_px: npt.ArrayLike,
    one_px: npt.ArrayLike,
    other_px: npt.ArrayLike,
    min_iou: float,
    nested_share: float,
) -> npt.NDArray[np.bool_]:
    """Whether two masks show one thing, or which of many pairs do.

    Their IoU is `min_iou` or more, or one lies within the other and fills more than `nested_share`
    of it. Smaller parts are things of their own: a car is not the car park.

    Args:
        shared_px: Pixels that both have.
        one_px: Pixels of the one.
        other_px: Pixels of the other.
        min_iou: The least IoU.
        nested_share: The share of the larger that a mask within it may fill.
    """
    shared, one, other = (
        np.asarray(each, dtype=np.float64) for each in (shared_px, one_px, other_px)
    )
    smaller, larger = np.minimum(one, other), np.maximum(one, other)
    alike = shared >= min_iou * (one + other - shared)
    nested = (shared > _WITHIN * smaller) & (smaller > nested_share * larger)
    return np.asarray(alike | nested)


def without_duplicates(
    masks: Sequence[MaskProposal], config: SegmentConfig, first: int = 0
) -> list[MaskProposal]:
    """Of masks that are one thing the best stays; the others' order does not change.

    Args:
        masks: The masks of one tile.
        config: Its `duplicate_iou` and `nested_share` say what `is_one_thing`.
        first: So many at the front all stay, and outrank all others.
    """
    if len(masks) < 2:
        return list(masks)
    areas = np.array([mask.mask.sum() for mask in masks], dtype=np.float64)
    shared = _intersections(masks)
    same = is_one_thing(shared, areas[:, None], areas, config.duplicate_iou, config.nested_share)
    same[:first, :first] = False
    kept: list[int] = []
    for index in sorted(range(len(masks)), key=lambda i: (i >= first, -quality(masks[i]), i)):
        if not same[index, kept].any():
            kept.append(index)
    return [masks[index] for index in sorted(kept)]


def _intersections(masks: Sequence[MaskProposal]) -> npt.NDArray[np.float64]:
    """Pixels that each two masks share, (n, n)."""
    right = max(mask.bbox_xyxy_px[2] for mask in masks)
    bottom = max(mask.bbox_xyxy_px[3] for mask in masks)
    rles = []
    for mask in masks:
        x0, y0, x1, y1 = mask.bbox_xyxy_px
        frame = np.zeros((bottom, right), dtype=np.uint8, order="F")
        frame[y0:y1, x0:x1] = mask.mask
        rles.append(coco_mask.encode(frame))
    areas = np.array([mask.mask.sum() for mask in masks], dtype=np.float64)
    # For a crowd, COCO divides by the first mask's area alone.
    share = np.asarray(coco_mask.iou(rles, rles, [1] * len(rles)), dtype=np.float64)
    return np.asarray(share * areas[:, None], dtype=np.float64)


def chosen(things: Sequence[tuple[T, int, float]], config: SegmentConfig) -> list[T]:
    """At most `max_regions` of a tile's things.

    `largest` takes the largest, as the paper does. `stratified` takes the best of each size class
    in turn, so that a field does not cost ten cars their places; what a class does not fill, the
    others get.

    Args:
        things: Each with its area in pixels and its quality, in a settled order.
        config: The choice and its limit.
    """
    if config.choice == "largest":
        order = sorted(range(len(things)), key=lambda i: (-things[i][1], i))
        return [things[i][0] for i in order[: config.max_regions]]
    classes: list[list[int]] = [[], [], []]
    for index in sorted(range(len(things)), key=lambda i: (-things[i][2], i)):
        classes[int(np.searchsorted(_SIZE_CLASSES_PX, things[index][1], side="right"))].append(
            index
        )
    # The best of each class, then the second best of each, and so on.
    ranks = [(rank, number, i) for number, few in enumerate(classes) for rank, i in enumerate(few)]
    return [things[i][0] for _, _, i in sorted(ranks)[: config.max_regions]]
