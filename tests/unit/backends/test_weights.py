"""Weights: found before a night, known by their content, and not swapped under a running night."""

import shutil
from pathlib import Path

import pytest

from demo.stack.settings import REPO
from lae_tasks.backends.weights import clip_revision, namer_revision, require_models, sam_revision
from lae_tasks.config import ClassifyConfig, RemoteConfig, SegmentConfig
from lae_tasks.config_file import load_config
from lae_tasks.errors import ConfigError
from lae_tasks.local import open_night, run_night
from lae_tasks.night import run_stage
from tests.unit.rasters import gradient, write_raster

MODELS = REPO / "demo" / "models"


def test_a_revision_is_of_the_content(tmp_path: Path) -> None:
    checkpoint = tmp_path / "a.safetensors"
    shutil.copy(MODELS / "sam" / "model.safetensors", checkpoint)
    first = sam_revision(SegmentConfig(model_type="small", checkpoint=checkpoint))
    moved = checkpoint.rename(tmp_path / "b.safetensors")
    config = SegmentConfig(model_type="small", checkpoint=moved)
    assert sam_revision(config) == first
    moved.write_bytes(moved.read_bytes() + b"x")
    assert sam_revision(config) != first


@pytest.mark.parametrize("name", ["README.md", ".cache/huggingface/x.metadata", ".gitignore"])
def test_what_is_no_part_of_a_model_does_not_change_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "lvlm"
    shutil.copytree(MODELS / "lvlm", folder)
    config = ClassifyConfig(model=str(folder))
    first = namer_revision(config)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("new")
    assert namer_revision(config) == first
    (folder / "tokenizer.json").write_text("{}")
    assert namer_revision(config) != first


def test_the_demos_models_are_there() -> None:
    config = load_config(REPO / "demo" / "lae.yaml")
    require_models(config)
    assert clip_revision(str(config.classify.clip_model)).startswith("clip-")


@pytest.mark.parametrize("part", ["model", "checkpoint", "prompt"])
def test_what_is_missing_is_missed_before_anything_is_read(tmp_path: Path, part: str) -> None:
    config = load_config(REPO / "demo" / "lae.yaml", raw=str(tmp_path), store=str(tmp_path / "s"))
    section = "segment" if part == "checkpoint" else "classify"
    changed = getattr(config, section).model_copy(update={part: tmp_path / "none"})
    broken = config.model_copy(update={section: changed})
    with pytest.raises(ConfigError, match="none"):
        run_night(broken, "2026-11-22", 1, lambda *_: None)
    assert not (tmp_path / "s").exists()


def test_a_servers_settings_are_checked_before_anything_is_read() -> None:
    config = load_config(REPO / "demo" / "lae.yaml")
    remote = RemoteConfig(base_url="gpu-host:8000/v1")
    classify = config.classify.model_copy(update={"namer": "remote", "remote": remote})
    with pytest.raises(ConfigError, match=r"base_url 'gpu-host:8000/v1': give one such as"):
        require_models(config.model_copy(update={"classify": classify}))


@pytest.mark.parametrize("device", ["cuda:99", "mps", "gpu0"])
def test_a_device_that_is_not_here_is_told(device: str) -> None:
    config = load_config(REPO / "demo" / "lae.yaml")
    segment = config.segment.model_copy(update={"device": device})
    with pytest.raises(ConfigError, match=rf"segment\.device .*'{device}'.*use auto, cpu"):
        require_models(config.model_copy(update={"segment": segment}))


def test_weights_in_several_files_are_told(tmp_path: Path) -> None:
    config = SegmentConfig(model_type="sam2", checkpoint=tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"no model\.safetensors in it"):
        sam_revision(config)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"several files .*give one model\.safetensors"):
        sam_revision(config)


def test_weights_that_change_under_a_night_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for number in range(3):  # two shards
        write_raster(tmp_path / "raw" / f"{number}.tif", gradient(3, 64, 64 + number))
    checkpoint = tmp_path / "sam.safetensors"
    shutil.copy(MODELS / "sam" / "model.safetensors", checkpoint)
    config = load_config(
        REPO / "demo" / "lae.yaml", raw=str(tmp_path / "raw"), store=str(tmp_path / "store")
    )
    segment = config.segment.model_copy(update={"checkpoint": checkpoint, "points_per_side": 2})
    night = open_night(config.model_copy(update={"segment": segment}), "2026-11-22")
    run_stage(night, "ingest")
    for shard in ("0000", "0001"):
        run_stage(night, "tile", shard)
    manifest = run_stage(night, "segment", "0000")
    checkpoint.write_bytes(checkpoint.read_bytes() + b"x")
    with pytest.raises(ConfigError, match=f"{manifest.model_revision} is loaded"):
        run_stage(night, "segment", "0001")
