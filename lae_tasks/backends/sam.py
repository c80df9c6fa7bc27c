"""segment_anything's models: ViT-B, ViT-L, ViT-H, or the small model of the demo."""

import pickle
import struct
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam
from torch.nn import functional

from lae_tasks.backends.common import prepare
from lae_tasks.backends.image_attention import attend_by_rows
from lae_tasks.backends.point_decoder import PointDecoder
from lae_tasks.backends.protocols import Floats, Guesses, Image
from lae_tasks.backends.small_sam import load_small_sam
from lae_tasks.backends.weights import sam_checkpoint, sam_revision
from lae_tasks.config import SegmentConfig
from lae_tasks.errors import ConfigError

#: On a CPU, prompts are decoded in batches whose copies of the embedded image stay in its cache.
_CACHE_BYTES = 8 * 2**20

#: What torch raises, beside its own errors, on an empty or damaged file or one of something else.
_DAMAGE = (LookupError, AttributeError, ValueError, AssertionError, EOFError, struct.error)


class SegmentAnything:
    """A PromptableModel of the original Segment Anything."""

    def __init__(self, config: SegmentConfig, threads: int) -> None:
        """Loads the checkpoint. Raises ConfigError if it is missing or of another model."""
        device = prepare(config.device, threads)
        path = sam_checkpoint(config)
        self.revision = sam_revision(config)
        self._batch = config.points_per_batch
        sam = attend_by_rows(_load(config.model_type, path))
        self._predictor = SamPredictor(sam.to(device).eval())

    @torch.inference_mode()
    def embed(self, image: Image) -> "EmbeddedBySam":
        """Takes in an RGB image (height, width, 3)."""
        self._predictor.set_image(np.ascontiguousarray(image))
        return EmbeddedBySam(self._predictor, self._batch)


class EmbeddedBySam:
    """An EmbeddedImage of the original Segment Anything."""

    def __init__(self, predictor: SamPredictor, batch: int) -> None:
        self._sam, self._transform = predictor.model, predictor.transform
        self._embedding = predictor.get_image_embedding()
        self._size, self._batch = predictor.original_size, batch
        if self._embedding.device.type == "cpu":
            self._batch = min(batch, max(1, _CACHE_BYTES // self._embedding.nbytes))
        side = predictor.model.image_encoder.img_size
        height, width = predictor.input_size
        low = 4 * self._embedding.shape[-1]
        self.rows = _interpolation(low, side, height, self._size[0])
        self.columns = _interpolation(low, side, width, self._size[1])

    @torch.inference_mode()
    def at_points(self, points_px: Floats, min_predicted_iou: float) -> Iterator[Guesses]:
        """Several guesses for each point (n, 2; x, y), in batches; the poor ones are left out."""
        decoder = PointDecoder(self._sam, self._embedding)
        coordinates = torch.as_tensor(self._transform.apply_coords(points_px, self._size))
        for start, some in _batches(coordinates.to(self._embedding), self._batch):
            labels = torch.ones(len(some), 1, dtype=torch.int, device=some.device)
            prompts, _ = self._sam.prompt_encoder((some[:, None], labels), None, None)
            prompt, quality, logits = decoder.decode(prompts, min_predicted_iou)
            yield _guesses(start + prompt, quality, logits)

    @torch.inference_mode()
    def in_boxes(self, boxes_xyxy_px: Floats) -> Iterator[Guesses]:
        """One guess for each box (n, 4), in batches, in order."""
        sam = self._sam
        boxes = torch.as_tensor(self._transform.apply_boxes(boxes_xyxy_px, self._size))
        for start, some in _batches(boxes.to(self._embedding), self._batch):
            sparse, dense = sam.prompt_encoder(None, some, None)
            logits, quality = sam.mask_decoder(
                image_embeddings=self._embedding,
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=False,
            )
            prompt = start + torch.arange(len(some))
            yield _guesses(prompt, quality[:, 0], logits[:, 0])


def _batches(prompts: torch.Tensor, size: int) -> Iterator[tuple[int, torch.Tensor]]:
    for start in range(0, len(prompts), size):
        yield start, prompts[start : start + size]


def _guesses(prompt: torch.Tensor, quality: torch.Tensor, logits: torch.Tensor) -> Guesses:
    return Guesses(
        prompt.cpu().numpy(), quality.float().cpu().numpy(), logits.float().cpu().numpy()
    )


def _interpolation(low: int, padded_px: int, used_px: int, original_px: int) -> Floats:
    """One axis of `Sam.postprocess_masks` as a matrix (original_px, low).

    Logits are brought to the side of the padded input, of which the image covers the first
    `used_px`, and these to the image's own size.
    """
    unit = torch.eye(low)[None]
    padded = functional.interpolate(unit, padded_px, mode="linear", align_corners=False)
    used = padded[..., :used_px]
    original = functional.interpolate(used, original_px, mode="linear", align_corners=False)
    matrix: Floats = original[0].T.contiguous().numpy()
    return matrix


def check_sam(config: SegmentConfig) -> None:
    """Checks names and shapes of the weights, without reading those of a large model.

    Raises:
        ConfigError: If the checkpoint is missing, damaged, or of another model.
    """
    path = sam_checkpoint(config)
    if config.model_type == "small":
        load_small_sam(path)
        return
    with torch.device("meta"):  # shapes alone
        sam = sam_model_registry[config.model_type](checkpoint=None)
    # Files of before torch 1.6 are no zip files, and cannot be mapped.
    _fill(sam, config.model_type, path, mapped=zipfile.is_zipfile(path))


def _load(model_type: str, path: Path) -> Sam:
    if model_type == "small":
        return load_small_sam(path)
    sam = sam_model_registry[model_type](checkpoint=None)
    _fill(sam, model_type, path, mapped=False)
    return sam


def _fill(sam: Sam, model_type: str, path: Path, mapped: bool) -> None:
    """Puts weights into a model: a copy, or if `mapped` the file's own, read when they are used."""
    try:
        # weights_only: a checkpoint must not run code.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        sam.load_state_dict(state, assign=mapped)
    except pickle.UnpicklingError as error:
        # Not torch's text, which advises to run the code.
        raise _mismatch(model_type, path, "more than weights, or none, are in it") from error
    except _DAMAGE as error:  # its text, such as `101`, says nothing
        reason = "the file is empty or damaged, or holds something else"
        raise _mismatch(model_type, path, reason) from error
    except (RuntimeError, TypeError, OSError) as error:
        reason = textwrap.shorten(str(error), 300, placeholder=" …")
        raise _mismatch(model_type, path, reason) from error


def _mismatch(model_type: str, path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"segment.checkpoint {path}: not the weights of {model_type} ({reason}); "
        "check segment.model_type and the file"
    )
