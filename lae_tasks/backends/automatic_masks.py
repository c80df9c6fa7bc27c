"""Automatic masks: a grid of points over an image, and what is worth keeping of their masks.

The algorithm, its thresholds and their names are segment_anything's `SamAutomaticMaskGenerator`,
and so are its results. Its time goes into masks that it then drops: it makes three of the image's
size for every point. Here a mask has to be good enough before it is made, and is no larger than
the thing that it shows.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from segment_anything.utils.amg import (
    build_all_layer_point_grids,
    generate_crop_boxes,
    is_box_near_crop_edge,
    remove_small_regions,
)
from torchvision.ops import nms

from lae_tasks.backends.protocols import Image, MaskProposal, PromptableModel
from lae_tasks.backends.upscaling import Upscaler
from lae_tasks.config import SegmentConfig
from lae_tasks.geometry import mask_bbox, mask_in_window

#: How far crops of the image overlap, as a share of its shorter side: segment_anything's default.
_CROP_OVERLAP = 512 / 1500


def automatic_masks(
    model: PromptableModel, image: Image, config: SegmentConfig
) -> list[MaskProposal]:
    """All masks of an RGB image (height, width, 3).

    Masks of one crop that overlap are the same thing, of which the best by predicted IoU stays;
    so do, of those of several crops, the ones from the smaller crop.
    """
    grids = build_all_layer_point_grids(
        config.points_per_side, config.crop_n_layers, config.crop_n_points_downscale_factor
    )
    crops, layers = generate_crop_boxes(image.shape[:2], config.crop_n_layers, _CROP_OVERLAP)
    found: list[MaskProposal] = []
    crop_areas: list[int] = []
    for (x0, y0, x1, y1), layer in zip(crops, layers, strict=True):
        if x0 == x1 or y0 == y1:
            continue  # of an image a pixel wide
        crop = np.ascontiguousarray(image[y0:y1, x0:x1])
        masks = _masks_of_crop(model, crop, grids[layer], config)
        masks = _off_inner_borders(masks, [x0, y0, x1, y1], image)
        masks = _best(masks, [mask.predicted_iou for mask in masks], config.box_nms_thresh)
        found += [_shifted(mask, x0, y0) for mask in masks]
        crop_areas += [(x1 - x0) * (y1 - y0)] * (len(found) - len(crop_areas))
    if len(crops) > 1:
        found = _best(found, [1 / area for area in crop_areas], config.crop_nms_thresh)
    if config.min_mask_region_area:
        found = _without_small_regions(found, image, config)
    return found


def _masks_of_crop(
    model: PromptableModel, crop: Image, grid: npt.NDArray[np.float64], config: SegmentConfig
) -> list[MaskProposal]:
    """The masks of a grid of points, (n, 2) in [0, 1], that pass the thresholds."""
    embedded = model.embed(crop)
    upscaler = Upscaler(embedded)
    height, width = crop.shape[:2]
    points = (grid * (width, height)).astype(np.float32)
    masks = []
    for guesses in embedded.at_points(points, config.pred_iou_thresh):
        for predicted_iou, logits in zip(guesses.predicted_iou, guesses.logits, strict=True):
            mask = upscaler.mask(logits, predicted_iou, config.stability_score_offset)
            if mask and mask.stability_score >= config.stability_score_thresh:
                masks.append(mask)
    return masks


def _shifted(mask: MaskProposal, x: int, y: int) -> MaskProposal:
    x0, y0, x1, y1 = mask.bbox_xyxy_px
    return replace(mask, bbox_xyxy_px=(x0 + x, y0 + y, x1 + x, y1 + y))


def _off_inner_borders(
    masks: Sequence[MaskProposal], crop: list[int], image: Image
) -> list[MaskProposal]:
    """Those masks of a crop that do not end where the crop ends and the image goes on."""
    frame = [0, 0, image.shape[1], image.shape[0]]
    near = is_box_near_crop_edge(_boxes(masks), crop, frame)
    return [mask for mask, is_near in zip(masks, near.tolist(), strict=True) if not is_near]


def _best(
    masks: Sequence[MaskProposal], scores: Sequence[float], max_iou: float
) -> list[MaskProposal]:
    """Greedy non-maximum suppression by boxes, the best score first."""
    kept = nms(_boxes(masks), torch.tensor(scores, dtype=torch.float32), max_iou)
    return [masks[index] for index in kept.tolist()]


def _boxes(masks: Sequence[MaskProposal]) -> torch.Tensor:
    """Boxes (n, 4) as segment_anything has them: x1 and y1 are the last pixels inside."""
    boxes = torch.tensor([mask.bbox_xyxy_px for mask in masks], dtype=torch.float32)
    return boxes.reshape(-1, 4) - torch.tensor([0.0, 0.0, 1.0, 1.0])


def _without_small_regions(
    masks: Sequence[MaskProposal], image: Image, config: SegmentConfig
) -> list[MaskProposal]:
    """Fills small holes and drops small islands; where masks become alike, unchanged ones stay."""
    cleaned = [_cleaned(mask, image, config.min_mask_region_area) for mask in masks]
    scores = [float(new is old) for new, old in zip(cleaned, masks, strict=True)]
    return _best(cleaned, scores, max(config.box_nms_thresh, config.crop_nms_thresh))


def _cleaned(proposal: MaskProposal, image: Image, min_area_px: int) -> MaskProposal:
    height, width = image.shape[:2]
    # Around the box as much as no hole has, so that what surrounds the mask is not taken for one:
    # a strip of the margin's breadth is at least as long, unless the image itself is narrower.
    margin = math.ceil(math.sqrt(min_area_px))
    if margin > min(height, width):
        margin = max(height, width)
    x0, y0, x1, y1 = proposal.bbox_xyxy_px
    left, top = max(0, x0 - margin), max(0, y0 - margin)
    right, bottom = min(width, x1 + margin), min(height, y1 + margin)
    window = (left, top, right - left, bottom - top)
    mask = mask_in_window(proposal.mask, proposal.bbox_xyxy_px, window)
    mask, filled = remove_small_regions(mask, min_area_px, mode="holes")
    mask, dropped = remove_small_regions(mask, min_area_px, mode="islands")
    if not (filled or dropped):
        return proposal
    x0, y0, x1, y1 = mask_bbox(mask)
    bbox = (x0 + left, y0 + top, x1 + left, y1 + top)
    return replace(proposal, bbox_xyxy_px=bbox, mask=np.asarray(mask[y0:y1, x0:x1], dtype=bool))
