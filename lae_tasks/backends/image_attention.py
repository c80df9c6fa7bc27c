"""SAM's image encoder: the stock attention's results for less work.

`segment_anything` writes the scores of all tokens against all, 800 MB for ViT-B, and goes through
them four times: two additions of relative positions, a softmax, a product. Here the tokens of one
row of the image are done at a time, so that their scores stay in the processor's cache.
"""

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


def attend_by_rows(sam: Sam) -> Sam:
    """Gives a model's image encoder the faster attention, and returns the model."""
    for block in sam.image_encoder.blocks:
        block.attn = AttentionByRows(block.attn)
    return sam


class AttentionByRows(nn.Module):
    """Attention with decomposed relative positions, of a stock one's weights."""

    def __init__(self, stock: Attention) -> None:
        super().__init__()
        self.qkv, self.proj = stock.qkv, stock.proj
        self.rel_pos_h, self.rel_pos_w = stock.rel_pos_h, stock.rel_pos_w
        self._heads = stock.num_heads

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps images or windows of tokens (B, H, W, C) to as many."""
        count, height, width, _ = tokens.shape
        projected = self.qkv(tokens).reshape(count, height * width, 3, self._heads, -1)
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)  # each (B, heads, H * W, d)
        placed = queries.unflatten(2, (height, width))
        by_row = get_rel_pos(height, height, self.rel_pos_h)  # (H, H, d)
        by_column = get_rel_pos(width, width, self.rel_pos_w)
        of_rows = torch.einsum("bnhwc,hkc->bnhwk", placed, by_row)[..., None]
        of_columns = torch.einsum("bnhwc,wkc->bnhwk", placed, by_column)[..., None, :]
        step = 1 if tokens.device.type == "cpu" else height
        parts = []
        for top in range(0, height, step):
            rows = slice(top, top + step)
            positions = (of_rows[:, :, rows] + of_columns[:, :, rows]).flatten(4).flatten(2, 3)
            part = placed[:, :, rows].flatten(2, 3)
            parts.append(scaled_dot_product_attention(part, keys, values, attn_mask=positions))
        attended = torch.cat(parts, dim=2).transpose(1, 2)
        result: Tensor = self.proj(attended.reshape(count, height, width, -1))
        return result
