"""SAM 2 and SAM 3's tracker: their answers are transformers' own."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForMaskGeneration,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2Processor,
    Sam3ImageProcessor,
    Sam3TrackerModel,
    Sam3TrackerProcessor,
    pipeline,
)

from lae_tasks.backends.automatic_masks import automatic_masks
from lae_tasks.backends.masks import load_mask_generator
from lae_tasks.backends.protocols import Guesses
from lae_tasks.backends.sam2 import SegmentAnything2
from lae_tasks.backends.upscaling import Upscaler
from lae_tasks.config import SegmentConfig
from lae_tasks.geometry import mask_in_window
from tests.unit.backends.sam2_models import make_config, make_image, write_model

TYPES = ("sam2", "sam3_tracker")
SHAPES = [(96, 96), (70, 120), (130, 50)]
MODELS = {
    "sam2": (Sam2Model, Sam2Processor),
    "sam3_tracker": (Sam3TrackerModel, Sam3TrackerProcessor),
}


@pytest.fixture(scope="module", params=TYPES)
def config(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> SegmentConfig:
    folder = write_model(request.param, tmp_path_factory.mktemp(request.param))
    return make_config(request.param, folder)


def theirs(config: SegmentConfig, image: np.ndarray, **prompts: Any) -> tuple[Any, Any]:
    """Masks (prompts, masks, height, width) and IoUs as transformers' own processor has them."""
    model_class, processor_class = MODELS[config.model_type]
    processor_of: Any = {"sam2": Sam2ImageProcessor, "sam3_tracker": Sam3ImageProcessor}
    image_processor = processor_of[config.model_type].from_pretrained(config.checkpoint)
    model = model_class.from_pretrained(config.checkpoint)
    processor = processor_class(image_processor)
    inputs = processor(images=image, return_tensors="pt", **prompts)
    sizes = inputs.pop("original_sizes")
    with torch.inference_mode():
        made = model(**inputs, multimask_output="input_points" in prompts)
    masks = processor.post_process_masks(made.pred_masks, sizes)
    return masks[0].numpy(), made.iou_scores[0].numpy()


def binarised(model: SegmentAnything2, image: np.ndarray, guesses: Guesses) -> list[np.ndarray]:
    height, width = image.shape[:2]
    upscaler = Upscaler(model.embed(image))
    masks = []
    for logits in guesses.logits:
        mask = upscaler.mask(logits, 1, 1)
        nothing = np.zeros((height, width), bool)
        masks.append(
            mask_in_window(mask.mask, mask.bbox_xyxy_px, (0, 0, width, height)) if mask else nothing
        )
    return masks


def assert_alike(mine: np.ndarray, other: np.ndarray) -> None:
    assert (mine & other).sum() >= 0.99 * (mine | other).sum()


@pytest.mark.parametrize("shape", SHAPES)
def test_guesses_at_points_are_transformers_own(
    config: SegmentConfig, shape: tuple[int, int]
) -> None:
    image = make_image(shape)
    rng = np.random.default_rng(3)
    points = (rng.random((7, 2)) * (shape[1], shape[0])).astype(np.float32)
    masks, scores = theirs(config, image, input_points=[[[p] for p in points.tolist()]])
    model = SegmentAnything2(config.model_copy(update={"points_per_batch": 3}), threads=1)
    batches = list(model.embed(image).at_points(points, -np.inf))
    assert [set(batch.prompt.tolist()) for batch in batches] == [{0, 1, 2}, {3, 4, 5}, {6}]
    seen = 0
    for batch in batches:
        for number, prompt, quality, mask in zip(
            range(len(batch.prompt)),
            batch.prompt,
            batch.predicted_iou,
            binarised(model, image, batch),
            strict=True,
        ):
            assert np.isclose(quality, scores[prompt, number % 3], atol=1e-5)
            assert_alike(mask, masks[prompt, number % 3])
            seen += bool(mask.any()) and not mask.all()
    assert seen > 10, "the masks are too plain to show anything"


@pytest.mark.parametrize("shape", SHAPES)
def test_answers_to_boxes_are_transformers_own(
    config: SegmentConfig, shape: tuple[int, int]
) -> None:
    image = make_image(shape)
    boxes = np.array([[5, 4, 40, 30], [10, 20, 45, 60], [0, 0, 50, 70]], np.float32)
    masks, scores = theirs(config, image, input_boxes=[boxes.tolist()])
    model = SegmentAnything2(config.model_copy(update={"points_per_batch": 2}), threads=1)
    batches = list(model.embed(image).in_boxes(boxes))
    assert [batch.prompt.tolist() for batch in batches] == [[0, 1], [2]]
    qualities = np.concatenate([batch.predicted_iou for batch in batches])
    assert np.allclose(qualities, scores[:, 0], atol=1e-5)
    mine = [mask for batch in batches for mask in binarised(model, image, batch)]
    for mask, other in zip(mine, masks[:, 0], strict=True):
        assert_alike(mask, other)


