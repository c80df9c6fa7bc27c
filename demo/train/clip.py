"""Train the small CLIP from nothing: ``python -m demo.train.clip``."""

from __future__ import annotations

import argparse
import json
import logging
import math
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import save_file
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from demo.scenes import CATEGORIES
from demo.train.crops import CROP_PX, Crops, augment, training_crops
from demo.train.data import DEFAULT_CACHE

logger = logging.getLogger(__name__)

OUTPUT = Path("demo/models/clip")
VOCABULARY = 512
CONTEXT = 24
BATCH = 128

TEMPLATES = (
    "a satellite photo of {}.",
    "an aerial image of {}.",
    "an overhead view of {}.",
    "{}",
    "a remote sensing image of {}.",
    "a top-down crop showing {}.",
)

NAMES: dict[str, tuple[str, ...]] = {
    "airplane": ("airplane", "plane", "aircraft", "airliner"),
    "ship": ("ship", "boat", "vessel", "cargo ship"),
    "storage tank": ("storage tank", "oil tank", "fuel tank"),
    "baseball diamond": ("baseball diamond", "baseball field", "ball field"),
    "tennis court": ("tennis court", "tennis field"),
    "basketball court": ("basketball court", "basketball field"),
    "ground track field": ("ground track field", "running track", "athletics track"),
    "vehicle": ("vehicle", "car", "automobile", "truck"),
    "swimming pool": ("swimming pool", "pool"),
    "roundabout": ("roundabout", "traffic circle", "rotary"),
    "building": ("building", "house", "roof"),
    "tree": ("tree",),
    "rock": ("rock", "boulder"),
    "background": ("background", "bare ground", "open water", "nothing"),
}
"""Names that a caption may use for each kind; synonyms end up close to each other."""


def with_article(name: str) -> str:
    """Put the indefinite article before a name."""
    return ("an " if name[0] in "aeiou" else "a ") + name


def write_tokenizer(folder: Path) -> None:
    """Train a small byte-pair vocabulary on the captions and save it for ``transformers``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    captions = [
        template.format(with_article(name))
        for names in NAMES.values()
        for name in names
        for template in TEMPLATES
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def write_config(folder: Path) -> None:
    """Write the architecture; open_clip then finds everything else beside it."""
    config = {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {
                "image_size": CROP_PX,
                "layers": 4,
                "width": 128,
                "head_width": 32,
                "patch_size": 8,
                "mlp_ratio": 3.0,
            },
            "text_cfg": {
                # Any name makes open_clip use the tokenizer in the same folder.
                "hf_tokenizer_name": "small-clip",
                "context_length": CONTEXT,
                "vocab_size": VOCABULARY,
                "width": 128,
                "heads": 4,
                "layers": 2,
                "pool_type": "eos",
                "eos_id": 2,
                "pad_id": 0,
            },
        },
        "preprocess_cfg": {"mean": list(OPENAI_DATASET_MEAN), "std": list(OPENAI_DATASET_STD)},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")


def _random_caption(rng: np.random.Generator, kind: str) -> str:
    names = NAMES[kind]
    # The first name is the category's own: half of all captions use it.
    name = names[0] if rng.random() < 0.5 else names[int(rng.integers(len(names)))]
    return TEMPLATES[int(rng.integers(len(TEMPLATES)))].format(with_article(name))


def train(folder: Path, crops: Crops, minutes: float, seed: int = 0) -> None:
    """Train for some minutes and write the weights (float16) beside the config.

    Args:
        folder: with the config and the tokenizer.
        crops: the training crops.
        minutes: CPU time, so that other work on the machine does not cut the training short.
        seed: of weights and batches.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    name = f"local-dir:{folder}"
    model = open_clip.create_model(name, load_weights=False)
    tokenizer = open_clip.get_tokenizer(name)
    pixels = torch.from_numpy(crops.pixels).permute(0, 3, 1, 2)
    # A category is drawn twice as often as a kind that only has to be told from it.
    rows = [np.flatnonzero(crops.kinds == kind) for kind in NAMES]
    share = np.array([2.0 if kind in CATEGORIES else 1.0 for kind in NAMES])
    share /= share.sum()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, betas=(0.9, 0.98))
    start = last_log = time.process_time()
    steps = 0
    while (progress := (time.process_time() - start) / 60 / minutes) < 1:
        cosine = 0.5 * (1 + math.cos(math.pi * progress)) * 0.97 + 0.03
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1, (steps + 1) / 100) * cosine
        classes = rng.choice(len(rows), BATCH, p=share)
        chosen = np.array([rng.choice(rows[c]) for c in classes])
        # One caption per class in the batch: two right captions would be false negatives.
        present, label = np.unique(classes, return_inverse=True)
        kinds = list(NAMES)
        captions = tokenizer([_random_caption(rng, kinds[c]) for c in present])
        images = augment(pixels[chosen], OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
        image_side = F.normalize(model.encode_image(images), dim=-1)
        text_side = F.normalize(model.encode_text(captions), dim=-1)
        logits = model.logit_scale.exp() * image_side @ text_side.T
        target = torch.from_numpy(label)
        per_caption = F.one_hot(target, len(present)).float().T
        per_caption = per_caption / per_caption.sum(1, keepdim=True)
        loss = F.cross_entropy(logits, target) + 0.3 * F.cross_entropy(logits.T, per_caption)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        model.logit_scale.data.clamp_(0, math.log(100))
        steps += 1
        if time.process_time() - last_log > 30:
            logger.info("%.1f min, step %d, loss %.3f", progress * minutes, steps, loss.item())
            last_log = time.process_time()
    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
    }
    path = folder / "open_clip_model.safetensors"
    save_file(state, path)
    path.chmod(0o644)
    logger.info("%d steps, written to %s", steps, path)


def main() -> None:
    """Train the small CLIP."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--scenes", type=int, default=2500)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    crops = training_crops(args.cache, args.scenes)
    logger.info("%d crops, %d with a category", len(crops), int(crops.recognised.sum()))
    args.output.mkdir(parents=True, exist_ok=True)
    write_tokenizer(args.output)
    write_config(args.output)
    train(args.output, crops, args.minutes)


if __name__ == "__main__":
    main()
