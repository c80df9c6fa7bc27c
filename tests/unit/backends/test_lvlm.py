"""Local vision-language models: batches across images, alternatives, memory, trust."""

import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from demo.scenes import generate_scene
from demo.stack.settings import REPO
from lae_tasks.backends import lvlm
from lae_tasks.backends.lvlm import LocalClassifier
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.backends.vision_language import Prompt, VisionLanguageModel
from lae_tasks.config import ClassifyConfig
from lae_tasks.config_file import load_config
from lae_tasks.crops import crop_region
from lae_tasks.errors import ConfigError
from lae_tasks.names import canonical_form
from lae_tasks.prompt_template import load_template
from lae_tasks.replies import parse_reply, token_confidence
from tests.unit.backends.small_qwen import write_qwen

CONFIG = load_config(REPO / "demo" / "lae.yaml").classify.model_copy(update={"device": "cpu"})
PROMPT = load_template("lae_paper")


@pytest.fixture(scope="module", autouse=True)
def no_bars() -> None:
    transformers_logging.disable_progress_bar()


@pytest.fixture(scope="module")
def crops() -> tuple[list[Image], list[str | None]]:
    """Crops of true objects, and what they show; None for buildings, trees and rocks."""
    images, names = [], []
    for seed in range(1_000_100, 1_000_106):
        scene = generate_scene(seed, 512)
        for found in scene.objects:
            images.append(crop_region(scene.image, found.bbox_xyxy_px, CONFIG.crop_margin))
            names.append(found.category)
    return images, names


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models whose crops take more tokens the larger they are."""
    patches = tmp_path_factory.mktemp("patches") / "lvlm"
    shutil.copytree(str(CONFIG.model), patches)
    path = patches / "processor_config.json"
    description = json.loads(path.read_text())
    description["image_processor"] |= {"crop_to_patches": True, "max_patches": 4}
    path.write_text(json.dumps(description))
    return {"internvl": patches, "qwen": write_qwen(tmp_path_factory.mktemp("qwen"))}


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


def assert_alike(some: Sequence[Reply], others: Sequence[Reply]) -> None:
    assert [reply.text for reply in some] == [reply.text for reply in others]
    for one, other in zip(some, others, strict=True):
        assert one.token_ends == other.token_ends
        assert np.allclose(one.token_probabilities, other.token_probabilities, atol=1e-4)


def test_crops_are_named_with_a_confidence(crops: tuple[list[Image], list[str | None]]) -> None:
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
    crops: tuple[list[Image], list[str | None]], folders: dict[str, Path], kind: str
) -> None:
    images = odd_crops(crops[0])
    alone = list(classifier(folders[kind], batch_size=1).reply(images, PROMPT))
    assert len({reply.text for reply in alone}) > 3
    assert [reply.text for reply in alone] == by_hand(folders[kind], images, 24)
    for size in (3, 8):
        together = list(classifier(folders[kind], batch_size=size).reply(images, PROMPT))
        assert_alike(together, alone)


def test_a_batch_holds_crops_of_about_one_size(
    crops: tuple[list[Image], list[str | None]],
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
    crops: tuple[list[Image], list[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = crops[0][:14]
    expected = list(classifier().reply(images, PROMPT))
    monkeypatch.setattr(lvlm, "_BATCHES_AT_ONCE", 2)
    assert_alike(list(classifier(batch_size=3).reply(images, PROMPT)), expected)
    monkeypatch.setattr(lvlm, "_BYTES_AT_ONCE", 1)
    assert_alike(list(classifier(batch_size=3).reply(images, PROMPT)), expected)
    assert list(classifier().reply([], PROMPT)) == []


def test_crops_are_taken_ahead_but_not_without_bound(
    crops: tuple[list[Image], list[str | None]], monkeypatch: pytest.MonkeyPatch
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


@pytest.mark.parametrize("kind", ["internvl", "qwen"])
def test_a_reply_that_was_begun_goes_on_as_it_would_have(
    crops: tuple[list[Image], list[str | None]], folders: dict[str, Path], kind: str
) -> None:
    images = odd_crops(crops[0])
    settings = CONFIG.model_copy(update={"model": str(folders[kind]), "alternatives": 2})
    model = VisionLanguageModel(settings, folders[kind], torch.device("cpu"))
    prompts = [Prompt(image, model.prompt_text(PROMPT.text)) for image in images]
    whole = model.generate(model.inputs(prompts))
    begun = [
        replace(prompt, beginning=said.tokens[: 3 * number % 8])
        for number, (prompt, said) in enumerate(zip(prompts, whole, strict=True))
    ]
    for prompt, said, rest in zip(begun, whole, model.generate(model.inputs(begun)), strict=True):
        length = len(prompt.beginning)
        # That is why a rest may be longer: only what is new counts.
        assert rest.tokens[: len(said.tokens) - length] == said.tokens[length:]
        shares = rest.probabilities[: len(said.tokens) - length]
        assert np.allclose(shares, said.probabilities[length:], atol=1e-4)
    for said in whole:
        for share, rivals in zip(said.probabilities, said.rivals, strict=True):
            others = [other for _, other in rivals]
            assert others == sorted(others, reverse=True)
            assert len(others) <= 2
            assert all(other <= share + 1e-6 for other in others)


def test_alternatives_are_what_the_model_says_after_another_token(
    crops: tuple[list[Image], list[str | None]],
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
            "[enforce fail at alloc_cpu.cpp:131] . DefaultCPUAllocator: not enough memory"
        ),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_batch_and_goes_on(
    crops: tuple[list[Image], list[str | None]],
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


def test_a_crop_that_is_too_large_alone_has_a_problem(
    crops: tuple[list[Image], list[str | None]], monkeypatch: pytest.MonkeyPatch
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
    crops: tuple[list[Image], list[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_above(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    message = r"classify\.batch_size 4: not even one crop at a time will do.*Take a smaller model"
    with pytest.raises(ConfigError, match=message):
        list(classifier(batch_size=4).reply(crops[0][:5], PROMPT))


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    crops: tuple[list[Image], list[str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_above(monkeypatch, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        list(classifier(batch_size=4).reply(crops[0][:5], PROMPT))


def test_a_crop_that_the_processor_refuses_has_a_problem(
    crops: tuple[list[Image], list[str | None]], folders: dict[str, Path]
) -> None:
    images = odd_crops(crops[0])
    namer = classifier(folders["qwen"], batch_size=5)
    expected = list(namer.reply(images, PROMPT))
    narrow = np.zeros((1, 201, 3), np.uint8)
    replies = list(namer.reply([*images[:3], narrow, *images[3:]], PROMPT))
    problem = replies.pop(3).problem
    assert "takes no crop of 201 x 1 px: absolute aspect ratio must be smaller than 200" in problem
    assert_alike(replies, expected)


CODE = """
from pathlib import Path
from transformers import InternVLConfig, InternVLForConditionalGeneration

