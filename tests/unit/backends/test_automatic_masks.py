"""Automatic masks are those of segment_anything's own generator."""

from typing import Any

import numpy as np
import pytest
from segment_anything import SamAutomaticMaskGenerator

from demo.scenes import generate_scene
from demo.stack.settings import REPO
from lae_tasks.backends.automatic_masks import automatic_masks
from lae_tasks.backends.protocols import MaskProposal
from lae_tasks.backends.sam import SegmentAnything
from lae_tasks.backends.small_sam import load_small_sam
from lae_tasks.config import SegmentConfig
from lae_tasks.geometry import mask_in_window

SMALL = REPO / "demo" / "models" / "sam" / "model.safetensors"
SETTINGS: dict[str, Any] = {
    "points_per_side": 6,
    "pred_iou_thresh": 0.5,
    "stability_score_thresh": 0.6,
    "stability_score_offset": 0.5,
    "crop_n_points_downscale_factor": 2,
}


def make_config(**changes: Any) -> SegmentConfig:
    where = {"model_type": "small", "checkpoint": SMALL, "device": "cpu"}
    return SegmentConfig.model_validate({**where, **SETTINGS, **changes})


def placed(proposal: MaskProposal, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return mask_in_window(proposal.mask, proposal.bbox_xyxy_px, (0, 0, width, height))


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"crop_n_layers": 0}, (512, 512)),
        ({"crop_n_layers": 1}, (512, 512)),
        ({"crop_n_layers": 0, "min_mask_region_area": 300}, (512, 512)),
        ({"crop_n_layers": 0, "pred_iou_thresh": 0.2, "stability_score_thresh": 0.0}, (300, 420)),
        ({"crop_n_layers": 1}, (200, 512)),
    ],
)
def test_the_masks_are_the_stock_generators(
    changes: dict[str, Any], shape: tuple[int, int]
) -> None:
    image = generate_scene(900_001, 512).image[: shape[0], : shape[1]]
    settings = {**SETTINGS, **changes}
    stock = SamAutomaticMaskGenerator(load_small_sam(SMALL), **settings).generate(image)
    config = make_config(**changes)
    ours = automatic_masks(SegmentAnything(config, threads=1), image, config)
    assert len(ours) == len(stock) > 0
    for mine, theirs in zip(ours, stock, strict=True):
        mask, expected = placed(mine, image), theirs["segmentation"]
        # A pixel on the very edge may fall to the other side by rounding.
        assert (mask & expected).sum() >= 0.99 * (mask | expected).sum()
        assert np.isclose(mine.predicted_iou, theirs["predicted_iou"], atol=1e-5)
        assert np.isclose(mine.stability_score, theirs["stability_score"], atol=1e-3)


def test_an_image_without_masks_is_no_error() -> None:
    config = make_config(points_per_side=4, pred_iou_thresh=0.999)
    model = SegmentAnything(config, threads=1)
    assert automatic_masks(model, generate_scene(1, 512).image, config) == []
