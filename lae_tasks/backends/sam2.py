"""SAM 2 and SAM 3 by transformers, which load, prepare and prompt them alike.

Of SAM 3 it is the tracker: the part that answers points and boxes, as SAM 2 does.
"""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch.nn import functional
from transformers import (
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam3ImageProcessor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
)
from transformers.utils import logging as transformers_logging

from lae_tasks.backends.common import prepare
from lae_tasks.backends.protocols import Floats, Guesses, Image
from lae_tasks.backends.weights import sam_checkpoint, sam_revision
from lae_tasks.config import SegmentConfig
from lae_tasks.errors import ConfigError


@dataclass(frozen=True)
class _Family:
    """Classes of transformers, and the `model_type` of checkpoints that hold such a model.

    The published checkpoints are of the video models, which hold the image model whole.
    """

    config: Any
    model: Any
    processor: Any
    stored_as: tuple[str, ...]


_FAMILIES = {
    "sam2": _Family(Sam2Config, Sam2Model, Sam2ImageProcessor, ("sam2", "sam2_video")),
    "sam3_tracker": _Family(
        Sam3TrackerConfig, Sam3TrackerModel, Sam3ImageProcessor, ("sam3_tracker", "sam3_video")
    ),
}


class SegmentAnything2:
    """A PromptableModel of SAM 2, or of SAM 3's tracker."""

    def __init__(self, config: SegmentConfig, threads: int) -> None:
        """Loads the checkpoint. Raises ConfigError if it is missing or of another model."""
        device = prepare(config.device, threads)
        self.revision = sam_revision(config)
        self._batch = config.points_per_batch
        model, self._processor = load_sam2(config)
        self._model = model.to(device)

    @torch.inference_mode()
    def embed(self, image: Image) -> "EmbeddedBySam2":
        """Takes in an RGB image (height, width, 3)."""
        # Said, because an image 3 px high could be taken for one whose channels come first.
        inputs = self._processor(
            images=image, input_data_format="channels_last", return_tensors="pt"
        )
        pixels = inputs["pixel_values"].to(self._model.device)
        features = self._model.get_image_embeddings(pixels)
        height, width = image.shape[:2]
        return EmbeddedBySam2(self._model, features, (height, width), self._batch)


class EmbeddedBySam2:
    """An EmbeddedImage of SAM 2, or of SAM 3's tracker.

    Args:
        model: The model.
        features: What its vision encoder made of the image: maps (1, C, h, w), the finest first.
        size_px: Height and width of the image.
        batch: Prompts that are decoded at once.
    """

    def __init__(
        self, model: Any, features: list[torch.Tensor], size_px: tuple[int, int], batch: int
    ) -> None:
        self._model, self._features, self._batch = model, features, batch
        height, width = size_px
        side = model.prompt_encoder.input_image_size
        # The image was stretched to a square, whatever its shape.
        self._scale = torch.tensor([side / width, side / height])
        # Logits are of the size of the finest map, and are stretched back in one step.
        low_height, low_width = features[0].shape[-2:]
        self.rows = _interpolation(low_height, height)
        self.columns = _interpolation(low_width, width)

    def at_points(self, points_px: Floats, min_predicted_iou: float) -> Iterator[Guesses]:
        """Several guesses for each point (n, 2; x, y), in batches; the poor ones are left out."""
        points = torch.as_tensor(points_px) * self._scale
        for start in range(0, len(points), self._batch):
            some = points[start : start + self._batch]
            labels = torch.ones(1, len(some), 1, dtype=torch.int64)  # 1: on the object
            prompts = {"input_points": some[None, :, None], "input_labels": labels}
            yield self._guesses(start, prompts, min_predicted_iou, multimask=True)

    def in_boxes(self, boxes_xyxy_px: Floats) -> Iterator[Guesses]:
        """One guess for each box (n, 4), in batches, in order."""
        boxes = torch.as_tensor(boxes_xyxy_px) * self._scale.repeat(2)
        for start in range(0, len(boxes), self._batch):
            prompts = {"input_boxes": boxes[None, start : start + self._batch]}
            yield self._guesses(start, prompts, -np.inf, multimask=False)

    @torch.inference_mode()
    def _guesses(
        self,
        start: int,
        prompts: dict[str, torch.Tensor],
        min_predicted_iou: float,
        multimask: bool,
    ) -> Guesses:
        """The guesses for some prompts, of which the first has the number `start`.

        The model also says how likely there is an object at all. That is for objects that leave a
        video: its authors' automatic masks make no use of it either.
        """
        prompts = {name: each.to(self._model.device) for name, each in prompts.items()}
        made = self._model(image_embeddings=self._features, multimask_output=multimask, **prompts)
        quality, logits = made.iou_scores[0], made.pred_masks[0]  # (prompts, masks, …)
        prompt, mask = torch.nonzero(quality > min_predicted_iou, as_tuple=True)
        return Guesses(
            start + prompt.cpu().numpy(),
            quality[prompt, mask].cpu().numpy(),
            logits[prompt, mask].cpu().numpy(),
        )


