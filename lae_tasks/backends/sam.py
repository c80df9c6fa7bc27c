"""Automatic masks by segment_anything: ViT-B, ViT-L, ViT-H, or the small model of the demo."""

import pickle
from pathlib import Path

import numpy as np
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from lae_tasks.backends.automatic_masks import EarlyFilterMaskGenerator
from lae_tasks.backends.common import prepare
from lae_tasks.backends.protocols import Image, MaskProposal
from lae_tasks.backends.small_sam import load_small_sam
from lae_tasks.backends.weights import sam_checkpoint, sam_revision
from lae_tasks.config import SegmentConfig
from lae_tasks.errors import ConfigError
from lae_tasks.geometry import largest_part, mask_bbox


class SamMaskGenerator:
    """A MaskGenerator over segment_anything's automatic masks."""

    def __init__(self, config: SegmentConfig, threads: int) -> None:
        """Loads the checkpoint. Raises ConfigError if it is missing or of another model."""
        device = prepare(config.device, threads)
        path = sam_checkpoint(config)
        self.revision = sam_revision(config)
        self._largest_part_only = config.largest_part_only
        self._generator = EarlyFilterMaskGenerator(
            _load(config.model_type, path).to(device).eval(),
            points_per_side=config.points_per_side,
            points_per_batch=config.points_per_batch,
            pred_iou_thresh=config.pred_iou_thresh,
            stability_score_thresh=config.stability_score_thresh,
            stability_score_offset=config.stability_score_offset,
            box_nms_thresh=config.box_nms_thresh,
            crop_n_layers=config.crop_n_layers,
            crop_nms_thresh=config.crop_nms_thresh,
            crop_n_points_downscale_factor=config.crop_n_points_downscale_factor,
            min_mask_region_area=config.min_mask_region_area,
        )

    def generate(self, image: Image) -> list[MaskProposal]:
        """All masks of an RGB image (height, width, 3)."""
        proposals = []
        for found in self._generator.generate(np.ascontiguousarray(image)):
            mask = np.asarray(found["segmentation"], dtype=bool)
            if not mask.any():
                continue
            if self._largest_part_only:
                mask = largest_part(mask)
            bbox = mask_bbox(mask)
            x0, y0, x1, y1 = bbox
            proposals.append(
                MaskProposal(
                    bbox_xyxy_px=bbox,
                    mask=mask[y0:y1, x0:x1],
                    predicted_iou=float(found["predicted_iou"]),
                    stability_score=float(found["stability_score"]),
                )
            )
        return proposals


def _load(model_type: str, path: Path) -> Sam:
    if model_type == "small":
        return load_small_sam(path)
    sam = sam_model_registry[model_type](checkpoint=None)
    try:
        # weights_only: a checkpoint must not run code.
        state = torch.load(path, map_location="cpu", weights_only=True)
        sam.load_state_dict(state)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        text = str(error).splitlines()[0]
        raise ConfigError(
            f"segment.checkpoint {path}: not the weights of {model_type} ({text}); "
            "check segment.model_type and the file"
        ) from error
    return sam
