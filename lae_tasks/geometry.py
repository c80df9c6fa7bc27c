"""Boxes, windows and masks. Pixel coordinates as in `lae_tasks.contracts`."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from scipy import ndimage

from lae_tasks.contracts import BoxPx, WindowPx

Mask = npt.NDArray[np.bool_]


def tile_windows(
    width_px: int, height_px: int, size_px: int, overlap_px: int
) -> Iterator[WindowPx]:
    """The windows (x, y, width, height) that cover a scene, row by row.

    Neighbours overlap by at least `overlap_px`. The last window of a row or column slides inward
    instead of being cut off, so all have the full size unless the scene itself is smaller.
    """
    for y in _offsets(height_px, size_px, overlap_px):
        for x in _offsets(width_px, size_px, overlap_px):
            yield x, y, min(size_px, width_px), min(size_px, height_px)


def _offsets(length_px: int, size_px: int, overlap_px: int) -> list[int]:
    last = max(0, length_px - size_px)
    offsets = list(range(0, last, size_px - overlap_px))
    return [*offsets, last]


def encode_mask(mask: Mask) -> str:
    """COCO compressed RLE of a bool mask of shape (height, width)."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    counts: bytes = rle["counts"]
    return counts.decode("ascii")


def decode_mask(mask_rle: str, bbox_xyxy_px: BoxPx) -> Mask:
    """The bool mask, of the size of its box, that `encode_mask` made."""
    x0, y0, x1, y1 = bbox_xyxy_px
    rle = {"size": [y1 - y0, x1 - x0], "counts": mask_rle.encode("ascii")}
    return np.asarray(coco_mask.decode(rle), dtype=bool)


def clip(bbox_xyxy_px: BoxPx, window_px: WindowPx) -> BoxPx | None:
    """The part of a box that lies in a window, both in scene pixels; None if there is none."""
    x, y, width, height = window_px
    x0, y0, x1, y1 = bbox_xyxy_px
    x0, y0, x1, y1 = max(x0, x), max(y0, y), min(x1, x + width), min(y1, y + height)
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def mask_in_window(mask: Mask, bbox_xyxy_px: BoxPx, window_px: WindowPx) -> Mask:
    """Places a mask of its box's size into a window of the scene, clipped to it.

    Args:
        mask: bool (box height, box width).
        bbox_xyxy_px: The mask's box in scene pixels.
        window_px: (x, y, width, height) in scene pixels.

    Returns:
        bool (window height, window width).
    """
    x, y, width, height = window_px
    placed = np.zeros((height, width), dtype=bool)
    x0, y0, x1, y1 = bbox_xyxy_px
    left, top = max(x0, x), max(y0, y)
    right, bottom = min(x1, x + width), min(y1, y + height)
    if left < right and top < bottom:
        part = mask[top - y0 : bottom - y0, left - x0 : right - x0]
        placed[top - y : bottom - y, left - x : right - x] = part
    return placed


def mask_bbox(mask: Mask) -> BoxPx:
    """The tight box of a mask that is not empty, in the mask's own pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def largest_part(mask: Mask) -> Mask:
    """The largest 8-connected part of a mask of shape (height, width)."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3), dtype=int))
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0  # the background
    part: Mask = labels == sizes.argmax()
    return part


def box_overlap(
    one: npt.NDArray[Any], other: npt.NDArray[Any], measure: str = "iou"
) -> npt.NDArray[np.float64]:
    """Overlap of xyxy boxes, in [0, 1]: of one box (4,) with others (n, 4), or of pairs of them.

    The intersection over the union, or (`containment`) over the smaller of the two areas.
    """
    return overlap(shared_px(one, other), box_area(one), box_area(other), measure)


def shared_px(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The area that xyxy boxes share, of one with others or of pairs."""
    low = np.maximum(one[..., :2], other[..., :2])
    high = np.minimum(one[..., 2:], other[..., 2:])
    shared: npt.NDArray[Any] = np.clip(high - low, 0, None).prod(axis=-1)
    return shared


def overlap(
    shared: npt.NDArray[Any], one_px: npt.NDArray[Any], other_px: npt.NDArray[Any], measure: str
) -> npt.NDArray[np.float64]:
    """What two shapes share, over their union, or (`…containment`) over the smaller of them."""
    contained = measure.endswith("containment")
    whole = np.minimum(one_px, other_px) if contained else one_px + other_px - shared
    found: npt.NDArray[np.float64] = shared / np.maximum(whole, 1e-9)
    return found


def box_area(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The areas of xyxy boxes, of one (4,) or of many (n, 4)."""
    areas: npt.NDArray[Any] = (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
    return areas