Path({marker!r}).touch()

class OwnConfig(InternVLConfig):
    model_type = "own"

class OwnModel(InternVLForConditionalGeneration):
    config_class = OwnConfig
"""


def test_code_that_comes_with_a_model_runs_only_if_the_config_says_so(
    crops: tuple[list[Image], list[str | None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    folder, marker = tmp_path / "lvlm", tmp_path / "it ran"
    shutil.copytree(str(CONFIG.model), folder)
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    description = json.loads((folder / "config.json").read_text())
    description["model_type"] = "own"
    description["auto_map"] = {
        "AutoConfig": "own.OwnConfig",
        "AutoModelForImageTextToText": "own.OwnModel",
    }
    (folder / "config.json").write_text(json.dumps(description))
    with pytest.raises(ConfigError, match="trust_remote_code: 'run the code that comes with the m"):
        classifier(folder)
    assert not marker.exists()
    namer = classifier(folder, trust_remote_code="run the code that comes with the model")
    assert marker.exists()
    expected = list(classifier().reply(crops[0][:3], PROMPT))
    assert_alike(list(namer.reply(crops[0][:3], PROMPT)), expected)


def no_processor(folder: Path) -> None:
    for path in folder.glob("*process*.json"):
        path.unlink()


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def other_weights(folder: Path) -> None:
    shutil.copy(REPO / "demo" / "models" / "sam" / "model.safetensors", folder)


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def empty_description(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_processor, "lvlm: (no processor of images and text|transformers cannot load it)"),
        (no_template, "lvlm: a model that follows no instructions: .*chat.template"),
        (other_weights, r"lvlm: its weights lack \d+, such as "),
        (truncated, "lvlm: transformers cannot load it .*(incomplete|header)"),
        (empty_description, "lvlm: transformers cannot load it"),
    ],
)
def test_a_wrong_folder_is_told(tmp_path: Path, spoil: Any, message: str) -> None:
    folder = tmp_path / "lvlm"
    shutil.copytree(str(CONFIG.model), folder)
    spoil(folder)
    with pytest.raises(ConfigError, match=message):
        list(classifier(folder).reply([], PROMPT))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"classify\.model is not set"):
        LocalClassifier(ClassifyConfig(), threads=1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty: no config\.json in it"):
        classifier(tmp_path / "empty")


def test_a_crop_for_which_16_bits_are_enough_is_named_the_same(
    crops: tuple[list[Image], list[str | None]],
) -> None:
    images = crops[0][:12]
    exact = [parse_reply(r.text).category for r in classifier().reply(images, PROMPT)]
    namer = classifier(dtype="bfloat16")
    assert namer._model._model.dtype == torch.bfloat16
    rough = [parse_reply(r.text).category for r in namer.reply(images, PROMPT)]
    assert np.mean([a == b for a, b in zip(exact, rough, strict=True)]) > 0.8
