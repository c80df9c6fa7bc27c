"""Weights of segment_anything under the names of transformers."""

import pytest
import torch
from segment_anything import sam_model_registry
from transformers import SamConfig, SamModel

from benchmarks.sam_weights import ENCODERS, transformers_weights


@pytest.mark.parametrize("model_type", ["vit_b", "vit_l", "vit_h"])
def test_names_and_shapes_are_those_of_transformers(model_type: str) -> None:
    with torch.device("meta"):
        ours = sam_model_registry[model_type](checkpoint=None).state_dict()
        theirs = SamModel(SamConfig(vision_config=ENCODERS[model_type])).state_dict()
    renamed = {name: weight.shape for name, weight in transformers_weights(ours).items()}
    assert renamed == {name: weight.shape for name, weight in theirs.items()}


def test_layers_of_the_small_networks_keep_their_order() -> None:
    head = "mask_decoder.iou_prediction_head"
    names = {f"{head}.layers.{number}.bias": number for number in range(3)}
    names["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = 3
    renamed = transformers_weights(names)
    assert renamed[f"{head}.proj_in.bias"] == 0
    assert renamed[f"{head}.layers.0.bias"] == 1
    assert renamed[f"{head}.proj_out.bias"] == 2
    assert renamed["shared_image_embedding.positional_embedding"] == 3
