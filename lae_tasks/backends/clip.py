"""Names and crops in one space, by open_clip."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from PIL import Image as PilImage

from lae_tasks.backends.common import is_out_of_memory, prepare
from lae_tasks.backends.protocols import Image
from lae_tasks.backends.weights import clip_revision
from lae_tasks.errors import ConfigError

_log = logging.getLogger(__name__)

_BATCH_SIZE = 64
_TEMPLATE = "an aerial image of {}."


class ClipEmbedder:
    """A TextEmbedder over any open_clip model."""

    def __init__(self, name: str, device: str, threads: int) -> None:
        """Loads the model.

        Args:
            name: `local-dir:FOLDER`, or `ARCHITECTURE/PRETRAINED` such as `ViT-B-32/openai`.
            device: As `common.prepare` takes it.
            threads: CPU threads.

        Raises:
            ConfigError: If open_clip cannot load it.
        """
        self._device = prepare(device, threads)
        self._batch_size = _BATCH_SIZE
        self.revision = clip_revision(name)
        local = name.startswith("local-dir:")
        architecture, _, pretrained = (name, "", "") if local else name.partition("/")
        try:
            model, _, self._preprocess = open_clip.create_model_and_transforms(
                architecture, pretrained=pretrained or None
            )
            self._tokenizer = open_clip.get_tokenizer(architecture)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise ConfigError(
                f"classify.clip_model {name!r}: open_clip cannot load it: {error}; use "
                "local-dir:FOLDER or ARCHITECTURE/PRETRAINED such as ViT-B-32/openai"
            ) from error
        self._model = model.to(self._device).float().eval()
        self._scale = float(self._model.logit_scale.detach().exp())

    @torch.inference_mode()
    def embed_names(self, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors of category names, (n, d)."""
        texts = [_TEMPLATE.format(_with_article(name)) for name in names]
        return self._embed(self._model.encode_text, self._tokenizer(texts))

    @torch.inference_mode()
    def embed_crops(self, crops: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Unit vectors of RGB crops, (n, d)."""
        pixels = [self._preprocess(PilImage.fromarray(crop)) for crop in crops]
        return self._embed(self._model.encode_image, torch.stack(pixels))

    def _embed(
        self, encode: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor
    ) -> npt.NDArray[np.float32]:
        """Some at a time; fewer from then on where the memory does not suffice."""
        parts: list[torch.Tensor] = []
        rest = inputs
        while len(rest):
            try:
                parts.append(encode(rest[: self._batch_size].to(self._device)))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or self._batch_size == 1:
                    raise
                self._batch_size = min(self._batch_size, len(rest)) // 2 or 1
                _log.warning("Out of memory for CLIP; now %d at a time", self._batch_size)
            else:
                rest = rest[self._batch_size :]
        return _unit(parts)

    def likeness(
        self, crops: npt.NDArray[np.float32], names: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Of their vectors: logits of each name for each crop, (crops, names)."""
        return np.asarray(self._scale * crops @ names.T, dtype=np.float32)


def _unit(parts: list[torch.Tensor]) -> npt.NDArray[np.float32]:
    vectors = torch.cat(parts).detach().cpu().float().numpy()
    unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _with_article(name: str) -> str:
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"
