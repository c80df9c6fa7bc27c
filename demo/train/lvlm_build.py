"""Build the small LVLM: ``InternVLForConditionalGeneration`` with its own tokenizer, untrained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
    Qwen2Config,
    Qwen2Tokenizer,
)

from demo.scenes import CATEGORIES, DISTRACTORS
from demo.train.answers import answer
from demo.train.crops import BACKGROUND, CROP_PX
from lae_tasks.naming.prompt_template import load_template

PROMPT = load_template("lae_paper").text
PATCH_PX = 8
WIDTH = 128
MAX_VOCABULARY = 1024
IMAGE_TOKENS = (CROP_PX // PATCH_PX) ** 2 // 4  # InternVL folds 2 x 2 patches into one token

_SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<video>",
]
_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<IMG_CONTEXT>\n"
    "{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _corpus() -> Iterator[str]:
    """Everything the model ever reads or says, so that nearly each word becomes one token."""
    kinds = [*CATEGORIES, *DISTRACTORS, BACKGROUND]
    for _ in range(20):
        yield PROMPT
        yield "user"
        yield "assistant"
        yield from (answer(kind) for kind in kinds)


def build_tokenizer() -> Qwen2Tokenizer:
    """Train a small byte-level BPE vocabulary in which the paper's prompt is short."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY,
        special_tokens=_SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(_corpus(), trainer)
    bpe = json.loads(trained.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=bpe["vocab"],
        merges=[tuple(merge) for merge in bpe["merges"]],
        unk_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=512,
        extra_special_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
            "turn_start_token": "<|im_start|>",
        },
    )


def build_processor() -> InternVLProcessor:
    """Make the processor: one 64 px view per image, never split into patches."""
    size = {"height": CROP_PX, "width": CROP_PX}
    return InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(
            size=size, crop_to_patches=False, min_patches=1, max_patches=1
        ),
        tokenizer=build_tokenizer(),
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=IMAGE_TOKENS,
        chat_template=_CHAT_TEMPLATE,
    )


def build_model(tokenizer: Qwen2Tokenizer) -> InternVLForConditionalGeneration:
    """Build the model with random weights, float32."""
    end, pad = (tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>"))
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=3 * WIDTH,
            image_size=[CROP_PX, CROP_PX],
            patch_size=[PATCH_PX, PATCH_PX],
            attention_bias=True,
            # The default of 0.1 all but switches off blocks that train for minutes only.
            layer_scale_init_value=1.0,
        ),
        text_config=Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=3 * WIDTH,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=pad,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=IMAGE_TOKENS,
        tie_word_embeddings=True,
    )
    model = InternVLForConditionalGeneration(config)
    model.generation_config.update(
        eos_token_id=end, pad_token_id=pad, max_new_tokens=24, do_sample=False
    )
    return model


def save(
    model: InternVLForConditionalGeneration, processor: InternVLProcessor, folder: Path
) -> None:
    """Write a folder that ``AutoModelForImageTextToText`` and ``AutoProcessor`` load offline."""
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    model.half().save_pretrained(folder)
    model.float().load_state_dict(weights)
    processor.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


@dataclass(frozen=True)
class PromptTokens:
    """The token ids before an answer, with the image's places in them.

    Attributes:
        ids: the ids, ending with the assistant's turn.
    """

    ids: tuple[int, ...]

    @classmethod
    def of(cls, processor: InternVLProcessor) -> PromptTokens:
        """Encode the paper's prompt as the processor does for one image."""
        content = [{"type": "image"}, {"type": "text", "text": PROMPT}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        image = "<img>" + "<IMG_CONTEXT>" * processor.image_seq_length + "</img>"
        expanded = text.replace("<IMG_CONTEXT>", image)
        return cls(tuple(processor.tokenizer(expanded)["input_ids"]))

    def batch(
        self, answers: list[list[int]], taught: list[list[bool]], pad_id: int
    ) -> dict[str, torch.Tensor]:
        """Append answers to the prompt.

        Args:
            answers: token ids of each answer.
            taught: whether the loss counts each of these tokens.
            pad_id: fills the shorter ones, on the right.

        Returns:
            ``input_ids``, ``attention_mask`` and ``labels``, each int64 (B, L).
        """
        start = len(self.ids)
        longest = start + max(map(len, answers))
        ids = torch.full((len(answers), longest), pad_id)
        attention = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        for row, (tokens, counted) in enumerate(zip(answers, taught, strict=True)):
            end = start + len(tokens)
            ids[row, :end] = torch.tensor([*self.ids, *tokens])
            attention[row, :end] = 1
            kept = [token if c else -100 for token, c in zip(tokens, counted, strict=True)]
            labels[row, start:end] = torch.tensor(kept)
        return {"input_ids": ids, "attention_mask": attention, "labels": labels}
