import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lae_tasks.backends.small_sam import (
    FORMAT,
    SmallSamConfig,
    build_small_sam,
    load_small_sam,
    save_small_sam,
)
from lae_tasks.errors import ConfigError

TINY = SmallSamConfig(image_px=64, encoder_dim=32, encoder_depth=1, encoder_heads=2, prompt_dim=32)
COMMITTED = Path("demo/models/sam/model.safetensors")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "sam" / "model.safetensors"
    save_small_sam(build_small_sam(TINY), TINY, path)
    return path


def test_round_trip(saved: Path) -> None:
    torch.manual_seed(0)
    original, loaded = build_small_sam(TINY), load_small_sam(saved)
    assert not loaded.training
    assert loaded.image_encoder.img_size == 64
    for name, value in loaded.state_dict().items():
        expected = original.state_dict()[name]
        assert value.dtype == expected.dtype
        assert torch.allclose(value.float(), expected.float(), atol=1e-3, rtol=1e-3), name


def test_weights_on_disk_are_half_precision(saved: Path) -> None:
    floats = [v for v in load_file(saved).values() if v.is_floating_point()]
    assert all(value.dtype == torch.float16 for value in floats)
    assert saved.stat().st_mode & 0o044, "others can read the file"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_small_sam(tmp_path / "absent.safetensors")


def test_not_a_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.safetensors"
    path.write_text("not weights")
    with pytest.raises(ConfigError, match="not a readable safetensors file"):
        load_small_sam(path)


def test_another_models_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(ConfigError, match="format is None"):
        load_small_sam(path)


def test_unknown_architecture(tmp_path: Path, saved: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(load_file(saved), path, metadata={"format": FORMAT, "config": '{"depth": 4}'})
    with pytest.raises(ConfigError, match="architecture in the file's metadata"):
        load_small_sam(path)


def test_weights_that_do_not_fit(tmp_path: Path, saved: Path) -> None:
    path = tmp_path / "mismatch.safetensors"
    config = json.dumps({**asdict(TINY), "encoder_depth": 2})
    save_file(load_file(saved), path, metadata={"format": FORMAT, "config": config})
    with pytest.raises(ConfigError, match="do not fit the architecture"):
        load_small_sam(path)


def test_patch_must_divide_the_image() -> None:
    with pytest.raises(ConfigError, match="image_px=100"):
        build_small_sam(SmallSamConfig(image_px=100))
