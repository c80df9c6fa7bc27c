"""The MaskGenerator: regions of an image, by a grid of points or by the prompts it came with."""

from dataclasses import replace

import numpy as np

from lae_tasks.backends.automatic_masks import automatic_masks
from lae_tasks.backends.protocols import (
    Floats,
    Image,
    MaskGenerator,
    MaskProposal,
    PromptableModel,
)
from lae_tasks.backends.upscaling import Upscaler
from lae_tasks.config import SegmentConfig
from lae_tasks.geometry import largest_part, mask_bbox


def load_mask_generator(config: SegmentConfig, threads: int) -> MaskGenerator:
    """The MaskGenerator that the config names.

    Raises:
        ConfigError: If its checkpoint is missing, or of another model.
    """
    return PromptedMaskGenerator(_load_model(config, threads), config)


def _load_model(config: SegmentConfig, threads: int) -> PromptableModel:
    if config.checkpoint_is_folder:
        from lae_tasks.backends.sam2 import SegmentAnything2

        return SegmentAnything2(config, threads)
    from lae_tasks.backends.sam import SegmentAnything

    return SegmentAnything(config, threads)


def check_checkpoint(config: SegmentConfig) -> None:
    """Finds in a moment what would keep a checkpoint from being loaded: few weights are read.

    Raises:
        ConfigError: If it is missing, damaged, or of another model.
    """
    if config.checkpoint_is_folder:
        from lae_tasks.backends.sam2 import load_sam2

        load_sam2(config)
    else:
        from lae_tasks.backends.sam import check_sam

        check_sam(config)


class PromptedMaskGenerator:
    """A MaskGenerator over a model of the Segment Anything family."""

    def __init__(self, model: PromptableModel, config: SegmentConfig) -> None:
        self.revision = model.revision
        self._model, self._config = model, config

    def generate(self, image: Image) -> list[MaskProposal]:
        """All masks of an RGB image (height, width, 3)."""
        masks = automatic_masks(self._model, image, self._config)
        return [self._finished(mask) for mask in masks]

    def answer(self, image: Image, prompts_xyxy_px: Floats) -> list[MaskProposal | None]:
        """One mask for each prompt, in order; None where the model sees nothing.

        Args:
            image: RGB (height, width, 3).
            prompts_xyxy_px: Boxes (n, 4); one without width and height is a point.
        """
        embedded = self._model.embed(image)
        upscaler = Upscaler(embedded)
        is_point = (prompts_xyxy_px[:, :2] == prompts_xyxy_px[:, 2:]).all(axis=1)
        points, boxes = np.flatnonzero(is_point), np.flatnonzero(~is_point)
        answers: list[MaskProposal | None] = [None] * len(prompts_xyxy_px)
        best = np.full(len(prompts_xyxy_px), -np.inf)
        for numbers, made in (
            (points, embedded.at_points(prompts_xyxy_px[points, :2], -np.inf)),
            (boxes, embedded.in_boxes(prompts_xyxy_px[boxes])),
        ):
            for guesses in made:
                for prompt, predicted_iou, logits in zip(
                    numbers[guesses.prompt], guesses.predicted_iou, guesses.logits, strict=True
                ):
                    # A point has several guesses: parts and wholes. The model says which is best.
                    mask = upscaler.mask(logits, predicted_iou, self._config.stability_score_offset)
                    if mask and predicted_iou > best[prompt]:
                        best[prompt] = predicted_iou
                        answers[prompt] = self._finished(mask)
        return answers

    def _finished(self, proposal: MaskProposal) -> MaskProposal:
        if not self._config.largest_part_only:
            return proposal
        mask = largest_part(proposal.mask)
        x0, y0, x1, y1 = mask_bbox(mask)
        x, y = proposal.bbox_xyxy_px[:2]
        bbox = (x0 + x, y0 + y, x1 + x, y1 + y)
        return replace(proposal, bbox_xyxy_px=bbox, mask=mask[y0:y1, x0:x1])
