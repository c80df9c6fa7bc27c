"""CLIP's opinion of a crop, beside what the vision-language model calls it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from lae_tasks.backends.protocols import Image, TextEmbedder
from lae_tasks.naming.names import canonical_form
from lae_tasks.naming.vocabulary import Vocabulary

Vectors = npt.NDArray[np.float32]

#: So many of the vocabulary's names are kept of a crop.
_BEST = 3


@dataclass(frozen=True)
class Opinion:
    """What a Label keeps of it; the attributes are those of `contracts.Label`."""

    clip_categories: tuple[str, ...] = ()
    clip_scores: tuple[float, ...] = ()
    clip_score_said: float | None = None
    clip_agrees: bool | None = None


class SecondOpinion:
    """Compares crops with the vocabulary and with the names that were said of them."""

    def __init__(self, embedder: TextEmbedder, vocabulary: Vocabulary) -> None:
        """Embeds the vocabulary's names; without any there is nothing to choose from."""
        self._embedder = embedder
        self._vocabulary = vocabulary
        self._names = list(vocabulary.names)
        self._places = {canonical_form(name): place for place, name in enumerate(self._names)}
        self._vectors = embedder.embed_names(self._names) if self._names else None
        self._said: dict[str, Vectors] = {}
        self.revision = embedder.revision

    def embed(self, crops: Sequence[Image]) -> Vectors:
        """Unit vectors of RGB crops, (n, d)."""
        return self._embedder.embed_crops(crops)

    def of(self, crop: Vectors, said: str | None) -> Opinion:
        """The opinion of a crop, by its vector (d,), that was called `said`."""
        if self._vectors is None:
            return Opinion()
        logits = self._embedder.likeness(crop[None], self._vectors)[0]
        shares = softmax(logits)
        ranking = np.argsort(-shares, kind="stable")[:_BEST]
        best = tuple(self._names[index] for index in ranking)
        scores = tuple(round(float(shares[index]), 4) for index in ranking)
        if said is None:
            return Opinion(best, scores)
        form = canonical_form(said)
        if form in self._places:
            place = self._places[form]
            # An airplane is an aircraft, too: that does not contradict it.
            logits[[self._places[its] for its in self._vocabulary.relatives(form)]] = -np.inf
            score = float(softmax(logits)[place])
            return Opinion(best, scores, round(score, 4), bool(logits.argmax() == place))
        own = self._embedder.likeness(crop[None], self._vector(form))[0]
        score = float(softmax(np.concatenate([logits, own]))[-1])
        return Opinion(best, scores, round(score, 4), bool(own[0] > logits.max()))

    def _vector(self, form: str) -> Vectors:
        if form not in self._said:
            self._said[form] = self._embedder.embed_names([form])
        return self._said[form]
