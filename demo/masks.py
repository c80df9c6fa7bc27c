"""The demo preset of the automatic mask generator: what suits the small SAM on 512 px tiles."""

from __future__ import annotations

from typing import Any

from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import Sam

from lae_tasks.backends.small_sam import EarlyFilterMaskGenerator

DEMO_MASK_SETTINGS: dict[str, Any] = {
    "points_per_side": 16,
    "pred_iou_thresh": 0.5,
    "stability_score_thresh": 0.6,
    "stability_score_offset": 0.5,
    "box_nms_thresh": 0.5,
    "crop_n_layers": 0,
    "crop_n_points_downscale_factor": 1,
    "crop_nms_thresh": 0.5,
    "min_mask_region_area": 0,
}
"""Arguments of ``SamAutomaticMaskGenerator``."""


def make_mask_generator(sam: Sam, **changes: Any) -> SamAutomaticMaskGenerator:
    """Make the generator of the demo preset.

    Args:
        sam: the model.
        changes: settings that differ from ``DEMO_MASK_SETTINGS``.

    Returns:
        The generator; it returns masks in COCO's compressed run-length encoding.
    """
    settings = {**DEMO_MASK_SETTINGS, **changes}
    return EarlyFilterMaskGenerator(sam, output_mode="coco_rle", **settings)
