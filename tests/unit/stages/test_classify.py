"""Classify: crops from memory, replies read one by one, a bad reply costs one region only."""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PilImage

from lae_tasks.accounts import Counted, Done, Rejection
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.config import ClassifyConfig
from lae_tasks.contracts import Embedding, Label
from lae_tasks.errors import ConfigError, ContractError
from lae_tasks.naming.opinion import SecondOpinion
from lae_tasks.naming.prompt_template import PromptTemplate
from lae_tasks.naming.vocabulary import OPEN, Vocabulary
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

    def reply(self, crops: Iterable[Image], template: PromptTemplate) -> Iterator[Reply]:
        assert "object category" in template.text
        for crop in crops:
            self.crops.append(crop)
            yield self.said(self.texts.pop(0))

    def said(self, text: str) -> Reply:
        if text.startswith("problem: "):
            return Reply("", problem=text)
        first, *others = text.split(" | ")
        ends = tuple(range(1, 1 + len(first)))
        asides = tuple(self.said(other) for other in others)
        return Reply(first, ends, (0.5,) * len(first), asides, counts={"prompt_tokens": 7})


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


def run(store: LocalStorage, classifier: Recorded) -> list[Done | Rejection | Counted]:
    tiles = {"t1": TILE}
    return list(classify.run(REGIONS, tiles, store, classifier, None, CONFIG))


def test_a_reply_that_is_not_understood_rejects_its_region_only(store: LocalStorage) -> None:
    texts = ('"ship" with a likelihood of 1', "hm", '"Unrecognized" soil')
    first, second, paid, third = run(store, Recorded(*texts))
    assert isinstance(first, Done)
    label = first.outputs[0]
    assert isinstance(label, Label)
    assert (label.category_said, label.likelihood_said) == ("ship", 1.0)
    assert label.token_confidence == pytest.approx(0.5**4)
    assert label.reply == '"ship" with a likelihood of 1'
    assert isinstance(second, Rejection)
    assert (second.rejected_id, second.reason) == ("r2", "reply not understood")
    assert "hm" in second.detail
    assert paid == Counted({"prompt_tokens": 7})
    assert isinstance(third, Done)
    assert isinstance(third.outputs[0], Label)
    assert third.outputs[0].category_said is None


def test_a_region_with_a_name_of_its_own_is_not_asked_about(store: LocalStorage) -> None:
    named = REGIONS[1].model_copy(update={"prompt_category": "harbour"})
    classifier = Recorded('"ship" with likelihood 0.9', '"car" with likelihood 0.8')
    regions = [REGIONS[0], named, REGIONS[2]]
    results = list(classify.run(regions, {"t1": TILE}, store, classifier, None, CONFIG))
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


def name_many(store: LocalStorage, *texts: str) -> list[Done | Rejection | Counted]:
    regions = [make_region(region_id=f"r{n}", bbox_xyxy_px=REGIONS[0].bbox_xyxy_px) for n in texts]
    return list(classify.run(regions, {"t1": TILE}, store, Recorded(*texts), None, CONFIG))


@pytest.mark.parametrize("count", [8, 31, 32, 40])
def test_a_shard_of_which_no_reply_is_understood_is_an_error(
    store: LocalStorage, count: int
) -> None:
    message = (
        rf"classify\.prompt 'lae_paper': none of the first {min(count, 32)} replies .* 'hm\d+';"
    )
    with pytest.raises(ConfigError, match=message):
        name_many(store, *(f"hm{n}" for n in range(count)))


@pytest.mark.parametrize(
    "texts",
    [
        ["hm"] * 7,
        ["hm"] * 31 + ['"Unrecognized"'] + ["hm"] * 9,
        ['"ship"'] + ["hm"] * 40,
        ["problem: refused"] * 40,
        ["problem: refused"] * 40 + ["hm"] * 7,
    ],
)
def test_some_replies_may_be_odd_and_few_tell_nothing(
    store: LocalStorage, texts: list[str]
) -> None:
    results = name_many(store, *texts)
    assert len(texts) == sum(not isinstance(result, Counted) for result in results)


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


def label_of(result: Done | Rejection) -> Label:
    assert isinstance(result, Done), result
    assert isinstance(result.outputs[0], Label)
    return result.outputs[0]


def test_a_crop_that_gets_no_reply_rejects_its_region_only(store: LocalStorage) -> None:
    texts = ('"ship"', "problem: the server refuses the picture", '"car"')
    first, second, third = run(store, Recorded(*texts))
    assert (label_of(first).category_said, label_of(third).category_said) == ("ship", "car")
    assert isinstance(second, Rejection)
    assert (second.reason, second.detail) == ("no reply", texts[1])


def test_what_else_might_have_been_said_is_kept_and_what_it_took(store: LocalStorage) -> None:
    texts = ('"ship" | "boats" | "ship" | hm | "Unrecognized"', '"car"', '"car"')
    first, second, _ = run(store, Recorded(*texts))
    assert label_of(first).alternatives == ("boats",)
    assert label_of(first).alternative_scores == (pytest.approx(0.5**5, abs=1e-4),)
    assert label_of(second).alternatives == label_of(second).alternative_scores == ()
    assert isinstance(first, Done)
    assert first.counts == {"prompt_tokens": 7}


