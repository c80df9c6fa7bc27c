"""Train the small LVLM: ``python -m demo.train.lvlm``.

Three stages:

1. names, on crops cut by true boxes;
2. names, on those and on crops that the trained SAM made (``demo.train.sam_crops``);
3. the likelihood: on crops of scenes the model has not seen, it learns to say its own, calibrated
   probability of the name it gives.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    InternVLForConditionalGeneration,
    InternVLProcessor,
)

from demo.scenes import CATEGORIES
from demo.train.answers import answer, answer_without_number, said_name
from demo.train.crops import BACKGROUND, Crops, augment, load_crops, training_crops
from demo.train.data import DEFAULT_CACHE
from demo.train.lvlm_build import PromptTokens, build_model, build_processor, save

logger = logging.getLogger(__name__)

OUTPUT = Path("demo/models/lvlm")
BATCH = 64
LIKELIHOODS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99)
"""Likelihoods that the model learns to say: fine where thresholds lie."""

Batch = dict[str, torch.Tensor]


@dataclass
class Student:
    """The model in training with what it takes to compose its batches."""

    model: InternVLForConditionalGeneration
    processor: InternVLProcessor

    def __post_init__(self) -> None:
        tokenizer = self.processor.tokenizer
        self.prompt = PromptTokens.of(self.processor)
        self.pad_id: int = tokenizer.pad_token_id
        self.end_id: int = tokenizer.convert_tokens_to_ids("<|im_end|>")
        quote, *names = (tokenizer(text)["input_ids"] for text in ['"', *CATEGORIES_SAID])
        self.quote: list[int] = quote
        self.name_ids = [tokens[0] for tokens in names]
        if len(set(self.name_ids)) != len(self.name_ids):
            raise ValueError("two names start with the same token: enlarge the vocabulary")

    def tokens(self, text: str) -> list[int]:
        """Token ids of a piece of an answer."""
        ids: list[int] = self.processor.tokenizer(text)["input_ids"]
        return ids

    def pixels(self, crops: Crops, rows: npt.NDArray[np.intp]) -> torch.Tensor:
        """Augmented, sometimes blurred pixel values of some crops, float32 (B, 3, 64, 64)."""
        pixels = torch.from_numpy(crops.pixels[rows]).permute(0, 3, 1, 2)
        processor = self.processor.image_processor
        values = augment(pixels, processor.image_mean, processor.image_std)
        # One crop in four is degraded, so that there is something to be unsure of.
        amount = torch.rand(len(values), 1, 1, 1) * (torch.rand(len(values), 1, 1, 1) < 0.25)
        coarse = F.interpolate(values, (16, 16), mode="area")
        blurred = F.interpolate(coarse, values.shape[-2:], mode="bilinear", align_corners=False)
        return values * (1 - amount) + blurred * amount + torch.randn_like(values) * 0.3 * amount

    def name_batch(self, crops: Crops, rows: npt.NDArray[np.intp]) -> Batch:
        """Teach whole answers, except for the digits of the likelihood."""
        answers, taught = [], []
        for kind in crops.kinds[rows]:
            tokens = [*self.tokens(answer(kind)), self.end_id]
            counted = [True] * len(tokens)
            if kind in CATEGORIES:
                start = len(self.tokens(answer_without_number(kind)))
                counted[start:-1] = [False] * (len(tokens) - 1 - start)
            answers.append(tokens)
            taught.append(counted)
        batch = self.prompt.batch(answers, taught, self.pad_id)
        return {**batch, "pixel_values": self.pixels(crops, rows)}

    def name_logits(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Logits of the eleven names, float32 (B, 11), "Unrecognized" last."""
        count = len(pixel_values)
        batch = self.prompt.batch([self.quote] * count, [[False]] * count, self.pad_id)
        del batch["labels"]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits: torch.Tensor = self.model(pixel_values=pixel_values, **batch).logits
        return logits[:, -1, self.name_ids].float()


CATEGORIES_SAID = [*(said_name(category) for category in CATEGORIES), said_name(BACKGROUND)]


def balanced_rows(crops: Crops, rng: np.random.Generator, count: int) -> npt.NDArray[np.intp]:
    """Draw crops: categories evenly in seven of ten places, everything else in three."""
    kinds = [str(kind) for kind in np.unique(crops.kinds)]
    other = sum(kind not in CATEGORIES for kind in kinds)
    shares = [0.7 / len(CATEGORIES) if kind in CATEGORIES else 0.3 / other for kind in kinds]
    drawn = rng.choice(len(kinds), count, p=np.array(shares) / sum(shares))
    rows = [np.flatnonzero(crops.kinds == kind) for kind in kinds]
    return np.array([rng.choice(rows[index]) for index in drawn])


