"""CLIP: the demo's model names true crops."""

from pathlib import Path

import numpy as np
import pytest
import torch

from demo.scenes import generate_scene
from demo.stack.settings import REPO
from lae_tasks.backends.clip import ClipEmbedder
from lae_tasks.backends.namers import load_namer
from lae_tasks.backends.protocols import Image
from lae_tasks.backends.weights import namer_revision
from lae_tasks.config_file import load_config
from lae_tasks.errors import ConfigError
from lae_tasks.imagery.crops import crop_region
from lae_tasks.naming.opinion import SecondOpinion
from lae_tasks.naming.prompt_template import load_template
from lae_tasks.naming.replies import parse_reply, token_confidence
from lae_tasks.naming.vocabulary import Vocabulary

CONFIG = load_config(REPO / "demo" / "lae.yaml")


@pytest.fixture(scope="module")
def crops() -> tuple[list[Image], list[str]]:
    images, names = [], []
    for seed in range(1_000_100, 1_000_106):
        scene = generate_scene(seed, 512)
        for found in scene.objects:
            if found.category:
                margin = CONFIG.classify.crop_margin
                images.append(crop_region(scene.image, found.bbox_xyxy_px, margin))
                names.append(found.category)
    return images, names


def test_clip_names_crops(crops: tuple[list[Image], list[str]]) -> None:
    images, names = crops
    embedder = ClipEmbedder(str(CONFIG.classify.clip_model), "cpu", threads=1)
    vocabulary = CONFIG.vocabulary.names
    logits = embedder.likeness(embedder.embed_crops(images), embedder.embed_names(vocabulary))
    best = [vocabulary[i] for i in logits.argmax(axis=1)]
    assert np.mean([a == b for a, b in zip(best, names, strict=True)]) > 0.9


def test_clip_takes_fewer_crops_at_a_time_where_memory_is_short(
    crops: tuple[list[Image], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = ClipEmbedder(str(CONFIG.classify.clip_model), "cpu", threads=1)
    images = crops[0][:23]
    wanted = embedder.embed_crops(images)
    encode = embedder._model.encode_image
    tried = []

    def encode_few(pixels: torch.Tensor) -> torch.Tensor:
        tried.append(len(pixels))
        if len(pixels) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(pixels)

    monkeypatch.setattr(embedder._model, "encode_image", encode_few)
    assert np.allclose(embedder.embed_crops(images), wanted, atol=1e-5)
    assert tried == [23, 11, 5, 5, 5, 5, 3]
    monkeypatch.setattr(embedder._model, "encode_image", lambda _: encode_few(torch.zeros(6)))
    with pytest.raises(torch.OutOfMemoryError):
        embedder.embed_crops(images)


def test_models_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty"):
        with pytest.raises(ConfigError, match=rf"{name}: no open_clip_config\.json in it"):
            ClipEmbedder(f"local-dir:{tmp_path / name}", "cpu", threads=1)
    with pytest.raises(ConfigError, match="no open_clip_config"):
        ClipEmbedder("local-dir:", "cpu", threads=1)
    (tmp_path / "empty" / "open_clip_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="open_clip cannot load it"):
        ClipEmbedder(f"local-dir:{tmp_path / 'empty'}", "cpu", threads=1)
    # An architecture alone would be weights by chance.
    for name in ("no-such-architecture", "ViT-B-32", "ViT-B-32/no-such-weights"):
        with pytest.raises(ConfigError, match="open_clip knows no such weights"):
            ClipEmbedder(name, "cpu", threads=1)


def test_clip_alone_names_crops_and_tells_nothing_from_something(
    crops: tuple[list[Image], list[str]],
) -> None:
    images, names = crops
    values = {
        "namer": "clip",
        "clip_background": ("tree", "building", "rock", "background"),
        "alternatives": 2,
    }
    config = CONFIG.classify.model_copy(update=values)
    namer = load_namer(config, CONFIG.vocabulary, 1)
    assert namer.revision == namer_revision(config)
    replies = list(namer.reply(iter(images), load_template("lae_paper")))
    parsed = [parse_reply(reply.text) for reply in replies]
    assert np.mean([p.category == name for p, name in zip(parsed, names, strict=True)]) > 0.9
    for reply, found in zip(replies, parsed, strict=True):
        if found.span:
            assert 0 < token_confidence(reply, found.span) <= 1
        others = [parse_reply(other.text).category for other in reply.others]
        assert len(set(others) - {None, found.category}) == 2
    scene = generate_scene(1_000_106, 512)
    things = [found for found in scene.objects if not found.category]
    margin = CONFIG.classify.crop_margin
    trees = [crop_region(scene.image, found.bbox_xyxy_px, margin) for found in things]
    assert trees
    said = [parse_reply(r.text).category for r in namer.reply(trees, load_template("lae_paper"))]
    assert said.count(None) > len(said) / 2


def test_a_parent_among_the_categories_spoils_no_opinion(
    crops: tuple[list[Image], list[str]],
) -> None:
    airplanes = [image for image, name in zip(*crops, strict=True) if name == "airplane"]
    names = [name for name in CONFIG.vocabulary.names if name != "airplane"]
    family = [*names, {"name": "airplane", "parent": "aircraft"}, "aircraft"]
    alone, parented = map(Vocabulary.model_validate, ([*names, "airplane"], family))
    embedder = ClipEmbedder(str(CONFIG.classify.clip_model), "cpu", threads=1)
    for crop in embedder.embed_crops(airplanes):
        own = SecondOpinion(embedder, alone).of(crop, "airplane")
        its = SecondOpinion(embedder, parented).of(crop, "airplane")
        assert (its.clip_agrees, its.clip_score_said) == (own.clip_agrees, own.clip_score_said)
    clip = CONFIG.classify.model_copy(update={"namer": "clip"})
    before, after = (
        list(load_namer(clip, known, 1).reply(iter(airplanes), load_template("lae_paper")))
        for known in (alone, parented)
    )
    assert [reply.token_probabilities for reply in after if "airplane" in reply.text] == [
        pytest.approx(was.token_probabilities, abs=1e-6)
        for was, reply in zip(before, after, strict=True)
        if "airplane" in reply.text
    ]
