"""Whether the engine was right, by what stewards decided."""

from collections.abc import Callable, Mapping

import numpy as np

from lae_tasks.contracts import ReviewItem, Verdict, VerdictAction, review_item_id
from lae_tasks.geometry import box_overlap

#: A box that overlaps the steward's by so much is right, as everywhere in object detection.
_MIN_IOU = 0.5


def is_right(
    verdict: Verdict,
    category: str | None,
    items: Mapping[str, ReviewItem],
    spelled: Callable[[str], str],
) -> bool:
    """Whether a region bears the category that its steward says, in a box like theirs.

    Args:
        verdict: The one that holds for the region.
        category: What the engine calls it now.
        items: What was sent to stewards, by id.
        spelled: How the vocabulary spells a name now.
    """
    if verdict.action is VerdictAction.REJECT or not verdict.category or not category:
        return False
    if spelled(verdict.category) != spelled(category):
        return False
    item = items.get(review_item_id(verdict.task_key, verdict.region_id))
    if item is None:
        return verdict.action is not VerdictAction.ADJUST
    if item.bbox_xyxy_px == verdict.bbox_xyxy_px:
        return True  # most are left as they are
    # With the box as it was sent: of a thing that no tile shows whole, a part.
    sent, said = np.array(item.bbox_xyxy_px), np.array(verdict.bbox_xyxy_px)
    return bool(box_overlap(sent, said[None])[0] >= _MIN_IOU)
