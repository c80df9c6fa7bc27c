"""SAM's mask decoder for many prompts of one image: the stock one's results for less work.

`segment_anything.modeling.MaskDecoder` treats each prompt as an image of its own. Three things
make it faster, none of them an approximation:

* A prompt has few tokens (T, about 7) and the image thousands. Where the stock attention projects
  every token of the image to keys and values, here the few tokens are taken through the
  projections instead: q (W x) = (q W) x. Nothing of the image's size has to be projected, and in
  the first layer, where all prompts see the same image, there is only one of it.
* Each mask's predicted IoU depends on the tokens alone. So it is known before masks are made, and
  only of prompts that have a good one they are.
* Transposed convolutions of stride 2 do not overlap: they are matrix products, and the pixels are
  brought in order once, when of 32 channels only the masks are left.
"""

import math

import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor, nn, unflatten
from torch.nn.functional import layer_norm, linear


class PointDecoder:
    """Decodes prompts of one embedded image.

    Args:
        sam: The model, in evaluation mode.
        embedding: What its image encoder made of the image, (1, C, h, w).
    """

    def __init__(self, sam: Sam, embedding: Tensor) -> None:
        self._decoder = sam.mask_decoder
        no_mask = sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        self._image = (embedding + no_mask).flatten(2).transpose(1, 2).contiguous()  # (1, N, C)
        self._position = sam.prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2).contiguous()
        self._grid = embedding.shape[-2:]

    def decode(self, prompts: Tensor, min_quality: float) -> tuple[Tensor, Tensor, Tensor]:
        """The masks of some prompts whose predicted IoU is above a threshold.

        Args:
            prompts: The prompt encoder's sparse embeddings, (B, tokens, C).
            min_quality: The threshold.

        Returns:
            The prompt of each mask (M,), its predicted IoU (M,), and its logits (M, 4 h, 4 w); per
            prompt the multimask outputs, without the first one, which is for boxes.
        """
        decoder = self._decoder
        output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([output_tokens.expand(len(prompts), -1, -1), prompts], dim=1)
        tokens, image = self._attend(tokens)
        quality = decoder.iou_prediction_head(tokens[:, 0])[:, 1:]
        good = quality > min_quality
        prompt, output = torch.nonzero(good, as_tuple=True)
        used = good.any(dim=1)
        masks = self._masks(tokens[used], image[used])
        place = used.cumsum(0) - 1
        return prompt, quality[prompt, output], masks[place[prompt], output]

    def _attend(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """The two-way transformer: tokens (B, T, C), and the image's tokens (B, N, C) for each."""
        transformer = self._decoder.transformer
        image, queries = self._image, prompts
        for layer in transformer.layers:
            placed = image + self._position
            queries = _attend_to_themselves(layer, queries, prompts)
            attention = layer.cross_attn_token_to_image
            queries = queries + _look_at_image(attention, queries + prompts, placed, image)
            queries = layer.norm2(queries)
            queries = layer.norm3(queries + layer.mlp(queries))
            attention = layer.cross_attn_image_to_token
            image = _look_at_tokens(attention, image, placed, queries + prompts, queries)
            image = layer.norm4(image)
        attention = transformer.final_attn_token_to_image
        placed = image + self._position
        queries = queries + _look_at_image(attention, queries + prompts, placed, image)
        return transformer.norm_final_attn(queries), image

    def _masks(self, tokens: Tensor, image: Tensor) -> Tensor:
        """Logits of the multimask outputs of some prompts, (B, outputs, 4 h, 4 w)."""
        decoder, (height, width) = self._decoder, self._grid
        first, norm, activation, second, _ = decoder.output_upscaling
        pixels = _upscaled(image, first)  # (B, N, 4, C / 4)
        pixels = layer_norm(pixels, pixels.shape[-1:], norm.weight, norm.bias, norm.eps)
        pixels = activation(_upscaled(activation(pixels), second))  # (B, N, 4, 4, C / 8)
        networks = decoder.output_hypernetworks_mlps
        weights = [networks[i](tokens[:, 1 + i]) for i in range(1, len(networks))]
        masks = torch.bmm(pixels.flatten(1, 3), torch.stack(weights, dim=2))
        parts = masks.reshape(len(masks), height, width, 2, 2, 2, 2, len(weights))
        # Rows: of the grid, of the first and of the second upscaling; then the columns.
        return parts.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(
            len(masks), len(weights), 4 * height, 4 * width
        )


def _upscaled(pixels: Tensor, convolution: nn.ConvTranspose2d) -> Tensor:
    """Each pixel (..., C) as the 2 x 2 that a transposed convolution of stride 2 makes of it."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (2 * 2 * D, C)
    bias = convolution.bias
    assert bias is not None  # the stock module has one
    return unflatten(linear(pixels, weight, bias.repeat(4)), -1, (4, -1))


def _attend_to_themselves(layer: TwoWayAttentionBlock, queries: Tensor, prompts: Tensor) -> Tensor:
    if layer.skip_first_layer_pe:
        attended: Tensor = layer.norm1(layer.self_attn(q=queries, k=queries, v=queries))
        return attended
    places = queries + prompts
    attended = layer.norm1(queries + layer.self_attn(q=places, k=places, v=queries))
    return attended


def _look_at_image(attention: Attention, tokens: Tensor, placed: Tensor, image: Tensor) -> Tensor:
    """What the tokens (B, T, C) see in the image (B or 1, N, C), with its positions: (B, T, C)."""
    heads, width = attention.num_heads, attention.internal_dim // attention.num_heads
    queries = _by_head(attention.q_proj(tokens), heads) / math.sqrt(width)
    # The bias of the keys adds the same to all of a token's scores, which changes nothing.
    through = queries @ unflatten(attention.k_proj.weight, 0, (heads, width))  # (B, H, T, C)
    weights = _products(through.flatten(1, 2), placed).softmax(dim=2)  # (B, H * T, N)
    seen = unflatten(_sums(weights, image), 1, (heads, -1))
    values = seen @ unflatten(attention.v_proj.weight, 0, (heads, width)).transpose(1, 2)
    values = values.transpose(1, 2).flatten(2) + attention.v_proj.bias
    result: Tensor = attention.out_proj(values)
    return result


def _look_at_tokens(
    attention: Attention, image: Tensor, placed: Tensor, tokens: Tensor, values: Tensor
) -> Tensor:
    """The image (B or 1, N, C), and added to it what it sees in the tokens (B, T, C): (B, N, C)."""
    heads, width = attention.num_heads, attention.internal_dim // attention.num_heads
    keys = _by_head(attention.k_proj(tokens), heads) / math.sqrt(width)
    through = keys @ unflatten(attention.q_proj.weight, 0, (heads, width))  # (B, H, T, C)
    bias = keys @ unflatten(attention.q_proj.bias, 0, (heads, width, 1))  # (B, H, T, 1)
    scores = unflatten(_products(through.flatten(1, 2), placed), 1, (heads, -1)) + bias
    weights = scores.softmax(dim=2).flatten(1, 2)  # (B, H * T, N); over a head's tokens
    output = unflatten(attention.out_proj.weight, 1, (heads, width)).permute(1, 2, 0)  # (H, d, C)
    added = _by_head(attention.v_proj(values), heads) @ output
    # The weights of a head sum to 1: a share of the bias for each adds it once.
    added = (added + attention.out_proj.bias / heads).flatten(1, 2)  # (B, H * T, C)
    return torch.baddbmm(image.expand(len(tokens), -1, -1), weights.transpose(1, 2), added)


def _by_head(vectors: Tensor, heads: int) -> Tensor:
    """(B, T, D) as (B, heads, T, D / heads)."""
    return unflatten(vectors, 2, (heads, -1)).transpose(1, 2)


def _products(vectors: Tensor, image: Tensor) -> Tensor:
    """Scalar products of vectors (B, K, C) and an image's tokens (B or 1, N, C): (B, K, N)."""
    if len(image) == 1:
        return unflatten(vectors.flatten(0, 1) @ image[0].T, 0, vectors.shape[:2])
    return torch.bmm(vectors, image.transpose(1, 2))


def _sums(weights: Tensor, image: Tensor) -> Tensor:
    """Weighted (B, K, N) sums of an image's tokens (B or 1, N, C): (B, K, C)."""
    if len(image) == 1:
        return unflatten(weights.flatten(0, 1) @ image[0], 0, weights.shape[:2])
    return torch.bmm(weights, image)
