"""Train the small SAM from nothing: ``python -m demo.train.sam``.

Two stages. The first trains on 256 px inputs, where a step is cheap; the second goes on at 384 px,
where small things are seen better. A throwaway dense head leads for the first tenth of the time.
"""

from __future__ import annotations

import argparse
import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import nn

from demo.train.data import DEFAULT_CACHE, SceneSet, load_scenes
from demo.train.sam_losses import DenseHead, mask_iou, mask_loss
from demo.train.sam_samples import SamSample, draw_sample
from lae_tasks.backends.small_sam import SmallSamConfig, build_small_sam, save_small_sam

logger = logging.getLogger(__name__)

OUTPUT = Path("demo/models/sam/model.safetensors")
BOX_SHARE = 0.2
HEAD_ONLY_SHARE = 0.08
SAVE_EVERY_S = 240


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        minutes: wall-clock time of both stages together.
        first_stage: share of the time spent at the smaller input size.
        image_px: input sizes of the two stages.
        batch: images per step in the two stages.
        objects: prompts on objects per image.
        background: prompts on background per image.
        learning_rate: peak of the cosine schedule.
        seed: of weights and samples.
    """

    minutes: float = 72
    first_stage: float = 0.42
    image_px: tuple[int, int] = (256, 384)
    batch: tuple[int, int] = (6, 4)
    objects: int = 10
    background: int = 3
    learning_rate: float = 1e-3
    seed: int = 0


def initialise(sam: Sam) -> None:
    """Set initial weights with which prompts find their place quickly.

    The stock random positions all have the same wavelength; here they run from coarse to fine. And
    cross-attention starts with equal query and key projections, so that a point attends to the
    image tokens at its own position from the first step on.
    """
    nn.init.trunc_normal_(sam.image_encoder.pos_embed, std=0.02)
    frequencies = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    scales = torch.linspace(math.log(0.6), math.log(5.0), frequencies.shape[1]).exp()
    frequencies.mul_(scales)
    transformer = sam.mask_decoder.transformer
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for attention in attentions:
        nn.init.orthogonal_(attention.q_proj.weight, gain=1.6)
        attention.k_proj.weight.data.copy_(attention.q_proj.weight.data)
        nn.init.zeros_(attention.q_proj.bias)
        nn.init.zeros_(attention.k_proj.bias)
    # The last layer norm of the neck: image content starts weaker than position.
    sam.image_encoder.neck[3].weight.data.fill_(0.5)


def enlarge(sam: Sam, config: SmallSamConfig) -> Sam:
    """Carry weights over to the same architecture with another input size.

    Args:
        sam: the trained model.
        config: its architecture with the new ``image_px``.

    Returns:
        A new model whose position embeddings are interpolated; everything else is as it was.
    """
    larger = build_small_sam(config)
    grid = config.image_px // config.patch_px
    state = sam.state_dict()
    position = state["image_encoder.pos_embed"].permute(0, 3, 1, 2)
    position = F.interpolate(position, (grid, grid), mode="bicubic", align_corners=False)
    state["image_encoder.pos_embed"] = position.permute(0, 2, 3, 1)
    for name, value in state.items():
        if "rel_pos_" in name:
            longer = F.interpolate(value.T[None], 2 * grid - 1, mode="linear", align_corners=True)
            state[name] = longer[0].T
    larger.load_state_dict(state)
    return larger


def _optimiser(modules: list[nn.Module]) -> torch.optim.AdamW:
    parameters = [p for module in modules for p in module.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.02},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98))


def _embed(sam: Sam, samples: list[SamSample]) -> torch.Tensor:
    images = torch.stack([sample.image for sample in samples])
    images = (images - sam.pixel_mean) / sam.pixel_std
    # A little colour: contrast per image, tint per channel.
    images = images * (1 + 0.1 * torch.randn(len(images), 1, 1, 1))
    images = images + 0.1 * torch.randn(len(images), 3, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        embedding: torch.Tensor = sam.image_encoder(images)
    return embedding.float()


def _decoder_loss(
    sam: Sam, embedding: torch.Tensor, sample: SamSample, by_box: bool, balance: float
) -> tuple[torch.Tensor, float]:
    """Loss of one image's prompts, and the mean IoU of the mask that the model would choose."""
    objects = len(sample.masks)
    masks = sample.masks
    if by_box:
        sparse, dense = sam.prompt_encoder(None, sample.boxes, None)
    else:
        labels = torch.ones(len(sample.points), 1)
        sparse, dense = sam.prompt_encoder((sample.points[:, None], labels), None, None)
        background = len(sample.points) - objects
        masks = torch.cat([masks, masks.new_zeros(background, *masks.shape[1:])])
    with torch.autocast("cpu", torch.bfloat16):
        logits, quality = sam.mask_decoder.predict_masks(
            embedding, sam.prompt_encoder.get_dense_pe(), sparse, dense
        )
    logits, quality = logits.float(), quality.float()
    target = masks[:, None]
    with torch.no_grad():
        # The target is 0 on background: the automatic mask generator drops such points by it.
        iou = mask_iou(logits, target)
        chosen = quality[:objects, 1:].argmax(1, keepdim=True)
        reached = iou[:objects, 1:].gather(1, chosen).mean().item()
    losses = mask_loss(logits[:objects], target[:objects], balance)
    single, candidates = losses[:, 0], losses[:, 1:]
    loss = single.mean() + 0.6 * candidates.min(1).values.mean() + 0.6 * candidates.mean()
    return loss + 2 * F.mse_loss(quality, iou), reached


