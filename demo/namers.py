"""Ask the small LVLM and the small CLIP about crops, the way the evaluation and the tests do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from demo.scenes import CATEGORIES
from demo.train.answers import paper_prompt, parse_answer
from demo.train.clip import TEMPLATES, with_article

UnsignedArray = npt.NDArray[np.uint8]
BATCH = 32


@dataclass(frozen=True)
class Naming:
    """One answer of the LVLM.

    Attributes:
        text: what it said.
        category: the lower-case name, None for "Unrecognized".
        likelihood: as said, if it said one.
        token_probability: product over the tokens between the quotation marks.
    """

    text: str
    category: str | None
    likelihood: float | None
    token_probability: float


class LvlmNamer:
    """The LVLM of a folder."""

    def __init__(self, folder: Path) -> None:
        """Load model and processor; nothing is fetched."""
        self.processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        self.model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        ).eval()
        content = [{"type": "image"}, {"type": "text", "text": paper_prompt()}]
        self._prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )

    def name(self, crops: Sequence[UnsignedArray]) -> list[Naming]:
        """Name crops, each uint8 (h, w, 3), in batches."""
        return [
            naming
            for start in range(0, len(crops), BATCH)
            for naming in self._name_batch(crops[start : start + BATCH])
        ]

    @torch.no_grad()
    def _name_batch(self, crops: Sequence[UnsignedArray]) -> list[Naming]:
        inputs = self.processor(
            text=[self._prompt] * len(crops),
            images=[[Image.fromarray(crop)] for crop in crops],
            return_tensors="pt",
            padding=True,
        )
        out = self.model.generate(**inputs, output_scores=True, return_dict_in_generate=True)
        tokens = out.sequences[:, inputs["input_ids"].shape[1] :]
        shares = torch.stack([step.softmax(-1) for step in out.scores], dim=1)
        chosen = shares.gather(2, tokens[..., None])[..., 0]
        return [self._read(row, share) for row, share in zip(tokens, chosen, strict=True)]

    def _read(self, tokens: torch.Tensor, shares: torch.Tensor) -> Naming:
        tokenizer = self.processor.tokenizer
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        category, likelihood = parse_answer(text)
        # The name is what lies between the first two tokens with a quotation mark.
        quotes = [i for i, token in enumerate(tokens) if '"' in tokenizer.decode(token)]
        first, last = (quotes[0] + 1, quotes[1]) if len(quotes) > 1 else (0, len(tokens))
        return Naming(text, category, likelihood, float(shares[first:last].prod()))


class ClipNamer:
    """The CLIP of a folder."""

    def __init__(self, folder: Path) -> None:
        """Load model, preprocessing and tokenizer; nothing is fetched."""
        name = f"local-dir:{folder}"
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(name)
        self.model = self.model.float().eval()
        self.tokenizer = open_clip.get_tokenizer(name)

    @torch.no_grad()
    def embed_names(self, names: Sequence[str]) -> torch.Tensor:
        """Unit vectors of names, each the mean over the caption templates; float32 (N, D)."""
        vectors = [
            self.model.encode_text(
                self.tokenizer([t.format(with_article(name)) for t in TEMPLATES]), normalize=True
            ).mean(0)
            for name in names
        ]
        return F.normalize(torch.stack(vectors), dim=-1)

    @torch.no_grad()
    def name(self, crops: Sequence[UnsignedArray]) -> list[str]:
        """The nearest of the ten categories for each crop."""
        captions = self.embed_names(CATEGORIES)
        names: list[str] = []
        for start in range(0, len(crops), BATCH):
            batch = [self.preprocess(Image.fromarray(c)) for c in crops[start : start + BATCH]]
            images = self.model.encode_image(torch.stack(batch), normalize=True)
            names += [CATEGORIES[i] for i in (images @ captions.T).argmax(1).tolist()]
        return names
