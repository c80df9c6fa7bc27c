"""The few measures that the evaluation of the small models needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """Area under the ROC curve: how often a right answer scores above a wrong one.

    Args:
        scores: higher is surer; ties count half.
        right: whether each answer is right.

    Returns:
        A number in [0, 1], or None if all answers are right or all are wrong.
    """
    values, labels = np.asarray(scores, float), np.asarray(right, bool)
    above, below = values[labels], values[~labels]
    if not len(above) or not len(below):
        return None
    difference = above[:, None] - below[None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def mean(values: Sequence[float] | Sequence[bool]) -> float | None:
    """The mean, or None of nothing."""
    return float(np.mean(values)) if len(values) else None


def mask_overlaps(
    predicted: Sequence[dict[str, Any]], truth: Sequence[dict[str, Any]]
) -> npt.NDArray[np.float64]:
    """Mask IoU of every prediction with every true object.

    Args:
        predicted: P masks in COCO's compressed run-length encoding.
        truth: T masks, likewise, of the same size.

    Returns:
        float64 (P, T).
    """
    if not predicted or not truth:
        return np.zeros((len(predicted), len(truth)))
    overlaps = coco_mask.iou(list(predicted), list(truth), [0] * len(truth))
    return np.asarray(overlaps, np.float64)
