"""Automatic masks: filtering early changes nothing but the time."""

from typing import Any

import numpy as np
import pytest
from segment_anything import SamAutomaticMaskGenerator

from demo.scenes import generate_scene
from demo.stack.settings import REPO
from lae_tasks.backends.automatic_masks import EarlyFilterMaskGenerator
from lae_tasks.backends.small_sam import load_small_sam

SMALL = REPO / "demo" / "models" / "sam" / "model.safetensors"
SETTINGS: dict[str, Any] = {
    "points_per_side": 6,
    "pred_iou_thresh": 0.5,
    "stability_score_thresh": 0.6,
    "stability_score_offset": 0.5,
    "output_mode": "coco_rle",
}


@pytest.mark.parametrize("layers", [0, 1])
def test_the_masks_are_the_stock_generators(layers: int) -> None:
    sam = load_small_sam(SMALL)
    image = generate_scene(900_001, 512).image
    settings = {**SETTINGS, "crop_n_layers": layers}
    stock = SamAutomaticMaskGenerator(sam, **settings).generate(image)
    early = EarlyFilterMaskGenerator(sam, **settings).generate(image)
    assert len(early) == len(stock) > 0
    for a, b in zip(early, stock, strict=True):
        assert a["segmentation"] == b["segmentation"]
        assert a["bbox"] == b["bbox"]
        assert np.isclose(a["predicted_iou"], b["predicted_iou"])


def test_an_image_without_masks_is_no_error() -> None:
    generator = EarlyFilterMaskGenerator(
        load_small_sam(SMALL), **{**SETTINGS, "points_per_side": 4, "pred_iou_thresh": 0.999}
    )
    assert generator.generate(generate_scene(1, 512).image) == []
