"""The committed models load offline and do on a few scenes what their cards say."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from demo.evaluate_models import MODELS, demo_config
from demo.masks import full_rle, make_mask_generator
from demo.metrics import mask_overlaps
from demo.naming import name_crops
from demo.scenes import SyntheticObject, SyntheticScene, generate_scene
from demo.scenes.world import encode_mask
from demo.train.data import VALIDATION_SEED
from lae_tasks.backends.clip import ClipEmbedder
from lae_tasks.backends.lvlm import LocalClassifier
from lae_tasks.imagery.crops import crop_region

CONFIG = demo_config(MODELS)
MAX_TOTAL_BYTES = 15_000_000


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scenes() -> list[SyntheticScene]:
    return [generate_scene(VALIDATION_SEED + index, 512) for index in range(5)]


@pytest.fixture(scope="module")
def classifier() -> LocalClassifier:
    return LocalClassifier(CONFIG.classify, CONFIG.threads)


def _cut(
    scenes: list[SyntheticScene], with_category: bool
) -> tuple[list[SyntheticObject], list[np.ndarray]]:
    pairs = [
        (item, crop_region(scene.image, item.bbox_xyxy_px, CONFIG.classify.crop_margin))
        for scene in scenes
        for item in scene.objects
        if (item.category is not None) == with_category
    ]
    return [item for item, _ in pairs], [crop for _, crop in pairs]


def test_lvlm_names_true_crops(classifier: LocalClassifier, scenes: list[SyntheticScene]) -> None:
    items, crops = _cut(scenes, with_category=True)
    namings = name_crops(classifier, CONFIG.classify, crops)
    right = [n.category == item.category for n, item in zip(namings, items, strict=True)]
    assert np.mean(right) >= 0.85
    for naming in namings:
        assert naming.understood
        if naming.category:
            assert 0 < naming.confidence <= 1
            assert naming.likelihood is not None
            assert 0 <= naming.likelihood <= 1


def test_lvlm_does_not_recognise_distractors(
    classifier: LocalClassifier, scenes: list[SyntheticScene]
) -> None:
    _, crops = _cut(scenes, with_category=False)
    namings = name_crops(classifier, CONFIG.classify, crops)
    assert np.mean([n.unrecognized for n in namings]) >= 0.7


def test_clip_puts_synonyms_together() -> None:
    clip = ClipEmbedder(str(CONFIG.classify.clip_model), "cpu", CONFIG.threads)
    plane, airplane, ship = clip.embed_names(["plane", "airplane", "ship"])
    assert float(plane @ airplane) > 0.92
    assert float(airplane @ ship) < 0.7


def test_sam_finds_objects(scenes: list[SyntheticScene]) -> None:
    generator = make_mask_generator(MODELS / "sam" / "model.safetensors")
    found = []
    for scene in scenes[:2]:
        masks = [full_rle(each, scene.image) for each in generator.generate(scene.image)]
        truth = [encode_mask(item, 512, 512) for item in scene.objects if item.category]
        overlaps = mask_overlaps(masks, truth)
        found += list(overlaps.max(axis=0) >= 0.5)
    assert np.mean(found) >= 0.6


def test_models_are_small_and_name_no_path_outside() -> None:
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MAX_TOTAL_BYTES
    for path in files:
        assert path.stat().st_mode & 0o044, f"{path} can be read by others"
        if path.suffix == ".json":
            text = path.read_text()
            json.loads(text)
            assert '"/' not in text.replace('"/"', ""), f"{path} names an absolute path"


@pytest.mark.parametrize("name", ["sam", "clip", "lvlm"])
def test_every_model_has_its_card(name: str) -> None:
    card = (MODELS / name / "README.md").read_text()
    for heading in ("Architecture", "Training", "Measured", "Rebuild"):
        assert f"## {heading}" in card
