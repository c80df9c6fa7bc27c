"""Which of a tile's masks are worth keeping."""

from collections.abc import Sequence
from typing import TypeVar

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
WITHIN = 0.9


def quality(mask: MaskProposal) -> float:
    """How good a mask is: what the model thinks of it, times its stability."""
    return mask.predicted_iou * mask.stability_score


def without_duplicates(
    masks: Sequence[MaskProposal], config: SegmentConfig, first: int = 0
) -> list[MaskProposal]:
    """Of masks that are one thing the best stays; the others' order does not change.

    Two masks are one thing if their IoU is `duplicate_iou` or more, or one lies within the other
    and fills more than `nested_share` of it. Smaller parts stay: a car is not the car park.

    Args:
        masks: The masks of one tile.
        config: Thresholds.
        first: So many at the front all stay, and outrank all others.
    """
    if len(masks) < 2:
        return list(masks)
    areas = np.array([mask.mask.sum() for mask in masks], dtype=np.float64)
    shared = _intersections(masks)
    iou = shared / (areas[:, None] + areas - shared)
    smaller, larger = np.minimum(areas[:, None], areas), np.maximum(areas[:, None], areas)
    nested = (shared > WITHIN * smaller) & (smaller > config.nested_share * larger)
    same = (iou >= config.duplicate_iou) | nested
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
