"""Classify: crops from memory, replies read one by one, a bad reply costs one region only."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.config import ClassifyConfig
from lae_tasks.contracts import Done, Label, Rejection
from lae_tasks.errors import ConfigError
from lae_tasks.stages import classify
from lae_tasks.stages.tile import encode_png, load_image
from lae_tasks.storage import LocalStorage
from tests.records import make_region, make_tile

CONFIG = ClassifyConfig(crop_margin=0.0)


class Recorded:
    """A classifier that says what it is told to say; real models are tested elsewhere."""

    revision = "recorded"

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.crops: list[Image] = []

    def reply(self, crops: Sequence[Image], prompt: str) -> list[Reply]:
        assert "object category" in prompt
        self.crops += crops
        ends = tuple(range(1, 1 + len(self.texts[0])))
        replies = []
        for _ in crops:
            text = self.texts.pop(0)
            ends = tuple(range(1, 1 + len(text)))
            replies.append(Reply(text, ends, (0.5,) * len(text)))
        return replies


@pytest.fixture
def store(tmp_path: Path) -> LocalStorage:
    store = LocalStorage(tmp_path)
    pixels = np.arange(100 * 100 * 3, dtype=np.uint32).reshape(100, 100, 3) % 251
    store.write("image.png", encode_png(pixels.astype(np.uint8)))
    return store


TILE = make_tile((400, 200, 100, 100), tile_id="t1")
REGIONS = [
    make_region(region_id="r1", bbox_xyxy_px=(410, 220, 430, 240)),
    make_region(region_id="r2", bbox_xyxy_px=(450, 250, 460, 260)),
    make_region(region_id="r3", bbox_xyxy_px=(480, 280, 500, 300)),
]


def run(store: LocalStorage, classifier: Recorded) -> list[Done | Rejection]:
    tiles = {"t1": TILE}
    return list(classify.run(REGIONS, tiles, store, classifier, None, (), CONFIG))


def test_a_reply_that_is_not_understood_rejects_its_region_only(store: LocalStorage) -> None:
    texts = ('"ship" with a likelihood of 1', "hm", '"Unrecognized" soil')
    first, second, third = run(store, Recorded(*texts))
    assert isinstance(first, Done)
    label = first.outputs[0]
    assert isinstance(label, Label)
    assert (label.category_said, label.likelihood_said) == ("ship", 1.0)
    assert label.token_confidence == pytest.approx(0.5**4)
    assert label.reply == '"ship" with a likelihood of 1'
    assert isinstance(second, Rejection)
    assert (second.rejected_id, second.reason) == ("r2", "reply not understood")
    assert "hm" in second.detail
    assert isinstance(third, Done)
    assert isinstance(third.outputs[0], Label)
    assert third.outputs[0].category_said is None


def test_a_region_with_a_name_of_its_own_is_not_asked_about(store: LocalStorage) -> None:
    named = REGIONS[1].model_copy(update={"prompt_category": "harbour"})
    classifier = Recorded('"ship" with likelihood 0.9', '"car" with likelihood 0.8')
    regions = [REGIONS[0], named, REGIONS[2]]
    results = list(classify.run(regions, {"t1": TILE}, store, classifier, None, (), CONFIG))
    labels = [r.outputs[0] for r in results if isinstance(r, Done)]
    assert [label.category_said for label in labels if isinstance(label, Label)] == [
        "ship",
        "harbour",
        "car",
    ]
    harbour = labels[1]
    assert isinstance(harbour, Label)
    assert (harbour.model_revision, harbour.reply, harbour.likelihood_said) == (
        "annotation",
        "",
        None,
    )
    assert len(classifier.crops) == 2


def test_crops_are_the_regions_of_the_tile(store: LocalStorage) -> None:
    classifier = Recorded(*['"ship" with likelihood 0.9'] * 3)
    run(store, classifier)
    image = load_image(TILE, store)
    assert (classifier.crops[0] == image[20:40, 10:30]).all()
    assert [crop.shape[:2] for crop in classifier.crops] == [(20, 20), (10, 10), (20, 20)]


def test_a_rendition_that_is_gone_rejects_its_regions(store: LocalStorage) -> None:
    store.delete("image.png")
    results = run(store, Recorded("unused"))
    assert [r.reason for r in results if isinstance(r, Rejection)] == ["image gone"] * 3


def test_prompts_come_from_the_package_or_a_file(tmp_path: Path) -> None:
    assert 'returning a "object category" phrase' in classify.load_prompt("lae_paper")
    (tmp_path / "mine.txt").write_text("What is it?\n")
    assert classify.load_prompt(str(tmp_path / "mine.txt")) == "What is it?"
    with pytest.raises(ConfigError, match="no such template or file"):
        classify.load_prompt("none")
