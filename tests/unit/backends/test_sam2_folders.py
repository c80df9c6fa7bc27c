"""Folders of SAM 2 and SAM 3's tracker: which load, and clear errors for those that do not."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam2ImageProcessor

from demo.stack.settings import REPO
from lae_tasks.backends.masks import check_checkpoint, load_mask_generator
from lae_tasks.config_file import load_config
from lae_tasks.errors import ConfigError
from lae_tasks.local import run_night
from tests.unit.backends.sam2_models import make_config, make_image, write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model("sam2", tmp_path / "sam2")


def test_the_published_checkpoints_of_video_models_load(tmp_path: Path) -> None:
    folder = write_model("sam2", tmp_path / "sam2")
    change_description(folder, model_type="sam2_video")
    change_weights(folder, lambda w: w | {"memory_temporal_positional_encoding": torch.zeros(1)})
    check_checkpoint(make_config("sam2", folder))

    folder = write_model("sam3_tracker", tmp_path / "sam3")
    expected = load_mask_generator(make_config("sam3_tracker", folder), 1)
    image, prompts = make_image((64, 64)), np.array([[5, 5, 60, 50]], np.float32)
    [before] = expected.answer(image, prompts)

    # Names are as published already: transformers saves a tracker as a part of the video model.
    assert "tracker_model.no_memory_embedding" in load_file(folder / "model.safetensors")
    change_weights(folder, lambda w: w | {"detector_model.text_projection.bias": torch.zeros(1)})
    description = json.loads((folder / "config.json").read_text())
    tracker = {**description, "model_type": "sam3_tracker_video"}
    whole = {"model_type": "sam3_video", "tracker_config": tracker, "detector_config": {}}
    (folder / "config.json").write_text(json.dumps(whole))
    [after] = load_mask_generator(make_config("sam3_tracker", folder), 1).answer(image, prompts)
    assert before is not None
    assert after is not None
    assert np.array_equal(before.mask, after.mask)


def change_description(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_weights(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def other_family(folder: Path) -> None:
    write_model("sam3_tracker", folder)


def another_model(folder: Path) -> None:
    change_description(folder, model_type="edgetam")


def a_weight_missing(folder: Path) -> None:
    change_weights(folder, lambda w: {k: v for k, v in w.items() if k != "no_memory_embedding"})


def a_weight_too_many(folder: Path) -> None:
    change_weights(folder, lambda w: w | {"head.weight": torch.zeros(2)})


def another_shape(folder: Path) -> None:
    change_weights(folder, lambda w: w | {"no_memory_embedding": torch.zeros(1, 1, 5)})


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def weights_as_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    no_weights(folder)


def no_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def processor_of_another_size(folder: Path) -> None:
    Sam2ImageProcessor(size={"height": 128, "width": 128}).save_pretrained(folder)


def no_description(folder: Path) -> None:
    (folder / "config.json").unlink()


def broken_description(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def description_is_a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def wrong_description(folder: Path) -> None:
    change_description(folder, mask_decoder_config={"hidden_size": "large"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_family, "says model_type 'sam3_tracker', not sam2 or sam2_video.*check segment.mod"),
        (another_model, "says model_type 'edgetam'"),
        (a_weight_missing, "1 missing_keys, such as no_memory_embedding.*check segment.model_type"),
        (a_weight_too_many, "1 unexpected_keys, such as head.weight"),
        (another_shape, "not a model of type sam2 .*mismatch"),
        (truncated, "not a model of type sam2 .*(incomplete|header)"),
        (no_weights, "no model.safetensors in it"),
        (weights_as_pickle, "no model.safetensors in it.*a pickle could run code"),
        (no_processor, "not a model of type sam2 .*processor"),
        (processor_of_another_size, "makes 128 x 128 px of an image, the model takes 64 x 64"),
        (no_description, "no config.json in it"),
        (broken_description, "not a model of type sam2"),
        (description_is_a_list, "not a model of type sam2"),
        (wrong_description, "not a model of type sam2 .*hidden_size"),
    ],
)
def test_a_wrong_folder_is_told_before_a_night(folder: Path, spoil: Any, message: str) -> None:
    config = make_config("sam2", folder)
    check_checkpoint(config)
    spoil(folder)
    with pytest.raises(ConfigError, match=message):
        check_checkpoint(config)
    with pytest.raises(ConfigError, match=message):
        load_mask_generator(config, threads=1)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("executed"),))  # type: ignore[return-value]


def test_a_folder_cannot_run_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "model.safetensors").write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(ConfigError, match="not a model of type sam2"):
        check_checkpoint(make_config("sam2", folder))
    assert not (folder / "executed").exists()


def test_a_missing_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"checkpoint is not set: .* such as a folder or a name"):
        check_checkpoint(make_config("sam2", None))
    for name in (tmp_path / "none", Path("nobody/no-such-model")):
        with pytest.raises(ConfigError, match=f"segment.checkpoint '{name}': neither a folder"):
            check_checkpoint(make_config("sam2", name))


def test_a_folder_is_relative_to_the_config_and_a_hub_name_is_not(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    path = tmp_path / "lae.yaml"
    start = "preset: lae-paper\nraw: raw\nstore: store\nsegment: {model_type: sam2, checkpoint: "
    for given, meant in (
        ("models", tmp_path / "models"),
        ("facebook/sam2.1-hiera-large", Path("facebook/sam2.1-hiera-large")),
    ):
        path.write_text(f"{start}{given}}}\n")
        assert load_config(path).segment.checkpoint == meant


def test_a_night_does_not_start_with_another_model(folder: Path, tmp_path: Path) -> None:
    config = load_config(REPO / "demo" / "lae.yaml", raw=str(tmp_path), store=str(tmp_path / "s"))
    changes = {"model_type": "sam3_tracker", "checkpoint": folder}
    segment = config.segment.model_copy(update=changes)
    with pytest.raises(ConfigError, match="says model_type 'sam2', not sam3_tracker"):
        run_night(config.model_copy(update={"segment": segment}), "2026-11-22", 1, lambda *_: None)
    assert not (tmp_path / "s").exists()
