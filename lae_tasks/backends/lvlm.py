"""Naming by a vision-language model in this process, many crops at a time."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from lae_tasks.backends.alternatives import Fork, forks, with_others
from lae_tasks.backends.common import is_out_of_memory, prepare
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.backends.vision_language import (
    Continuation,
    Prompt,
    UnfitCropError,
    VisionLanguageModel,
)
from lae_tasks.backends.weights import lvlm_folder, namer_revision
from lae_tasks.config import ClassifyConfig
from lae_tasks.errors import ConfigError
from lae_tasks.naming.prompt_template import PromptTemplate
from lae_tasks.prefetch import prefetch

T = TypeVar("T")

_log = logging.getLogger(__name__)
#: Crops that wait for their replies: so many batches, or so many bytes.
_BATCHES_AT_ONCE, _BYTES_AT_ONCE = 8, 256 << 20
_NO_MEMORY = "the memory does not suffice for"


@dataclass
class _Window:
    """Crops that follow each other in the night, and are sorted by size into batches.

    Attributes:
        prompts: One for each crop, in the night's order.
        replies: To them, by their places.
        forks: Of these replies, each with its place.
        to_come: Batches without replies.
    """

    prompts: list[Prompt]
    to_come: int
    replies: dict[int, Reply] = field(default_factory=dict)
    forks: list[tuple[int, Fork]] = field(default_factory=list)


class LocalClassifier:
    """A Classifier that runs the model greedily, on crops of many images at a time.

    Crops of about one size make a batch, so that little of it is padding. Where memory does not
    suffice for a batch they become smaller, and stay so.
    """

    def __init__(self, config: ClassifyConfig, threads: int) -> None:
        """Loads model and processor. Raises ConfigError if they cannot be loaded."""
        device = prepare(config.device, threads)
        folder = lvlm_folder(config)
        self.revision = namer_revision(config)
        self._model = VisionLanguageModel(config, folder, device)
        self._wanted_batch_size = self._batch_size = config.batch_size
        self._alternatives = config.alternatives
        self._has_worked = False

    def reply(self, crops: Iterable[Image], template: PromptTemplate) -> Iterator[Reply]:
        """One reply for each RGB crop, in order; it has a problem where the model cannot take one.

        Raises:
            ConfigError: If the memory does not suffice for any crop alone.
        """
        text = self._model.prompt_text(template.text)
        prompts = (Prompt(crop, text) for crop in crops)
        for window, places, inputs in prefetch(self._batches(prompts), ahead=1):
            said = self._say([window.prompts[place] for place in places], inputs)
            for place, words in zip(places, said, strict=True):
                self._take(window, place, words)
            window.to_come -= 1
            if not window.to_come:
                self._check(window)
                self._take_alternatives(window)
                yield from (window.replies[place] for place in range(len(window.prompts)))

    def _batches(self, prompts: Iterator[Prompt]) -> Iterator[tuple[_Window, Sequence[int], Any]]:
        """A window, places in it, and what the model takes for these."""
        while wanted := _some(prompts, _BATCHES_AT_ONCE * self._batch_size):
            batches = _parts(_by_size(wanted), self._batch_size)
            window = _Window(wanted, len(batches))
            for places in batches:
                yield window, places, self._inputs([wanted[place] for place in places])

    def _inputs(self, prompts: Sequence[Prompt]) -> Any:
        try:
            return self._model.inputs(prompts)
        except UnfitCropError:
            return None  # `_say` finds out which one it is
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _say(self, prompts: Sequence[Prompt], inputs: Any = None) -> list[Continuation | str]:
        """What the model says to each prompt, or why it cannot."""
        size = len(prompts)
        if size <= self._batch_size:
            said, problem = self._try(prompts, inputs)
            if said:
                return list(said)
            if size == 1:
                return [problem]
            size = (size + 1) // 2
        parts = _parts(prompts, min(size, self._batch_size))
        return [said for part in parts for said in self._say(part)]

    def _try(self, prompts: Sequence[Prompt], inputs: Any) -> tuple[Sequence[Continuation], str]:
        """What the model says to all prompts at once, or why it cannot."""
        height, width, _ = prompts[0].crop.shape
        try:
            if inputs is None:
                inputs = self._model.inputs(prompts)
            said = self._model.generate(inputs)
        except UnfitCropError as error:
            return [], f"the model's processor takes no crop of {width} x {height} px: {error}"
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            problem = f"{_NO_MEMORY} a crop of {width} x {height} px: {error}"
        else:
            self._has_worked = True
            return said, ""
        # Only here: as long as the error is at hand, so are the tensors of what it went through.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        count = len(prompts)
        # Where a crop alone is too much, the batches that it was in say nothing of others.
        self._batch_size = count // 2 if count > 1 else self._wanted_batch_size
        _log.warning("Out of memory with %d crops; now %d at a time", count, self._batch_size)
        return [], problem

    def _check(self, window: _Window) -> None:
        """Raises ConfigError if it's not some crops that are too large, but the model."""
        problem = window.replies[0].problem
        if not self._has_worked and problem.startswith(_NO_MEMORY):
            raise ConfigError(
                f"classify.batch_size {self._wanted_batch_size}: not even one crop at a time will "
                f"do, {problem}. Take a smaller model, a classify.dtype of 16 bits, or another "
                "classify.device"
            )

    def _take(self, window: _Window, place: int, said: Continuation | str) -> None:
        if isinstance(said, str):
            window.replies[place] = Reply("", problem=said)
            return
        reply = window.replies[place] = self._reply((), (), said)
        prompt = window.prompts[place]
        window.forks += [(place, f) for f in forks(prompt, said, reply, self._alternatives)]

    def _reply(
        self, tokens: tuple[int, ...], probabilities: tuple[float, ...], rest: Continuation
    ) -> Reply:
        text, ends = self._model.spell(tokens + rest.tokens)
        return Reply(text, ends, probabilities + rest.probabilities)

    def _take_alternatives(self, window: _Window) -> None:
        """Goes on where the window's replies fork, and puts what comes of it beside them."""
        others: defaultdict[int, list[Reply]] = defaultdict(list)
        prompts = [fork.prompt for _, fork in window.forks]
        for indices in _parts(_by_size(prompts), self._batch_size):
            said = self._say([prompts[index] for index in indices])
            for index, words in zip(indices, said, strict=True):
                place, fork = window.forks[index]
                if isinstance(words, Continuation):
                    reply = self._reply(fork.prompt.beginning, fork.probabilities, words)
                    others[place].append(reply)
        for place, found in others.items():
            window.replies[place] = with_others(window.replies[place], found)


def _some(prompts: Iterator[Prompt], most: int) -> list[Prompt]:
    """The next prompts, as many as may wait for replies."""
    taken: list[Prompt] = []
    size_bytes = 0
    for prompt in prompts:
        taken.append(prompt)
        size_bytes += prompt.crop.nbytes
        if len(taken) == most or size_bytes >= _BYTES_AT_ONCE:
            break
    return taken


def _by_size(prompts: Sequence[Prompt]) -> list[int]:
    """The places of prompts, those with the largest crops first.

    Processors cut a crop into the more tokens the larger it is. Where memory does not suffice, that
    shows at once.
    """

    def size(place: int) -> tuple[int, int, int]:
        height, width, _ = prompts[place].crop.shape
        return -height * width, height, place

    return sorted(range(len(prompts)), key=size)


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
