"""What the stages expect of a model. Each has a `revision`: a digest that changes with its weights.

Backends are the only modules that import torch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lae_tasks.contracts import BoxPx
from lae_tasks.naming.prompt_template import PromptTemplate

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MaskProposal:
    """A mask that a MaskGenerator found: bool of the size of its tight box, in image pixels."""

    bbox_xyxy_px: BoxPx
    mask: npt.NDArray[np.bool_]
    predicted_iou: float
    stability_score: float


@dataclass(frozen=True)
class Guesses:
    """Masks that a model made for prompts, as it makes them: small, and not yet cut at a threshold.

    Attributes:
        prompt: The number of the prompt that each is of, (n,).
        predicted_iou: What the model thinks of each, (n,).
        logits: (n, h, w); the mask is where they are above 0.
    """

    prompt: npt.NDArray[np.int64]
    predicted_iou: Floats
    logits: Floats


class EmbeddedImage(Protocol):
    """An image that a model has taken in and that it can be prompted on.

    Attributes:
        rows: How logits become the image's pixels: `rows @ logits @ columns.T`. (height, h).
        columns: Likewise, (width, w).
    """

    rows: Floats
    columns: Floats

    def at_points(self, points_px: Floats, min_predicted_iou: float) -> Iterator[Guesses]:
        """Several guesses for each point (n, 2; x, y), in batches; the poor ones are left out."""

    def in_boxes(self, boxes_xyxy_px: Floats) -> Iterator[Guesses]:
        """One guess for each box (n, 4), in batches, in order."""


class PromptableModel(Protocol):
    """A model of the Segment Anything family."""

    revision: str

    def embed(self, image: Image) -> EmbeddedImage:
        """Takes in an RGB image (height, width, 3)."""


@dataclass(frozen=True)
class Reply:
    """What a Classifier said of a crop.

    Attributes:
        text: The reply, whole.
        token_ends: Where in `text` each token ends; empty where the model does not tell tokens.
        token_probabilities: The probability of each token, in [0, 1]; likewise.
        others: What else it might have said, best first; each without others.
        problem: Why there is no reply, and there will be none however often it is asked.
        counts: What the reply took, such as `prompt_tokens`.
    """

    text: str
    token_ends: tuple[int, ...] = ()
    token_probabilities: tuple[float, ...] = ()
    others: tuple["Reply", ...] = ()
    problem: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


class MaskGenerator(Protocol):
    """Finds regions of interest."""

    revision: str

    def generate(self, image: Image) -> list[MaskProposal]:
        """All masks of an RGB image (height, width, 3)."""

    def answer(self, image: Image, prompts_xyxy_px: Floats) -> list[MaskProposal | None]:
        """One mask for each prompt, in order; None where the model sees nothing.

        Args:
            image: RGB (height, width, 3).
            prompts_xyxy_px: Boxes (n, 4); one without width and height is a point.
        """


class Classifier(Protocol):
    """Names crops."""

    revision: str

    def reply(self, crops: Iterable[Image], template: PromptTemplate) -> Iterator[Reply]:
        """One reply for each RGB crop, in order.

        Crops are taken as they are needed, some ahead of the reply that comes next: a Classifier
        works on many at a time.

        Raises:
            TransientError: If a server cannot be reached, or does not answer in time.
            ConfigError: If it refuses every crop, as with a wrong key.
        """


class TextEmbedder(Protocol):
    """Embeds names and crops in one space."""

    revision: str

    def embed_names(self, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors of category names, (n, d)."""

    def embed_crops(self, crops: Sequence[Image]) -> npt.NDArray[np.float32]:
        """Unit vectors of RGB crops, (n, d)."""

    def likeness(
        self, crops: npt.NDArray[np.float32], names: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Of their vectors: logits of each name for each crop, (crops, names)."""
