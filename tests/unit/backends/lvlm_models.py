"""Vision-language models for tests: the demo's, the same cutting crops up, a small Qwen2.5-VL.

The last has random weights, and says random things.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from demo.stack.settings import REPO
from lae_tasks.backends.lvlm import LocalClassifier
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.config_file import load_config
from lae_tasks.naming.prompt_template import load_template

CONFIG = load_config(REPO / "demo" / "lae.yaml").classify.model_copy(update={"device": "cpu"})
PROMPT = load_template("lae_paper")
#: Crops of objects, and what they show; None for buildings, trees and rocks.
Crops = tuple[list[Image], list[str | None]]

_DEMO = REPO / "demo" / "models" / "lvlm"
_MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
PATCH_PX = 14
MOST_TOKENS = 16


def write_qwen(folder: Path) -> Path:
    """Writes the model as the hub has such: an image is 1 to 16 tokens, by its size."""
    torch.manual_seed(5)
    loaded: Any = AutoTokenizer.from_pretrained(_DEMO)
    bpe = json.loads(loaded.backend_tokenizer.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=bpe["vocab"],
        merges=[tuple(merge) for merge in bpe["merges"]],
        unk_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(_MARKS),
    )
    start, end, image, video = tokenizer.convert_tokens_to_ids(list(_MARKS))
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 128,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [2, 3, 3],
            },
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 64,
            "out_hidden_size": 64,
            "patch_size": PATCH_PX,
            "window_size": 4 * PATCH_PX,
            "fullatt_block_indexes": [1],
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=1.5 * weight[0].numel() ** -0.5)
    # As the published ones come: their own settings are not greedy.
    model.generation_config.update(
        do_sample=True, temperature=0.7, top_k=20, top_p=0.8, repetition_penalty=1.5
    )
    token_px = (2 * PATCH_PX) ** 2
    template = (_DEMO / "chat_template.jinja").read_text()
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            min_pixels=token_px, max_pixels=MOST_TOKENS * token_px, patch_size=PATCH_PX
        ),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=template.replace("<IMG_CONTEXT>\n", "".join(_MARKS[i] for i in (0, 2, 1))),
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_patches(folder: Path) -> Path:
    """Writes the demo's model so that it takes crops in up to four parts, as InternVL3 does."""
    shutil.copytree(_DEMO, folder)
    path = folder / "processor_config.json"
    description = json.loads(path.read_text())
    description["image_processor"] |= {"crop_to_patches": True, "max_patches": 4}
    path.write_text(json.dumps(description))
    return folder


def classifier(folder: Path | None = None, **changes: object) -> LocalClassifier:
    settings = {"dtype": "float32"} | changes
    if folder:
        settings["model"] = str(folder)
    return LocalClassifier(CONFIG.model_copy(update=settings), threads=1)


def odd_crops(images: Sequence[Image]) -> list[Image]:
    """Crops of many sizes and shapes, in no order."""
    shapes = ((60, 30), (200, 210), (31, 30), (90, 90), (28, 150), (130, 120), (64, 64), (33, 120))
    return [
        np.ascontiguousarray(np.resize(image, (*shape, 3)))
        for image, shape in zip(images, shapes, strict=False)
    ]


def assert_alike(some: Sequence[Reply], others: Sequence[Reply]) -> None:
    assert [reply.text for reply in some] == [reply.text for reply in others]
    for one, other in zip(some, others, strict=True):
        assert one.token_ends == other.token_ends
        assert np.allclose(one.token_probabilities, other.token_probabilities, atol=1e-4)