def optimise(
    student: Student, next_batch: Callable[[], Batch], minutes: float, rate: float, stage: str
) -> int:
    """Train for some minutes of CPU time with a cosine schedule; returns the number of steps."""
    model = student.model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    start = last_log = time.process_time()
    steps, mean = 0, 0.0
    while (progress := (time.process_time() - start) / 60 / minutes) < 1:
        cosine = 0.5 * (1 + math.cos(math.pi * progress)) * 0.97 + 0.03
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (steps + 1) / 50) * cosine
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**next_batch()).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        steps += 1
        mean = loss.item() if steps == 1 else 0.95 * mean + 0.05 * loss.item()
        if time.process_time() - last_log > 30:
            logger.info("%s: %.1f min, step %d, loss %.4f", stage, progress * minutes, steps, mean)
            last_log = time.process_time()
    model.eval()
    logger.info("%s: %d steps, loss %.4f", stage, steps, mean)
    return steps


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature that makes softmax(logits / T) likeliest on unseen crops."""
    candidates = torch.linspace(0.5, 4, 71).tolist()
    losses = [F.cross_entropy(logits / t, labels).item() for t in candidates]
    return candidates[int(np.argmin(losses))]


def teach_likelihood(student: Student, unseen: Crops, minutes: float) -> None:
    """Stage 3: say the calibrated probability of the name that one gives.

    Args:
        student: trained to name; trained further.
        unseen: crops of scenes that were not trained on.
        minutes: CPU time.
    """
    rng = np.random.default_rng(3)
    names = [*CATEGORIES, BACKGROUND]
    teacher = Student(copy.deepcopy(student.model).eval(), student.processor)
    unrecognised = len(CATEGORIES)
    labels = np.array([names.index(k) if k in CATEGORIES else unrecognised for k in unseen.kinds])

    rows = balanced_rows(unseen, rng, 1024)
    parts = [teacher.name_logits(student.pixels(unseen, part)) for part in rows.reshape(16, -1)]
    logits = torch.cat(parts)
    temperature = fit_temperature(logits, torch.from_numpy(labels[rows]))
    logger.info("likelihood: temperature %.2f", temperature)
    steps = np.array(LIKELIHOODS)

    def next_batch() -> Batch:
        drawn = balanced_rows(unseen, rng, BATCH)
        pixels = student.pixels(unseen, drawn)
        share = (teacher.name_logits(pixels) / temperature).softmax(1)
        answers, taught = [], []
        for row, probabilities in zip(drawn, share, strict=True):
            said = int(probabilities.argmax())
            right = said == labels[row]
            kind = names[said]
            if right and kind == BACKGROUND:
                kind = str(unseen.kinds[row])  # with the right reason
            probability = float(probabilities[said])
            likelihood = float(steps[np.abs(steps - probability).argmin()])
            tokens = [*student.tokens(answer(kind, likelihood)), student.end_id]
            number = len(tokens)
            if said < unrecognised:
                number = len(student.tokens(answer_without_number(kind)))
            # A wrong name is never taught, but how sure the model was of it is.
            answers.append(tokens)
            taught.append([right or place >= number for place in range(len(tokens))])
        batch = student.prompt.batch(answers, taught, student.pad_id)
        return {**batch, "pixel_values": pixels}

    optimise(student, next_batch, minutes, 4e-4, "likelihood")


def load_student(folder: Path) -> Student:
    """Load a saved student for further training, float32."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    return Student(model, AutoProcessor.from_pretrained(folder))


def main() -> None:
    """Train the small LVLM: stage 1 into the cache folder, stages 2 and 3 into the output."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stage", choices=["all", "first", "final"], default="all")
    parser.add_argument("--minutes", type=float, nargs=3, default=(9, 7, 4))
    parser.add_argument("--scenes", type=int, default=2500)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(2)
    crops = training_crops(args.cache, args.scenes)
    logger.info("%d crops, %d with a category", len(crops), int(crops.recognised.sum()))

    first = args.cache / "lvlm_first"
    if args.stage != "final":
        processor = build_processor()
        student = Student(build_model(processor.tokenizer), processor)
        optimise(
            student,
            lambda: student.name_batch(crops, balanced_rows(crops, rng, BATCH)),
            args.minutes[0],
            1.3e-3,
            "names",
        )
        save(student.model, student.processor, first)
    if args.stage != "first":
        student = load_student(first)
        made = load_crops(args.cache / "sam_crops.npz")
        # As many of SAM's crops as of the others, however few they are.
        mixed = Crops.concatenate([crops, *[made] * max(1, len(crops) // len(made))])
        optimise(
            student,
            lambda: student.name_batch(mixed, balanced_rows(mixed, rng, BATCH)),
            args.minutes[1],
            6e-4,
            "names on SAM's crops",
        )
        teach_likelihood(student, load_crops(args.cache / "unseen_crops.npz"), args.minutes[2])
        save(student.model, student.processor, args.output)


if __name__ == "__main__":
    main()
