"""A small Segment Anything model, built of the stock ``segment_anything.modeling`` classes.

``sam_model_registry`` only knows the three published sizes. This one is about forty times smaller
than ViT-B: it runs on a CPU, its weights fit into a repository, and everything that takes a ``Sam``
takes it. The one thing that is not stock is the patch embedding: a short stack of convolutions,
with which so small a transformer learns in an hour.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import nn

from lae_tasks.errors import ConfigError

FORMAT = "lae-small-sam"
_PIXEL_MEAN = (123.675, 116.28, 103.53)
_PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class SmallSamConfig:
    """The architecture; everything that :func:`build_small_sam` needs.

    Attributes:
        image_px: side of the square that an image is resized and padded to.
        patch_px: side of the square that becomes one token: 4, 8 or 16.
        encoder_dim: width of the image encoder.
        encoder_depth: its number of transformer blocks, all with global attention.
        encoder_heads: its attention heads.
        encoder_mlp_ratio: hidden width of its MLPs as a multiple of ``encoder_dim``.
        prompt_dim: channels of the image embedding, the prompts and the mask decoder.
        decoder_depth: blocks of the two-way transformer.
        decoder_heads: its attention heads.
        decoder_mlp_dim: hidden width of its MLPs.
        iou_head_dim: hidden width of the head that predicts each mask's IoU.
    """

    image_px: int = 256
    patch_px: int = 16
    encoder_dim: int = 160
    encoder_depth: int = 4
    encoder_heads: int = 5
    encoder_mlp_ratio: float = 3.0
    prompt_dim: int = 128
    decoder_depth: int = 2
    decoder_heads: int = 4
    decoder_mlp_dim: int = 256
    iou_head_dim: int = 128


class ConvStem(nn.Module):
    """Convolutions of stride 2 in the place of the ViT's patch embedding."""

    def __init__(self, out_dim: int, patch_px: int) -> None:
        """Make a stem that turns each ``patch_px`` square into ``out_dim`` channels."""
        super().__init__()
        stages = patch_px.bit_length() - 1
        layers: list[nn.Module] = []
        channels = 3
        for stage in range(stages):
            wider = max(24, out_dim // 2 ** (stages - 1 - stage))
            layers += [
                nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.GELU(),
            ]
            channels = wider
        layers.append(nn.Conv2d(channels, out_dim, 1))
        self.body = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (B, 3, H, W) to tokens (B, H / patch, W / patch, C), as the ViT wants them."""
        tokens: torch.Tensor = self.body(images)
        return tokens.permute(0, 2, 3, 1)


def build_small_sam(config: SmallSamConfig) -> Sam:
    """Build the model with random weights.

    Args:
        config: the architecture.

    Returns:
        A float32 ``Sam`` in training mode.

    Raises:
        ConfigError: if the sizes do not fit each other.
    """
    if config.patch_px not in (4, 8, 16) or config.image_px % config.patch_px:
        raise ConfigError(
            f"small SAM: image_px={config.image_px} with patch_px={config.patch_px}: "
            "choose a patch of 4, 8 or 16 px that divides the image's side"
        )
    grid = config.image_px // config.patch_px
    encoder = ImageEncoderViT(
        img_size=config.image_px,
        patch_size=config.patch_px,
        embed_dim=config.encoder_dim,
        depth=config.encoder_depth,
        num_heads=config.encoder_heads,
        mlp_ratio=config.encoder_mlp_ratio,
        out_chans=config.prompt_dim,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        qkv_bias=True,
        use_rel_pos=True,
        window_size=0,
        global_attn_indexes=tuple(range(config.encoder_depth)),
    )
    encoder.patch_embed = ConvStem(config.encoder_dim, config.patch_px)
    decoder = MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(
            depth=config.decoder_depth,
            embedding_dim=config.prompt_dim,
            mlp_dim=config.decoder_mlp_dim,
            num_heads=config.decoder_heads,
        ),
        transformer_dim=config.prompt_dim,
        iou_head_depth=3,
        iou_head_hidden_dim=config.iou_head_dim,
    )
    return Sam(
        image_encoder=encoder,
        prompt_encoder=PromptEncoder(
            embed_dim=config.prompt_dim,
            image_embedding_size=(grid, grid),
            input_image_size=(config.image_px, config.image_px),
            mask_in_chans=16,
        ),
        mask_decoder=decoder,
        pixel_mean=list(_PIXEL_MEAN),
        pixel_std=list(_PIXEL_STD),
    )


def save_small_sam(sam: Sam, config: SmallSamConfig, path: Path) -> None:
    """Write weights (float16) and architecture into one safetensors file.

    Args:
        sam: a model that :func:`build_small_sam` made from ``config``.
        config: its architecture, kept as JSON in the file's metadata.
        path: the file; its folder is made if missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in sam.state_dict().items()
    }
    save_file(state, path, metadata={"format": FORMAT, "config": json.dumps(asdict(config))})
    # safetensors makes files that only their owner can read.
    path.chmod(0o644)


def load_small_sam(path: Path) -> Sam:
    """Load a model that :func:`save_small_sam` wrote.

    Args:
        path: the safetensors file.

    Returns:
        The model: float32, in evaluation mode, on the CPU.

    Raises:
        ConfigError: if the file is missing, is no small SAM, or its weights do not fit the
            architecture it names.
    """
    metadata, state = _read(path)
    if metadata.get("format") != FORMAT:
        raise ConfigError(
            f"{path}: the file's format is {metadata.get('format')!r}, not {FORMAT!r}; "
            "give a file that save_small_sam wrote"
        )
    sam = build_small_sam(_parse_config(metadata, path))
    try:
        # Strict: a weight too many or too few is a mismatch, never ignored.
        sam.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(
            f"{path}: the weights do not fit the architecture in the file's metadata ({error}); "
            "write the file again with save_small_sam"
        ) from error
    return sam.float().eval()


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            return metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file; check the SAM weights' path") from error
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{path}: not a readable safetensors file ({error}); give a file that "
            "save_small_sam wrote"
        ) from error


def _parse_config(metadata: dict[str, str], path: Path) -> SmallSamConfig:
    try:
        values: dict[str, Any] = json.loads(metadata["config"])
        known = {field.name for field in fields(SmallSamConfig)}
        if set(values) != known:
            raise ValueError(f"keys {sorted(values)}, expected {sorted(known)}")
        return SmallSamConfig(**values)
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path}: the architecture in the file's metadata is unusable ({error}); "
            "write the file again with save_small_sam of this version"
        ) from error