def test_poor_guesses_are_left_out(config: SegmentConfig) -> None:
    embedded = SegmentAnything2(config, threads=1).embed(make_image((64, 80)))
    points = np.array([[10, 10], [70, 60], [40, 30]], np.float32)
    [everything] = embedded.at_points(points, -np.inf)
    threshold = float(np.median(everything.predicted_iou))
    [good] = embedded.at_points(points, threshold)
    kept = everything.predicted_iou > threshold
    assert 0 < kept.sum() < 9
    assert np.array_equal(good.prompt, everything.prompt[kept])
    assert np.array_equal(good.logits, everything.logits[kept])
    assert list(embedded.at_points(points[:0], 0)) == []


def test_inference_mode_stays_inside(config: SegmentConfig) -> None:
    embedded = SegmentAnything2(config, threads=1).embed(make_image((64, 64)))
    for guesses in embedded.at_points(np.zeros((2, 2), np.float32), -np.inf):
        assert len(guesses.logits)
        assert not torch.is_inference_mode_enabled()


def test_prompts_are_answered_one_by_one_in_order(config: SegmentConfig) -> None:
    image = make_image((90, 120))
    generator = load_mask_generator(config.model_copy(update={"points_per_batch": 2}), threads=1)
    prompts = np.array(
        [[5, 5, 60, 70], [30, 40, 30, 40], [50, 20, 110, 80], [80, 60, 80, 60], [0, 0, 119, 89]],
        np.float32,
    )
    together = generator.answer(image, prompts)
    alone = [generator.answer(image, prompt[None])[0] for prompt in prompts]
    assert [a and a.bbox_xyxy_px for a in together] == [a and a.bbox_xyxy_px for a in alone]
    assert any(together)
    assert generator.answer(image, prompts[:0]) == []
    assert generator.revision.startswith(f"sam-{config.model_type}-")


@pytest.mark.parametrize("crop_n_layers", [0, 1])
def test_automatic_masks_run_end_to_end(config: SegmentConfig, crop_n_layers: int) -> None:
    settings = {
        "points_per_side": 4,
        "pred_iou_thresh": 0.1,
        "stability_score_thresh": 0.3,
        "stability_score_offset": 0.1,
        "crop_n_layers": crop_n_layers,
    }
    image = make_image((80, 128))
    masks = load_mask_generator(config.model_copy(update=settings), threads=1).generate(image)
    assert masks
    for mask in masks:
        x0, y0, x1, y1 = mask.bbox_xyxy_px
        assert 0 <= x0 < x1 <= 128
        assert 0 <= y0 < y1 <= 80
        assert mask.mask.shape == (y1 - y0, x1 - x0)


def test_automatic_masks_are_those_of_transformers_pipeline(config: SegmentConfig) -> None:
    # Of a square image: transformers scales the grid's points as if it padded the image.
    image = make_image((96, 96))
    settings = {
        "pred_iou_thresh": 0.2,
        "stability_score_thresh": 0.5,
        "stability_score_offset": 0.3,
    }
    changes = {**settings, "points_per_side": 32, "crop_n_layers": 0}
    mine = automatic_masks(
        SegmentAnything2(config, threads=1), image, config.model_copy(update=changes)
    )
    model = AutoModelForMaskGeneration.from_pretrained(config.checkpoint)
    kind: Any = Sam2ImageProcessor if config.model_type == "sam2" else Sam3ImageProcessor
    generate: Any = pipeline(
        "mask-generation", model=model, image_processor=kind.from_pretrained(config.checkpoint)
    )
    from PIL import Image as PilImage

    made = generate(
        PilImage.fromarray(image), points_per_batch=64, crops_nms_thresh=0.7, **settings
    )
    assert len(mine) == len(made["masks"]) > 0
    for mask, score in zip(mine, made["scores"].tolist(), strict=True):
        assert np.isclose(mask.predicted_iou, score, atol=1e-4)
    for mask, other in zip(mine, made["masks"], strict=True):
        assert_alike(mask_in_window(mask.mask, mask.bbox_xyxy_px, (0, 0, 96, 96)), np.array(other))


def test_an_image_three_pixels_high_is_no_error(config: SegmentConfig) -> None:
    embedded = SegmentAnything2(config, threads=1).embed(np.zeros((3, 40, 3), np.uint8))
    assert (len(embedded.rows), len(embedded.columns)) == (3, 40)
