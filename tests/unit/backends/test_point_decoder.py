"""The mask decoder for many points: what the stock one gives, for models of any width."""

import pytest
import torch
from segment_anything.modeling import Sam

from lae_tasks.backends.point_decoder import PointDecoder
from lae_tasks.backends.small_sam import SmallSamConfig, build_small_sam


@pytest.fixture(params=[1, 2, 3], ids=lambda depth: f"depth {depth}")
def sam(request: pytest.FixtureRequest) -> Sam:
    torch.manual_seed(0)
    config = SmallSamConfig(image_px=96, prompt_dim=32, decoder_depth=request.param)
    made = build_small_sam(config).eval()
    for parameter in made.parameters():  # those that start as zeros would hide a mistake
        torch.nn.init.normal_(parameter, std=0.2)
    return made


@torch.inference_mode()
def test_it_decodes_as_the_stock_decoder_does(sam: Sam) -> None:
    embedding = torch.randn(1, 32, 6, 6)
    points, labels = torch.rand(5, 1, 2) * 96, torch.ones(5, 1, dtype=torch.int)
    sparse, dense = sam.prompt_encoder((points, labels), None, None)
    logits, quality = sam.mask_decoder(
        image_embeddings=embedding,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    ordered = quality.flatten().sort().values
    threshold = float(ordered[6:8].mean())  # between two, not at one
    prompt, predicted, masks = PointDecoder(sam, embedding).decode(sparse, threshold)
    good = quality > threshold
    assert prompt.tolist() == torch.nonzero(good)[:, 0].tolist()
    torch.testing.assert_close(predicted, quality[good], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(masks, logits[good], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_nothing_good_enough_is_no_error(sam: Sam) -> None:
    prompts = torch.randn(3, 2, 32)
    prompt, predicted, masks = PointDecoder(sam, torch.randn(1, 32, 6, 6)).decode(prompts, 1e9)
    assert len(prompt) == len(predicted) == 0
    assert masks.shape == (0, 24, 24)
