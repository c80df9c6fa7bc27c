"""A vision-language model of transformers: images in, the likeliest tokens out, with probabilities.

Whatever AutoModelForImageTextToText loads: InternVL3, Qwen-VL, the demo's.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from PIL import Image as PilImage
from safetensors import SafetensorError
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    LogitsProcessor,
    LogitsProcessorList,
)
from transformers.utils import logging as transformers_logging

from lae_tasks.backends.protocols import Image
from lae_tasks.config import ClassifyConfig
from lae_tasks.errors import ConfigError

_TRUST = "run the code that comes with the model"
#: What a model's own settings of generation may hold beside its special tokens: they would make its
#: tokens others than the likeliest.
_NOT_GREEDY = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "guidance_scale",
    "suppress_tokens",
    "begin_suppress_tokens",
    "max_length",
    "min_length",
)


class UnfitCropError(ValueError):
    """The model's processor refuses a crop, or one among several."""


@dataclass(frozen=True)
class Prompt:
    """A crop with what is asked of it, and the tokens that the reply is made to begin with."""

    crop: Image
    text: str
    beginning: tuple[int, ...] = ()


@dataclass(frozen=True)
class Continuation:
    """What a model says after a prompt, token by token.

    Attributes:
        tokens: Their ids, without the end's.
        probabilities: Of each, in [0, 1].
        rivals: In each one's place, the likeliest other tokens with their probabilities.
    """

    tokens: tuple[int, ...]
    probabilities: tuple[float, ...]
    rivals: tuple[tuple[tuple[int, float], ...], ...]


