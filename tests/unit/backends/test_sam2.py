"""SAM 2 and SAM 3's tracker: transformers' own answers, and clear errors for wrong checkpoints."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForMaskGeneration,
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam2Processor,
    Sam3ImageProcessor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    Sam3TrackerProcessor,
    pipeline,
)
from transformers.utils import logging as transformers_logging

from demo.scenes import generate_scene
from demo.stack.settings import REPO
from lae_tasks.backends.automatic_masks import automatic_masks
from lae_tasks.backends.masks import check_checkpoint, load_mask_generator
from lae_tasks.backends.protocols import Guesses
from lae_tasks.backends.sam2 import SegmentAnything2
from lae_tasks.backends.upscaling import Upscaler
from lae_tasks.config import SegmentConfig
from lae_tasks.config_file import load_config
from lae_tasks.errors import ConfigError
from lae_tasks.geometry import mask_in_window
from lae_tasks.local import run_night

TYPES = ("sam2", "sam3_tracker")
SHAPES = [(96, 96), (70, 120), (130, 50)]
MODELS = {
    "sam2": (Sam2Model, Sam2Processor),
    "sam3_tracker": (Sam3TrackerModel, Sam3TrackerProcessor),
}

DECODER = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
NECK = {"backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "fpn_hidden_size": 32}
HIERA = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 16,
    "image_size": [64, 64],
    "blocks_per_stage": [1, 1, 2, 1],
    "embed_dim_per_stage": [16, 32, 64, 128],
    "num_attention_heads_per_stage": [1, 2, 4, 8],
    "window_size_per_stage": [4, 4, 4, 4],
    "global_attention_blocks": [3],
}
VIT = {
    "model_type": "sam3_vit_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "window_size": 2,
    "global_attn_indexes": [1],
    "pretrain_image_size": 56,
}


def write_model(model_type: str, folder: Path) -> Path:
    """A small model of random weights, large enough for masks of all sizes and IoUs."""
    torch.manual_seed(5)
    if model_type == "sam2":
        neck = {**NECK, "backbone_channel_list": [128, 64, 32, 16], "backbone_config": HIERA}
        prompts = {"hidden_size": 32, "image_size": 64}
        config = Sam2Config(
            vision_config=neck, prompt_encoder_config=prompts, mask_decoder_config=DECODER
        )
        model: Any = Sam2Model(config)
        processor: Any = Sam2ImageProcessor(size={"height": 64, "width": 64})
    else:
        neck = {**NECK, "backbone_config": VIT}
        prompts = {"hidden_size": 32, "image_size": 56}
        config = Sam3TrackerConfig(
            vision_config=neck, prompt_encoder_config=prompts, mask_decoder_config=DECODER
        )
        model = Sam3TrackerModel(config)
        processor = Sam3ImageProcessor(size={"height": 56, "width": 56})
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=1.5 * weight[0].numel() ** -0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def no_bars() -> None:
    transformers_logging.disable_progress_bar()


@pytest.fixture(scope="module", params=TYPES)
def config(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> SegmentConfig:
    folder = write_model(request.param, tmp_path_factory.mktemp(request.param))
    return make_config(request.param, folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model("sam2", tmp_path / "sam2")


def make_config(model_type: str, checkpoint: Path | None, **values: object) -> SegmentConfig:
    settings = {"model_type": model_type, "checkpoint": checkpoint, "device": "cpu"}
    return SegmentConfig.model_validate(settings | values)


def make_image(shape: tuple[int, int]) -> np.ndarray:
    return np.ascontiguousarray(generate_scene(900_001, 512).image[: shape[0], : shape[1]])


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


def test_the_published_checkpoints_of_video_models_load(tmp_path: Path) -> None:
    folder = write_model("sam2", tmp_path / "sam2")
    change_description(folder, model_type="sam2_video")
    change_weights(folder, lambda w: w | {"memory_temporal_positional_encoding": torch.zeros(1)})
    check_checkpoint(make_config("sam2", folder))

    folder = write_model("sam3_tracker", tmp_path / "sam3")
    expected = load_mask_generator(make_config("sam3_tracker", folder), 1)
    image, prompts = make_image((64, 64)), np.array([[5, 5, 60, 50]], np.float32)
    [before] = expected.answer(image, prompts)

    # Names are as published already: transformers saves a tracker as a part of the video model.
    assert "tracker_model.no_memory_embedding" in load_file(folder / "model.safetensors")
    change_weights(folder, lambda w: w | {"detector_model.text_projection.bias": torch.zeros(1)})
    description = json.loads((folder / "config.json").read_text())
    tracker = {**description, "model_type": "sam3_tracker_video"}
    whole = {"model_type": "sam3_video", "tracker_config": tracker, "detector_config": {}}
    (folder / "config.json").write_text(json.dumps(whole))
    [after] = load_mask_generator(make_config("sam3_tracker", folder), 1).answer(image, prompts)
    assert before is not None
    assert after is not None
    assert np.array_equal(before.mask, after.mask)


def change_description(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_weights(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def other_family(folder: Path) -> None:
    write_model("sam3_tracker", folder)


def another_model(folder: Path) -> None:
    change_description(folder, model_type="edgetam")


def a_weight_missing(folder: Path) -> None:
    change_weights(folder, lambda w: {k: v for k, v in w.items() if k != "no_memory_embedding"})


def a_weight_too_many(folder: Path) -> None:
    change_weights(folder, lambda w: w | {"head.weight": torch.zeros(2)})


def another_shape(folder: Path) -> None:
    change_weights(folder, lambda w: w | {"no_memory_embedding": torch.zeros(1, 1, 5)})


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def weights_as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    no_weights(folder)


def no_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def processor_of_another_size(folder: Path) -> None:
    Sam2ImageProcessor(size={"height": 128, "width": 128}).save_pretrained(folder)


def no_description(folder: Path) -> None:
    (folder / "config.json").unlink()


def broken_description(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def description_is_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def wrong_description(folder: Path) -> None:
    change_description(folder, mask_decoder_config={"hidden_size": "large"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_family, "says model_type 'sam3_tracker', not sam2 or sam2_video.*check segment.mod"),
        (another_model, "says model_type 'edgetam'"),
        (a_weight_missing, "1 missing_keys, such as no_memory_embedding.*check segment.model_type"),
        (a_weight_too_many, "1 unexpected_keys, such as head.weight"),
        (another_shape, "not a model of type sam2 .*mismatch"),
        (truncated, "not a model of type sam2 .*(incomplete|header)"),
        (no_weights, "no model.safetensors in it"),
        (weights_as_pickle, "no model.safetensors in it.*a pickle could run code"),
        (no_processor, "not a model of type sam2 .*processor"),
        (processor_of_another_size, "makes 128 x 128 px of an image, the model takes 64 x 64"),
        (no_description, "no config.json in it"),
        (broken_description, "not a model of type sam2"),
        (description_is_a_list, "not a model of type sam2"),
        (wrong_description, "not a model of type sam2 .*hidden_size"),
    ],
)
def test_a_wrong_folder_is_told_before_a_night(folder: Path, spoil: Any, message: str) -> None:
    config = make_config("sam2", folder)
    check_checkpoint(config)
    spoil(folder)
    with pytest.raises(ConfigError, match=message):
        check_checkpoint(config)
    with pytest.raises(ConfigError, match=message):
        load_mask_generator(config, threads=1)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("executed"),))  # type: ignore[return-value]


def test_a_folder_cannot_run_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "model.safetensors").write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(ConfigError, match="not a model of type sam2"):
        check_checkpoint(make_config("sam2", folder))
    assert not (folder / "executed").exists()


def test_a_missing_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"checkpoint is not set: .* such as a folder or a name"):
        check_checkpoint(make_config("sam2", None))
    for name in (tmp_path / "none", Path("nobody/no-such-model")):
        with pytest.raises(ConfigError, match=f"segment.checkpoint '{name}': neither a folder"):
            check_checkpoint(make_config("sam2", name))


def test_a_folder_is_relative_to_the_config_and_a_hub_name_is_not(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    path = tmp_path / "lae.yaml"
    start = "preset: lae-paper\nraw: raw\nstore: store\nsegment: {model_type: sam2, checkpoint: "
    for given, meant in (
        ("models", tmp_path / "models"),
        ("facebook/sam2.1-hiera-large", Path("facebook/sam2.1-hiera-large")),
    ):
        path.write_text(f"{start}{given}}}\n")
        assert load_config(path).segment.checkpoint == meant


def test_a_night_does_not_start_with_another_model(folder: Path, tmp_path: Path) -> None:
    config = load_config(REPO / "demo" / "lae.yaml", raw=str(tmp_path), store=str(tmp_path / "s"))
    changes = {"model_type": "sam3_tracker", "checkpoint": folder}
    segment = config.segment.model_copy(update=changes)
    with pytest.raises(ConfigError, match="says model_type 'sam2', not sam3_tracker"):
        run_night(config.model_copy(update={"segment": segment}), "2026-11-22", 1, lambda *_: None)
    assert not (tmp_path / "s").exists()
