"""Boxes, windows and masks. Pixel coordinates as in `lae_tasks.contracts`."""

from collections.abc import Iterator
from typing import Literal

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


def suppress_duplicates(
    boxes_xyxy_px: npt.ArrayLike,
    scores: npt.ArrayLike,
    threshold: float,
    measure: Literal["iou", "containment"] = "iou",
) -> list[int]:
    """Greedy non-maximum suppression: the indices of the boxes that stay, best score first.

    A box goes if its overlap with a better one that stays is above the threshold. Ties in score
    are broken by the box itself, so the result does not depend on the order of the input.

    Args:
        boxes_xyxy_px: Boxes of shape (n, 4).
        scores: Their scores, of shape (n,).
        threshold: The largest overlap, in [0, 1], that two boxes that stay may have.
        measure: As in `box_overlap`.
    """
    boxes = np.asarray(boxes_xyxy_px, dtype=np.float64).reshape(-1, 4)
    ranking = np.lexsort((*boxes.T[::-1], -np.asarray(scores, dtype=np.float64)))
    left, top, right, bottom = np.ascontiguousarray(boxes.T)
    stays = np.ones(len(boxes), dtype=bool)
    kept: list[int] = []
    for index in ranking:
        if not stays[index]:
            continue
        kept.append(int(index))
        # To compare sides is cheap, and of very many boxes only few share a pixel with this one.
        x0, y0, x1, y1 = boxes[index]
        touching = np.flatnonzero((left < x1) & (right > x0) & (top < y1) & (bottom > y0))
        overlaps = box_overlap(boxes[index], boxes[touching], measure)
        stays[touching[overlaps > threshold]] = False
    return kept


def box_overlap(
    box: npt.NDArray[np.float64],
    others: npt.NDArray[np.float64],
    measure: Literal["iou", "containment"] = "iou",
) -> npt.NDArray[np.float64]:
    """Overlap of one xyxy box of shape (4,) with boxes of shape (n, 4); shape (n,), in [0, 1].

    The intersection over the union, or (`containment`) over the smaller of the two areas.
    """
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=1)
    area, areas = (box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1)
    whole = np.minimum(area, areas) if measure == "containment" else area + areas - intersection
    overlap: npt.NDArray[np.float64] = intersection / np.maximum(whole, 1e-9)
    return overlap
