"""Vision-language models of transformers: replies that were begun, their code, wrong folders."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demo.stack.settings import REPO
from lae_tasks.backends.lvlm import LocalClassifier
from lae_tasks.backends.vision_language import Prompt, VisionLanguageModel
from lae_tasks.config import ClassifyConfig
from lae_tasks.errors import ConfigError
from lae_tasks.naming.replies import parse_reply
from tests.unit.backends.lvlm_models import (
    CONFIG,
    PROMPT,
    Crops,
    assert_alike,
    classifier,
    odd_crops,
)


@pytest.mark.parametrize("kind", ["internvl", "qwen"])
def test_a_reply_that_was_begun_goes_on_as_it_would_have(
    crops: Crops, folders: dict[str, Path], kind: str
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
        # It may be longer: it has as many tokens to go as a whole reply.
        assert rest.tokens[: len(said.tokens) - length] == said.tokens[length:]
        shares = rest.probabilities[: len(said.tokens) - length]
        assert np.allclose(shares, said.probabilities[length:], atol=1e-4)
    for said in whole:
        for share, rivals in zip(said.probabilities, said.rivals, strict=True):
            others = [other for _, other in rivals]
            assert others == sorted(others, reverse=True)
            assert len(others) <= 2
            assert all(other <= share + 1e-6 for other in others)


def test_16_bits_name_most_crops_the_same(
    crops: Crops,
) -> None:
    images = crops[0][:12]
    exact = [parse_reply(r.text).category for r in classifier().reply(images, PROMPT)]
    namer = classifier(dtype="bfloat16")
    assert namer._model._model.dtype == torch.bfloat16
    rough = [parse_reply(r.text).category for r in namer.reply(images, PROMPT)]
    assert np.mean([a == b for a, b in zip(exact, rough, strict=True)]) > 0.8


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
    crops: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
