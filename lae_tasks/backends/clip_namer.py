"""Naming by CLIP alone: the vocabulary's name that is likest to a crop."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from lae_tasks.backends.clip import ClipEmbedder
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.backends.weights import namer_revision
from lae_tasks.config import ClassifyConfig
from lae_tasks.naming.names import canonical_form
from lae_tasks.naming.prompt_template import PromptTemplate
from lae_tasks.naming.vocabulary import Vocabulary

_CROPS_AT_ONCE = 64


class ClipNamer:
    """A Classifier that says a name of the vocabulary; its one token is CLIP's probability."""

    def __init__(self, config: ClassifyConfig, vocabulary: Vocabulary, threads: int) -> None:
        """Loads CLIP. Raises ConfigError if it cannot be loaded."""
        self._embedder = ClipEmbedder(config.clip_model or "", config.device, threads)
        self.revision = namer_revision(config)
        self._names = [*vocabulary.names, *config.clip_background]
        self._nothing = len(vocabulary.names)
        self._vectors = self._embedder.embed_names(self._names)
        self._vocabulary = vocabulary
        self._places = {canonical_form(n): place for place, n in enumerate(vocabulary.names)}
        self._alternatives = config.alternatives

    def reply(self, crops: Iterable[Image], template: PromptTemplate) -> Iterator[Reply]:
        """One reply for each RGB crop, in order; the template is not looked at."""
        ahead = iter(crops)
        while batch := list(islice(ahead, _CROPS_AT_ONCE)):
            yield from self._reply(batch)

    def _reply(self, crops: Sequence[Image]) -> Iterator[Reply]:
        logits = self._embedder.likeness(self._embedder.embed_crops(crops), self._vectors)
        for row in logits:
            ranking = np.argsort(-row, kind="stable")
            others = [index for index in ranking[1:] if index < self._nothing]
            said = (self._said(int(index), row) for index in others[: self._alternatives])
            best = self._said(int(ranking[0]), row)
            yield Reply(best.text, best.token_ends, best.token_probabilities, tuple(said))

    def _said(self, index: int, logits: npt.NDArray[np.float32]) -> Reply:
        """A name with its probability among those that contradict it."""
        name, rivals = None, logits.copy()
        if index < self._nothing:
            name = self._names[index]
            rivals[[self._places[form] for form in self._vocabulary.relatives(name)]] = -np.inf
        text = json.dumps({"category": name}, ensure_ascii=False)  # no name can be misread in it
        return Reply(text, (len(text),), (float(softmax(rivals)[index]),))
