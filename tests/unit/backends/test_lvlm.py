"""The local namer: batches across images, alternatives, and what memory allows."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from transformers import AutoModelForImageTextToText, AutoProcessor

from lae_tasks.backends import lvlm
from lae_tasks.backends.common import is_out_of_memory
from lae_tasks.backends.protocols import Image
from lae_tasks.backends.vision_language import VisionLanguageModel
from lae_tasks.errors import ConfigError
from lae_tasks.naming.names import canonical_form
from lae_tasks.naming.replies import parse_reply, token_confidence
from tests.unit.backends.lvlm_models import PROMPT, Crops, assert_alike, classifier, odd_crops


def by_hand(folder: Path, images: Sequence[Image], most: int) -> list[str]:
    """What transformers' own `generate` says of each crop alone."""
    load: Any = AutoProcessor.from_pretrained
    processor = load(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    content = [{"type": "image"}, {"type": "text", "text": PROMPT.text}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    said = []
    for image in images:
        inputs = processor(text=text, images=PilImage.fromarray(image), return_tensors="pt")
        greedy = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        out = model.generate(**inputs, max_new_tokens=most, repetition_penalty=1.0, **greedy)
        rest = out[:, inputs["input_ids"].shape[1] :]
        said += processor.batch_decode(rest, skip_special_tokens=True)
    return said


def test_crops_are_named_with_a_confidence(crops: Crops) -> None:
    images, names = crops
    replies = list(classifier().reply(images, PROMPT))
    parsed = [parse_reply(reply.text) for reply in replies]
    said = [canonical_form(p.category) if p.category else None for p in parsed]
    assert np.mean([a == b for a, b in zip(said, names, strict=True)]) > 0.8
    for reply, found in zip(replies, parsed, strict=True):
        assert reply.token_ends[-1] == len(reply.text)
        assert reply.others == ()
        if found.span:
            assert 0 < token_confidence(reply, found.span) <= 1.0001


@pytest.mark.parametrize("kind", ["internvl", "qwen"])
def test_batches_of_many_sizes_say_what_each_crop_alone_says(
    crops: Crops, folders: dict[str, Path], kind: str
) -> None:
    images = odd_crops(crops[0])
    alone = list(classifier(folders[kind], batch_size=1).reply(images, PROMPT))
    assert len({reply.text for reply in alone}) > 3
    assert [reply.text for reply in alone] == by_hand(folders[kind], images, 24)
    for size in (3, 8):
        together = list(classifier(folders[kind], batch_size=size).reply(images, PROMPT))
        assert_alike(together, alone)


def test_a_batch_holds_crops_of_about_one_size(
    crops: Crops,
    folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = odd_crops(crops[0])
    namer = classifier(folders["qwen"], batch_size=2)
    padding = []
    said = VisionLanguageModel.generate

    def generate(self: Any, inputs: Any) -> Any:
        padding.append(int((inputs["attention_mask"] == 0).sum()))
        return said(self, inputs)

    monkeypatch.setattr(VisionLanguageModel, "generate", generate)
    list(namer.reply(images, PROMPT))
    sorted_by_size = sum(padding)
    padding.clear()
    for start in range(0, len(images), 2):
        list(namer.reply(images[start : start + 2], PROMPT))
    assert sorted_by_size < sum(padding) / 2


def test_replies_are_in_order_over_several_windows(
    crops: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = crops[0][:14]
    expected = list(classifier().reply(images, PROMPT))
    monkeypatch.setattr(lvlm, "_BATCHES_AT_ONCE", 2)
    assert_alike(list(classifier(batch_size=3).reply(images, PROMPT)), expected)
    monkeypatch.setattr(lvlm, "_BYTES_AT_ONCE", 1)
    assert_alike(list(classifier(batch_size=3).reply(images, PROMPT)), expected)
    assert list(classifier().reply([], PROMPT)) == []


def test_crops_are_taken_ahead_but_not_without_bound(
    crops: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lvlm, "_BATCHES_AT_ONCE", 2)
    taken = 0

    def endless() -> Iterator[Image]:
        nonlocal taken
        while True:
            taken += 1
            yield crops[0][0]

    replies = classifier(batch_size=2).reply(endless(), PROMPT)
    assert next(replies) == next(replies)
    # A window that is said, one in the queue and one in the making.
    assert taken <= 3 * 4
    replies.close()
    assert not [t for t in threading.enumerate() if t.name == "prefetch"]


def test_alternatives_are_what_the_model_says_after_another_token(
    crops: Crops,
) -> None:
    images = crops[0]
    plain = list(classifier().reply(images, PROMPT))
    replies = list(classifier(alternatives=3).reply(images, PROMPT))
    assert_alike(replies, plain)
    alone = classifier(batch_size=1, alternatives=3)
    for reply, again in zip(replies, alone.reply(images, PROMPT), strict=True):
        assert_alike(reply.others, again.others)
    assert sum(bool(reply.others) for reply in replies) > len(images) / 10
    doubtful = [r for r in replies if parse_reply(r.text).category is None and r.others]
    assert doubtful, "what is not recognized might be something, too"
    for reply in replies:
        assert len(reply.others) <= 3
        confidences, names = [], [parse_reply(reply.text).category]
        for other in reply.others:
            found = parse_reply(other.text)
            assert found.span
            assert other.others == ()
            assert other.token_ends[-1] == len(other.text)
            assert len(other.token_probabilities) == len(other.token_ends)
            confidences.append(token_confidence(other, found.span))
            names.append(found.category)
        assert len(set(names)) == len(names)
        assert confidences == sorted(confidences, reverse=True)
        assert min(confidences, default=1) > 0


def fail_above(
    monkeypatch: pytest.MonkeyPatch, most_px: float, error: Exception, most: int = 99
) -> list[int]:
    """Lets memory suffice for so many crops, and for so many pixels of one; counts are kept."""
    asked: list[int] = []
    said = VisionLanguageModel.generate
    made = VisionLanguageModel.inputs

    def inputs(self: Any, prompts: Any) -> Any:
        found = made(self, prompts)
        found.largest = max(prompt.crop.size / 3 for prompt in prompts)
        return found

    def generate(self: Any, inputs: Any) -> Any:
        asked.append(len(inputs["input_ids"]))
        if asked[-1] > most or inputs.largest > most_px:
            raise error
        return said(self, inputs)

    monkeypatch.setattr(VisionLanguageModel, "inputs", inputs)
    monkeypatch.setattr(VisionLanguageModel, "generate", generate)
    return asked


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:131] . DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_batch_and_goes_on(
    crops: Crops,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    images = crops[0][:26]
    expected = list(classifier().reply(images, PROMPT))
    asked = fail_above(monkeypatch, np.inf, error, most=3)
    namer = classifier(batch_size=16)
    assert_alike(list(namer.reply(images, PROMPT)), expected)
    assert asked[:4] == [16, 8, 4, 2]
    assert set(asked[4:]) <= {1, 2}
    asked.clear()
    assert_alike(list(namer.reply(images, PROMPT)), expected)
    assert asked == [2] * 13


def test_what_torch_and_numpy_raise_is_known_as_a_lack_of_memory() -> None:
    for allocate in (torch.empty, np.empty):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate(2**50)
        assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_crop_that_is_too_large_alone_has_a_problem(
    crops: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [*crops[0][:9], np.zeros((300, 400, 3), np.uint8)]
    expected = list(classifier().reply(images, PROMPT))
    asked = fail_above(monkeypatch, 100_000, torch.OutOfMemoryError("CUDA out of memory"))
    namer = classifier(batch_size=8)
    replies = list(namer.reply(images, PROMPT))
    assert_alike(replies[:-1], expected[:-1])
    assert replies[-1].text == ""
    assert "memory does not suffice for a crop of 400 x 300 px" in replies[-1].problem
    asked.clear()
    assert_alike(list(namer.reply(images[:8], PROMPT)), expected[:8])
    assert asked == [8], "one crop says nothing of others"


def test_memory_for_no_crop_at_all_is_an_error(
    crops: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_above(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    message = r"classify\.batch_size 4: not even one crop at a time will do.*Take a smaller model"
    with pytest.raises(ConfigError, match=message):
        list(classifier(batch_size=4).reply(crops[0][:5], PROMPT))


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    crops: Crops, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_above(monkeypatch, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        list(classifier(batch_size=4).reply(crops[0][:5], PROMPT))


def test_a_crop_that_the_processor_refuses_has_a_problem(
    crops: Crops, folders: dict[str, Path]
) -> None:
    images = odd_crops(crops[0])
    namer = classifier(folders["qwen"], batch_size=5)
    expected = list(namer.reply(images, PROMPT))
    narrow = np.zeros((1, 201, 3), np.uint8)
    replies = list(namer.reply([*images[:3], narrow, *images[3:]], PROMPT))
    problem = replies.pop(3).problem
    assert "takes no crop of 201 x 1 px: absolute aspect ratio must be smaller than 200" in problem
    assert_alike(replies, expected)