class VisionLanguageModel:
    """A model with its processor."""

    def __init__(self, config: ClassifyConfig, folder: Path, device: torch.device) -> None:
        """Loads both from a folder. Raises ConfigError if they cannot be loaded."""
        self._folder, self._device = folder, device
        self._rivals = config.alternatives
        self._processor, self._model = _load(config, folder, device)
        self._lock = Lock()
        tokenizer = self._processor.tokenizer
        tokenizer.padding_side = "left"  # generation continues the prompts: they must end together
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        settings = self._model.generation_config
        settings.update(do_sample=False, num_beams=1, max_new_tokens=config.max_new_tokens)
        settings.update(**dict.fromkeys(_NOT_GREEDY), pad_token_id=tokenizer.pad_token_id)
        if settings.eos_token_id is None:
            settings.eos_token_id = tokenizer.eos_token_id
        ends = settings.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends])
        self._special = set(tokenizer.all_special_ids)
        self._speller = deepcopy(tokenizer)  # one tokenizer cannot serve two threads
        # Many replies are the same, word for word.
        self.spell = lru_cache(maxsize=1024)(self._spell)

    def prompt_text(self, words: str) -> str:
        """A user's turn, with an image and these words, in the form that the model knows."""
        content = [{"type": "image"}, {"type": "text", "text": words}]
        turn = [{"role": "user", "content": content}]
        try:
            text: str = self._processor.apply_chat_template(
                turn, add_generation_prompt=True, tokenize=False
            )
        except ValueError as error:
            raise ConfigError(
                f"classify.model {self._folder}: a model that follows no instructions: {error}"
            ) from error
        return text

    def inputs(self, prompts: Sequence[Prompt]) -> Any:
        """What the model takes for some prompts: tensors in the CPU's memory, of its dtype.

        Raises:
            UnfitCropError: If a crop is none that the processor takes, such as one too narrow.
        """
        try:
            with self._lock:
                made = self._processor(
                    text=[prompt.text for prompt in prompts],
                    images=[[PilImage.fromarray(prompt.crop)] for prompt in prompts],
                    return_tensors="pt",
                    padding=True,
                )
        except ValueError as error:
            raise UnfitCropError(str(error)) from error
        _append(made, [prompt.beginning for prompt in prompts], self._processor.tokenizer)
        return made.to(dtype=self._model.dtype)

    @torch.inference_mode()
    def generate(self, inputs: Any) -> list[Continuation]:
        """What the model says after each prompt: always the likeliest token."""
        recorder = _Recorder(self._rivals)
        # Not `inputs.to`: that would keep the tensors on the device as long as the inputs.
        there = {
            name: values.to(self._device) if isinstance(values, torch.Tensor) else values
            for name, values in inputs.items()
        }
        self._model.generate(**there, logits_processor=LogitsProcessorList([recorder]))
        return [self._until_end(*row) for row in recorder.rows()]

    def _until_end(
        self, tokens: list[int], shares: list[float], rivals: list[list[tuple[int, float]]]
    ) -> Continuation:
        length = next((i for i, token in enumerate(tokens) if token in self._ends), len(tokens))
        words = (
            tuple(pair for pair in place if pair[0] not in self._special)
            for place in rivals[:length]
        )
        return Continuation(tuple(tokens[:length]), tuple(shares[:length]), tuple(words))

    def _spell(self, tokens: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """The text of tokens, and where in it each of them ends."""
        decode = self._speller.decode
        texts = [decode(tokens[: i + 1], skip_special_tokens=True) for i in range(len(tokens))]
        text = texts[-1] if texts else ""
        # Half a character may be longer than the whole.
        ends = accumulate((min(len(part), len(text)) for part in texts), max)
        return text, tuple(ends)


class _Recorder(LogitsProcessor):
    """Keeps of each step's logits what is wanted: all of them would take more than the model."""

    def __init__(self, rivals: int) -> None:
        self._rivals = rivals
        self._steps: list[tuple[torch.Tensor, ...]] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        shares = scores.softmax(-1)
        chosen = scores.argmax(-1, keepdim=True)  # as `generate` chooses
        likeliest = shares.topk(min(1 + self._rivals, shares.shape[-1]))
        tokens = torch.cat([chosen, likeliest.indices], dim=-1)
        self._steps.append((tokens, torch.cat([shares.gather(-1, chosen), likeliest.values], -1)))
        return scores

    def rows(self) -> Any:
        """Of each row the chosen tokens, their probabilities, and the likeliest others."""
        tokens, shares = (
            torch.stack(parts, dim=1).tolist() for parts in zip(*self._steps, strict=True)
        )
        for row_tokens, row_shares in zip(tokens, shares, strict=True):
            rivals = [
                [pair for pair in zip(ids[1:], p[1:], strict=True) if pair[0] != ids[0]]
                for ids, p in zip(row_tokens, row_shares, strict=True)
            ]
            yield [ids[0] for ids in row_tokens], [p[0] for p in row_shares], rivals


def _append(inputs: Any, beginnings: Sequence[Sequence[int]], tokenizer: Any) -> None:
    """Puts tokens after prompts that are padded on the left, and leaves them so."""
    longest = max(map(len, beginnings))
    if not longest:
        return
    shape = inputs["input_ids"].shape
    for name, values in inputs.items():
        if isinstance(values, torch.Tensor) and values.shape == shape:
            fill = {"input_ids": tokenizer.pad_token_id}.get(name, 0)
            wider = torch.cat([values, values.new_full((shape[0], longest), fill)], dim=1)
            for row, beginning in enumerate(beginnings):
                new = {"input_ids": beginning, "attention_mask": [1] * len(beginning)}.get(name)
                end = shape[1] + len(beginning)
                if new:
                    wider[row, shape[1] : end] = torch.tensor(new)
                wider[row] = wider[row].roll(longest - len(beginning))
            inputs[name] = wider


def _load(config: ClassifyConfig, folder: Path, device: torch.device) -> tuple[Any, Any]:
    quiet: Any = transformers_logging.disable_progress_bar
    quiet()  # the bar of the weights would break the night's own
    trust = config.trust_remote_code == _TRUST
    load_processor: Any = AutoProcessor.from_pretrained
    load_model: Any = AutoModelForImageTextToText.from_pretrained
    try:
        processor = load_processor(folder, trust_remote_code=trust)
        model, found = load_model(
            folder,
            dtype=getattr(torch, config.dtype),
            trust_remote_code=trust,
            output_loading_info=True,
        )
        model = model.to(device).eval()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        if "trust_remote_code" in str(error):
            raise ConfigError(
                f"classify.model {folder}: it comes with code of its own, which is not run. Read "
                f"that code, then set classify.trust_remote_code: {_TRUST!r}; or take a model "
                "that transformers has itself, as those on the hub whose names end in -hf"
            ) from error
        raise ConfigError(
            f"classify.model {folder}: transformers cannot load it as an image-text-to-text "
            f"model: {error}"
        ) from error
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise ConfigError(
            f"classify.model {folder}: no processor of images and text in it, such as "
            "processor_config.json: take all files of the model"
        )
    if config.alternatives and model.config.is_encoder_decoder:
        raise ConfigError(
            f"classify.alternatives {config.alternatives}: {type(model).__name__} does not go on "
            "with a reply that was begun; set it to 0"
        )
    if missing := sorted(found["missing_keys"]):
        raise ConfigError(
            f"classify.model {folder}: its weights lack {len(missing)}, such as {missing[0]}: they "
            "are not those of the model that its config.json describes"
        )
    return processor, model
