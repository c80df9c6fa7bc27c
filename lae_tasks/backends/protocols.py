"""What the stages expect of a model. Each has a `revision`: a digest that changes with its weights.

Backends are the only modules that import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lae_tasks.contracts import BoxPx

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class MaskProposal:
    """A mask that a MaskGenerator found: bool of the size of its tight box, in image pixels."""

    bbox_xyxy_px: BoxPx
    mask: npt.NDArray[np.bool_]
    predicted_iou: float
    stability_score: float


@dataclass(frozen=True)
class Reply:
    """What a Classifier said of a crop.

    Attributes:
        text: The reply, whole.
        token_ends: Where in `text` each token ends.
        token_probabilities: The probability of each token, in [0, 1].
    """

    text: str
    token_ends: tuple[int, ...]
    token_probabilities: tuple[float, ...]


class MaskGenerator(Protocol):
    """Finds regions of interest."""

    revision: str

    def generate(self, image: Image) -> list[MaskProposal]:
        """All masks of an RGB image (height, width, 3)."""


class Classifier(Protocol):
    """Names crops by a vision-language model."""

    revision: str

    def reply(self, crops: Sequence[Image], prompt: str) -> list[Reply]:
        """One reply for each RGB crop, in order."""


class TextEmbedder(Protocol):
    """Embeds names and crops in one space."""

    revision: str

    def embed_names(self, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors of category names, (n, d)."""

    def embed_crops(self, crops: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Unit vectors of RGB crops, (n, d)."""

    def probabilities(
        self, crops: Sequence[Image], names: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """How likely each name is for each crop, (crops, names); rows sum to 1."""
