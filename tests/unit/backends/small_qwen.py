"""A small Qwen2.5-VL of random weights: another vision-language model than the demo's."""

import json
from pathlib import Path
from typing import Any

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