class Angles:
    """A space of two dimensions: grey crops by their brightness, names by their place."""

    revision = "angles"

    def embed_names(self, names: Sequence[str]) -> np.ndarray:
        return self._unit([{"dark": 0, "bright": 90, "dim": 30}[name.lower()] for name in names])

    def embed_crops(self, crops: Sequence[Image]) -> np.ndarray:
        return self._unit([float(crop.mean()) / 255 * 90 for crop in crops])

    def likeness(self, crops: np.ndarray, names: np.ndarray) -> np.ndarray:
        return 10 * crops @ names.T

    @staticmethod
    def _unit(degrees: Sequence[float]) -> np.ndarray:
        radians = np.radians(degrees)
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_clip_has_an_opinion_of_what_was_said_and_its_vectors_are_kept(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)
    pixels = np.full((100, 100, 3), 30, dtype=np.uint8)
    pixels[50:] = 250
    store.write("image.png", encode_png(pixels))
    second = SecondOpinion(Angles(), Vocabulary.model_validate(["Dark", "bright"]))
    names = ('"the dark"', '"Brights"', '"dark"', '"dim"', '"Unrecognized"')
    rows = (10, 60, 60, 10, 10)
    regions = [
        make_region(region_id=f"r{n}", bbox_xyxy_px=(410, 200 + y, 430, 220 + y))
        for n, y in enumerate(rows)
    ]
    results = list(classify.run(regions, {"t1": TILE}, store, Recorded(*names), second, CONFIG))
    labels = [label_of(result) for result in results]
    assert [label.clip_agrees for label in labels] == [True, True, False, False, None]
    assert [label.clip_categories[0] for label in labels] == [
        "Dark",
        "bright",
        "bright",
        "Dark",
        "Dark",
    ]
    assert labels[0].clip_score_said == labels[0].clip_scores[0] > 0.9
    assert labels[1].clip_score_said == labels[1].clip_scores[0]
    assert labels[2].clip_score_said == labels[2].clip_scores[1] < 0.1
    said = labels[3].clip_score_said  # it stands not in the vocabulary, and is compared with it
    assert said is not None
    assert 0.1 < said < 0.5
    assert labels[4].clip_score_said is None
    assert {label.model_revision for label in labels} == {"recorded+angles"}
    for result, label in zip(results, labels, strict=True):
        assert isinstance(result, Done)
        (embedding,) = result.outputs[1:]
        assert isinstance(embedding, Embedding)
        assert embedding.region_id == label.region_id
        assert embedding.model_revision == "angles"
        assert np.linalg.norm(embedding.vector) == pytest.approx(1)


def test_what_is_above_or_below_a_name_is_no_better_one() -> None:
    names = ["bright", {"name": "dark", "parent": "dim"}, "dim"]
    apart = Vocabulary.model_validate(["bright", "dark", "dim"])
    related = Vocabulary.model_validate(names)
    (crop,) = Angles().embed_crops([np.full((2, 2, 3), 30, dtype=np.uint8)])
    for said, score in (("dark", 0.6), ("Dim", 0.4)):
        strict = SecondOpinion(Angles(), apart).of(crop, said)
        mild = SecondOpinion(Angles(), related).of(crop, said)
        assert strict.clip_categories == mild.clip_categories == ("dark", "dim", "bright")
        assert strict.clip_scores == mild.clip_scores
        assert strict.clip_agrees == (said == "dark")
        assert strict.clip_score_said == pytest.approx(score, abs=0.1)
        assert mild.clip_agrees
        assert mild.clip_score_said == pytest.approx(1, abs=0.01)
    astray = SecondOpinion(Angles(), related).of(crop, "bright")
    assert (astray.clip_agrees, astray.clip_score_said) == (False, astray.clip_scores[2])


def test_without_a_vocabulary_there_are_vectors_and_no_opinion(store: LocalStorage) -> None:
    second = SecondOpinion(Angles(), OPEN)
    classifier = Recorded(*['"ship"'] * 3)
    for result in classify.run(REGIONS, {"t1": TILE}, store, classifier, second, CONFIG):
        label = label_of(result)
        assert (label.clip_categories, label.clip_agrees) == ((), None)
        assert isinstance(result, Done)
        assert len(result.outputs) == 2


def test_the_box_is_drawn_if_the_settings_say_so(store: LocalStorage) -> None:
    config = ClassifyConfig(crop_margin=0.5, context="outline")
    classifier = Recorded(*['"ship"'] * 3)
    list(classify.run(REGIONS[:1], {"t1": TILE}, store, classifier, None, config))
    (crop,) = classifier.crops
    red = (crop == (255, 0, 0)).all(axis=2)
    assert crop.shape == (40, 40, 3)
    assert red[9, 9:31].all()
    assert red[9:31, 30].all()
    assert not red[10:30, 10:30].any()
    assert (crop[10:30, 10:30] == load_image(TILE, store)[20:40, 10:30]).all()


def test_pixels_without_data_are_counted(store: LocalStorage) -> None:
    valid = np.ones((100, 100), dtype=bool)
    valid[:30] = False
    buffer = io.BytesIO()
    PilImage.fromarray(valid).save(buffer, "PNG")
    store.write("valid.png", buffer.getvalue())
    tile = TILE.model_copy(update={"valid_key": "valid.png"})
    classifier = Recorded(*['"ship"'] * 3)
    results = classify.run(REGIONS, {"t1": tile}, store, classifier, None, CONFIG)
    assert [label_of(result).nodata_share for result in results] == [0.5, 0.0, 0.0]
    store.delete("valid.png")
    gone = classify.run(REGIONS, {"t1": tile}, store, Recorded(), None, CONFIG)
    assert [r.reason for r in gone if isinstance(r, Rejection)] == ["image gone"] * 3
    store.write("image.png", b"no image")
    with pytest.raises(ContractError, match=r"image\.png: is no image any more; delete it"):
        list(classify.run(REGIONS, {"t1": TILE}, store, Recorded(), None, CONFIG))
