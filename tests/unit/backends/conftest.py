"""Crops, small language models, and a server that names, for the tests of namers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers.utils import logging as transformers_logging

from demo.scenes import generate_scene
from lae_tasks.imagery.crops import crop_region
from tests.lvlm_server import LvlmServer, by_digest, lvlm_server
from tests.unit.backends.lvlm_models import CONFIG, Crops, write_patches, write_qwen


@pytest.fixture(scope="session")
def crops() -> Crops:
    """Crops of all objects of some scenes, by their true boxes."""
    images, names = [], []
    for seed in range(1_000_100, 1_000_106):
        scene = generate_scene(seed, 512)
        for found in scene.objects:
            images.append(crop_region(scene.image, found.bbox_xyxy_px, CONFIG.crop_margin))
            names.append(found.category)
    return images, names


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models whose crops take the more tokens the larger they are."""
    transformers_logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("models")
    return {"internvl": write_patches(folder / "lvlm"), "qwen": write_qwen(folder / "qwen")}


@pytest.fixture
def server() -> Iterator[LvlmServer]:
    with lvlm_server(by_digest) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