class Trainer:
    """One run: a clock, a model and its optimiser."""

    def __init__(self, recipe: Recipe, config: SmallSamConfig, scenes: SceneSet) -> None:
        """Build the model; nothing is trained yet."""
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.scenes = scenes
        self.rng = np.random.default_rng(recipe.seed)
        self.config = replace(config, image_px=recipe.image_px[0])
        self.sam = build_small_sam(self.config)
        initialise(self.sam)
        self.head = DenseHead(config.prompt_dim)
        self.steps = 0

    def run(self, output: Path) -> None:
        """Train until the time is over; the file is also written now and then on the way."""
        recipe = self.recipe
        start = last_log = last_save = time.monotonic()
        stage, stage_start = 0, 0
        optimiser = _optimiser([self.sam, self.head])
        self.sam.train()
        reached, recent = 0.0, 0.0
        while (progress := (time.monotonic() - start) / 60 / recipe.minutes) < 1:
            if stage == 0 and progress >= recipe.first_stage:
                stage, stage_start = 1, self.steps
                self.config = replace(self.config, image_px=recipe.image_px[1])
                self.sam = enlarge(self.sam, self.config).train()
                optimiser = _optimiser([self.sam, self.head])
            rate = self._rate(progress, self.steps - stage_start)
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss, reached = self._step(stage, progress)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.sam.parameters(), 1.0)
            optimiser.step()
            self.steps += 1
            recent += 0.03 * (reached - recent)
            now = time.monotonic()
            if now - last_log > 30:
                logger.info(
                    "%.1f min, step %d, loss %.3f, IoU of the chosen mask %.3f",
                    (now - start) / 60,
                    self.steps,
                    loss.item(),
                    recent,
                )
                last_log = now
            if now - last_save > SAVE_EVERY_S:
                save_small_sam(self.sam, self.config, output)
                last_save = now
        save_small_sam(self.sam, self.config, output)
        logger.info("%d steps, written to %s", self.steps, output)

    def _rate(self, progress: float, steps_in_stage: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * progress)) * 0.98 + 0.02
        return self.recipe.learning_rate * min(1.0, (steps_in_stage + 1) / 100) * cosine

    def _step(self, stage: int, progress: float) -> tuple[torch.Tensor, float]:
        recipe = self.recipe
        samples = [
            draw_sample(
                self.rng,
                self.scenes,
                recipe.image_px[stage],
                recipe.objects,
                recipe.background,
            )
            for _ in range(recipe.batch[stage])
        ]
        embedding = _embed(self.sam, samples)
        instances = torch.stack([sample.instances for sample in samples])
        centres = torch.stack([sample.centres for sample in samples])
        head_loss = self.head.loss(embedding, instances, centres)
        if progress < HEAD_ONLY_SHARE:
            return head_loss, 0.0
        balance = max(0.3, 2 * (1 - 1.2 * progress))
        parts = [
            _decoder_loss(
                self.sam, embedding[i : i + 1], sample, self.rng.random() < BOX_SHARE, balance
            )
            for i, sample in enumerate(samples)
        ]
        decoder_loss = torch.stack([loss for loss, _ in parts]).mean()
        return decoder_loss + 0.2 * head_loss, float(np.mean([iou for _, iou in parts]))


def main() -> None:
    """Train the small SAM."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=Recipe.minutes)
    parser.add_argument("--scenes", type=int, default=3000)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    scenes = load_scenes(args.cache, args.scenes)
    Trainer(Recipe(minutes=args.minutes), SmallSamConfig(), scenes).run(args.output)


if __name__ == "__main__":
    main()
