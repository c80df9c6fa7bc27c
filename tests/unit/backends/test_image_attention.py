"""The image encoder's attention by rows gives what segment_anything's gives."""

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention

from lae_tasks.backends.image_attention import AttentionByRows, attend_by_rows
from lae_tasks.backends.small_sam import SmallSamConfig, build_small_sam


@pytest.mark.parametrize(("count", "height", "width"), [(1, 12, 12), (9, 5, 5), (2, 4, 7)])
def test_as_stock(count: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    stock = Attention(24, num_heads=3, use_rel_pos=True, input_size=(height, width)).eval()
    for positions in (stock.rel_pos_h, stock.rel_pos_w):
        torch.nn.init.normal_(positions)
    tokens = torch.randn(count, height, width, 24)
    with torch.inference_mode():
        torch.testing.assert_close(AttentionByRows(stock)(tokens), stock(tokens))


def test_names_of_weights_stay() -> None:
    sam = build_small_sam(SmallSamConfig(image_px=64, encoder_depth=2))
    names = set(sam.state_dict())
    assert set(attend_by_rows(sam).state_dict()) == names
