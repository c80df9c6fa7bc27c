"""Small models of SAM 2 and SAM 3's tracker, with random weights, for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam3ImageProcessor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
)
from transformers.utils import logging as transformers_logging

from demo.scenes import generate_scene
from lae_tasks.config import SegmentConfig

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
    transformers_logging.disable_progress_bar()
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


def make_config(model_type: str, checkpoint: Path | None, **values: object) -> SegmentConfig:
    settings = {"model_type": model_type, "checkpoint": checkpoint, "device": "cpu"}
    return SegmentConfig.model_validate(settings | values)


def make_image(shape: tuple[int, int]) -> np.ndarray:
    return np.ascontiguousarray(generate_scene(900_001, 512).image[: shape[0], : shape[1]])
