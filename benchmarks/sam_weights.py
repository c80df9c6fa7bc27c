"""Random weights of Segment Anything, and the same weights under the names of transformers."""

import re
from collections.abc import Mapping
from typing import TypeVar

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from transformers import SamConfig, SamModel, SamVisionConfig

T = TypeVar("T")

#: Names of segment_anything, and what transformers calls them: applied one after the other.
_RENAMED = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\bblocks\.", "layers."),
    (r"patch_embed\.proj\b", "patch_embed.projection"),
    (r"neck\.0\b", "neck.conv1"),
    (r"neck\.1\b", "neck.layer_norm1"),
    (r"neck\.2\b", "neck.conv2"),
    (r"neck\.3\b", "neck.layer_norm2"),
    (r"\bnorm(\d|_final_attn)\b", r"layer_norm\1"),
    (r"output_upscaling\.0\b", "upscale_conv1"),
    (r"output_upscaling\.1\b", "upscale_layer_norm"),
    (r"output_upscaling\.3\b", "upscale_conv2"),
    (r"mask_downscaling\.0\b", "mask_embed.conv1"),
    (r"mask_downscaling\.1\b", "mask_embed.layer_norm1"),
    (r"mask_downscaling\.3\b", "mask_embed.conv2"),
    (r"mask_downscaling\.4\b", "mask_embed.layer_norm2"),
    (r"mask_downscaling\.6\b", "mask_embed.conv3"),
    (r"point_embeddings\.", "point_embed."),
    (
        r"pe_layer\.positional_encoding_gaussian_matrix$",
        "shared_embedding.positional_embedding",
    ),
    # The small networks of the decoder have three layers.
    (r"(prediction_head|mlps\.\d)\.layers\.0\b", r"\1.proj_in"),
    (r"(prediction_head|mlps\.\d)\.layers\.1\b", r"\1.layers.0"),
    (r"(prediction_head|mlps\.\d)\.layers\.2\b", r"\1.proj_out"),
)
#: The image encoders of the three published sizes, in the words of transformers.
ENCODERS = {
    "vit_b": SamVisionConfig(),
    "vit_l": SamVisionConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        global_attn_indexes=[5, 11, 17, 23],
    ),
    "vit_h": SamVisionConfig(
        hidden_size=1280,
        num_hidden_layers=32,
        num_attention_heads=16,
        global_attn_indexes=[7, 15, 23, 31],
    ),
}


def random_sam(model_type: str) -> Sam:
    """A model of the registry with random weights, always the same.

    Where training starts from zeros, as with relative positions, there is noise; and predicted IoUs
    are raised by 0.5, because thresholds of 0 and below switch segment_anything's filter off.
    """
    torch.manual_seed(0)
    sam = sam_model_registry[model_type](checkpoint=None).eval()
    with torch.no_grad():
        for name, weight in sam.named_parameters():
            if "pos_" in name:
                weight.normal_(std=0.02)
        sam.mask_decoder.iou_prediction_head.layers[-1].bias += 0.5
    return sam


def transformers_weights(weights: Mapping[str, T]) -> dict[str, T]:
    """Weights of segment_anything's `Sam` by the names of transformers' `SamModel`."""
    renamed = {}
    for name, weight in weights.items():
        for pattern, other in _RENAMED:
            name = re.sub(pattern, other, name)
        renamed[name] = weight
    shared = renamed["prompt_encoder.shared_embedding.positional_embedding"]
    return {**renamed, "shared_image_embedding.positional_embedding": shared}


def transformers_sam(sam: Sam, model_type: str) -> SamModel:
    """The same model in transformers."""
    model = SamModel(SamConfig(vision_config=ENCODERS[model_type]))
    model.load_state_dict(transformers_weights(sam.state_dict()))
    return model.eval()
