"""Objects of which a steward left another one: each thing is in a release once."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from lae_tasks.config import Measure, RouteConfig
from lae_tasks.regions.duplicates import Shapes
from lae_tasks.releases.dataset import STEWARD, Object

_IMPORTED = "engine:imported"
_SAME_BOX_IOU = 0.7
"""Two boxes of stewards with more overlap are two drawings of one thing."""


def without_twins(
    items: Sequence[Object], config: RouteConfig, left_out: Counter[str]
) -> list[Object]:
    """Leaves out what stewards have made double.

    An object of the engine goes if a steward's of that category covers it, by threshold and measure
    of the route stage. Of two that stewards left, one goes only if they are nearly the same box,
    such as a thing drawn on two tiles: neighbours and parts of each other may both be meant.

    Args:
        items: The objects of one scene.
        config: Threshold and measure of what is a duplicate.
        left_out: Counts what goes.
    """
    # The steward's before the engine's; among these, a real mask before a drawn rectangle.
    order = sorted(items, key=lambda o: (o.source != STEWARD, o.is_rectangle, o.region_id))
    shapes = Shapes(
        np.array([item.bbox_xyxy_px for item in order], dtype=np.int64),
        lambda number: order[number].mask_rle,
        np.array([item.area_px for item in order], dtype=np.int64),
    )
    stewards: defaultdict[str, list[int]] = defaultdict(list)
    kept = []
    for number, item in enumerate(order):
        others = stewards[item.category]
        if item.source == STEWARD:
            is_double = _greatest(shapes, number, others, "iou") > _SAME_BOX_IOU
        else:
            # A data set has each of its objects once, however closely they stand.
            imported = item.source == _IMPORTED
            is_double = not imported and _is_covered(shapes, number, others, config)
        if is_double:
            left_out["duplicate of a steward's object"] += 1
            continue
        kept.append(item)
        if item.source == STEWARD:
            others.append(number)
    return sorted(kept, key=lambda o: o.region_id)


def _is_covered(shapes: Shapes, number: int, others: Sequence[int], config: RouteConfig) -> bool:
    """Whether an object is one of some others, too, as the route stage sees it."""
    of_boxes: Measure = "containment" if config.nms_measure.endswith("containment") else "iou"
    # A rectangle that was drawn around a thing says nothing of the thing's outline.
    drawn = [other for other in others if shapes.is_rectangle(other)]
    masks = [other for other in others if not shapes.is_rectangle(other)]
    return (
        _greatest(shapes, number, drawn, of_boxes) > config.nms_iou
        or _greatest(shapes, number, masks, config.nms_measure) > config.nms_iou
    )


def _greatest(shapes: Shapes, number: int, others: Sequence[int], measure: Measure) -> float:
    """The greatest overlap of an object with others."""
    many = np.array(others, dtype=np.int64)
    overlaps = shapes.overlap(np.full(len(many), number), many, measure)
    return float(overlaps.max(initial=0.0))
