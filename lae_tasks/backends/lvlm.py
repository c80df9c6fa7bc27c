"""Naming by a local vision-language model: whatever AutoModelForImageTextToText loads."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from PIL import Image as PilImage
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from lae_tasks.backends.common import prepare
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.backends.weights import lvlm_folder, namer_revision
from lae_tasks.config import ClassifyConfig
from lae_tasks.errors import ConfigError
from lae_tasks.prompt_template import PromptTemplate


class LocalClassifier:
    """A Classifier that runs the model in this process, greedily, in batches."""

    def __init__(self, config: ClassifyConfig, threads: int) -> None:
        """Loads model and processor. Raises ConfigError if they cannot be loaded."""
        self._device = prepare(config.device, threads)
        folder = lvlm_folder(config)
        self.revision = namer_revision(config)
        self._batch_size = config.batch_size
        self._max_new_tokens = config.max_new_tokens
        quiet: Any = transformers_logging.disable_progress_bar
        quiet()  # the bar of the weights would break the night's own
        try:
            load_processor: Any = AutoProcessor.from_pretrained
            self._processor = load_processor(folder, trust_remote_code=False)
            model: Any = AutoModelForImageTextToText.from_pretrained(
                folder, dtype=getattr(torch, config.dtype), trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"classify.model {folder}: transformers cannot load it as an image-text-to-text "
                f"model: {error}"
            ) from error
        self._model = model.to(self._device).eval()
        # Generation continues the prompts, so they must end together.
        self._processor.tokenizer.padding_side = "left"

    def reply(self, crops: Iterable[Image], template: PromptTemplate) -> Iterator[Reply]:
        """One reply for each RGB crop, in order."""
        content = [{"type": "image"}, {"type": "text", "text": template.text}]
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        ahead = iter(crops)
        while batch := list(islice(ahead, self._batch_size)):
            yield from self._reply_batch(batch, text)

    def _reply_batch(self, crops: Sequence[Image], text: str) -> list[Reply]:
        inputs = self._processor(
            text=[text] * len(crops),
            images=[[PilImage.fromarray(crop)] for crop in crops],
            return_tensors="pt",
            padding=True,
        ).to(self._device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        with torch.inference_mode():
            out = self._model.generate(
                **inputs,
                max_new_tokens=self._max_new_tokens,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
        tokens = out.sequences[:, inputs["input_ids"].shape[1] :].cpu()
        logits = torch.stack(out.logits, dim=1).float()  # (batch, steps, vocabulary)
        chosen = logits.log_softmax(-1).cpu().gather(-1, tokens[..., None])[..., 0].exp()
        pairs = zip(tokens, chosen, strict=True)
        return [self._as_reply(row.tolist(), p.tolist()) for row, p in pairs]

    def _as_reply(self, tokens: list[int], probabilities: list[float]) -> Reply:
        """Decodes token by token, so that each token's place in the text is known."""
        special = set(self._processor.tokenizer.all_special_ids)
        length = next((i for i, token in enumerate(tokens) if token in special), len(tokens))
        decode = self._processor.tokenizer.decode
        ends = tuple(len(decode(tokens[: i + 1])) for i in range(length))
        return Reply(decode(tokens[:length]), ends, tuple(probabilities[:length]))
