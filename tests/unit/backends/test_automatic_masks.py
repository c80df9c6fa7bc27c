"""Automatic masks are those of segment_anything's own generator."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.utils.amg import remove_small_regions

from demo.scenes import generate_scene
from demo.stack.settings import REPO
from lae_tasks.backends.automatic_masks import automatic_masks
from lae_tasks.backends.protocols import Floats, Guesses, Image, MaskProposal
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


class Always:
    """A model that sees one mask of the image's size in any image, wherever it is asked."""

    revision = "always"

    def __init__(self, mask: np.ndarray) -> None:
        self._mask = mask
        self.rows, self.columns = (np.eye(side, dtype=np.float32) for side in mask.shape)

    def embed(self, image: Image) -> "Always":
        return self

    def at_points(self, points_px: Floats, min_predicted_iou: float) -> Iterator[Guesses]:
        logits = np.where(self._mask, 9, -9).astype(np.float32)
        yield Guesses(np.array([0]), np.array([0.9], dtype=np.float32), logits[None])

    def in_boxes(self, boxes_xyxy_px: Floats) -> Iterator[Guesses]:
        raise NotImplementedError


side = st.integers(1, 90)
rectangles = st.lists(st.tuples(st.booleans(), side, side, side, side), min_size=1, max_size=8)


@given(side, side, rectangles, st.integers(1, 900))
@example(14, 90, [(True, 1, 50, 14, 30), (False, 5, 60, 3, 3)], 400)  # above and below: no hole,
@example(90, 14, [(True, 50, 1, 30, 14), (False, 60, 5, 3, 3)], 400)
@example(14, 90, [(True, 1, 1, 13, 30), (False, 5, 20, 3, 3)], 400)  # nor what lies around a corner
def test_small_regions_go_as_in_the_stock_generator(
    width: int, height: int, drawn: list[tuple[bool, int, int, int, int]], min_area: int
) -> None:
    mask = np.zeros((height, width), dtype=bool)
    for value, x, y, across, down in drawn:
        mask[y - 1 : y - 1 + down, x - 1 : x - 1 + across] = value
    if not mask.any():
        return
    expected, _ = remove_small_regions(mask, min_area, mode="holes")
    expected, _ = remove_small_regions(expected, min_area, mode="islands")
    config = make_config(min_mask_region_area=min_area, crop_n_layers=0)
    image = np.zeros((height, width, 3), dtype=np.uint8)
    (made,) = automatic_masks(Always(mask), image, config)
    np.testing.assert_array_equal(placed(made, image), expected)