def _interpolation(low_px: int, image_px: int) -> Floats:
    """One axis of the processors' `post_process_masks` as a matrix (image_px, low_px)."""
    unit = torch.eye(low_px)[None]
    stretched = functional.interpolate(unit, image_px, mode="linear", align_corners=False)
    matrix: Floats = stretched[0].T.contiguous().numpy()
    return matrix


def load_sam2(config: SegmentConfig) -> tuple[Any, Any]:
    """The model, in evaluation mode on the CPU, and its image processor.

    This is quick: weights are mapped from the file, and not read before they are used.

    Raises:
        ConfigError: If the checkpoint is missing, damaged, or not all and only of this model.
    """
    family, folder = _FAMILIES[config.model_type], sam_checkpoint(config)
    problem = f"segment.checkpoint {folder}: not a model of type {config.model_type}"
    remedy = "check segment.model_type and the folder"
    quiet: Any = transformers_logging.disable_progress_bar
    quiet()  # the bar of the weights would break the night's own
    try:
        model, report = family.model.from_pretrained(
            folder,
            config=_architecture(family, folder),
            dtype=torch.float32,
            use_safetensors=True,  # a pickle could run code
            local_files_only=True,
            output_loading_info=True,
        )
        processor = family.processor.from_pretrained(folder, local_files_only=True)
    except (
        AttributeError,  # a part of config.json is no mapping
        KeyError,
        OSError,
        RuntimeError,
        SafetensorError,
        StrictDataclassError,
        TypeError,
        ValueError,
    ) as error:
        text = textwrap.shorten(str(error), 300, placeholder=" …")
        raise ConfigError(f"{problem} ({text}); {remedy}") from error
    # transformers would leave missing weights random.
    for how, names in report.items():
        if names:
            some = ", ".join(sorted(str(name) for name in names)[:3])
            raise ConfigError(f"{problem} ({len(names)} {how}, such as {some}); {remedy}")
    side = model.prompt_encoder.input_image_size
    if (processor.size.height, processor.size.width) != (side, side):
        raise ConfigError(
            f"{problem} (its image processor makes {processor.size.height} x "
            f"{processor.size.width} px of an image, the model takes {side} x {side}); {remedy}"
        )
    return model, processor


def _architecture(family: _Family, folder: Path) -> Any:
    """The config of the image model, also where the folder holds the video model."""
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stored = values.get("model_type")
    if stored not in family.stored_as:
        raise ValueError(
            f"config.json says model_type {stored!r}, not {' or '.join(family.stored_as)}"
        )
    values = values.get("tracker_config", values)  # SAM 3's, beside that of its detector
    return family.config.from_dict({k: v for k, v in values.items() if k != "model_type"})
