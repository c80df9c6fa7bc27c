"""Each expectation is seen to fail on a release that breaks it: a mutation test of the gate."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from lae_tasks.config import ReleaseConfig
from lae_tasks.releases.assemble import assemble
from lae_tasks.releases.dataset import Annotations, Category, Dataset
from lae_tasks.releases.expectations import StoredImage
from lae_tasks.releases.gates import Gate
from lae_tasks.releases.splits import with_splits
from lae_tasks.stages.validate import ValidationFailedError, validate
from lae_tasks.storage import open_storage
from tests.release_world import World

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]

RULES = 39


@pytest.fixture
def world(tmp_path):
    world = World(open_storage(str(tmp_path / "store")))
    world.add_scene(3)
    return world


@pytest.fixture
def dataset(world):
    return with_splits(assemble(world.state, world.config), {}, ReleaseConfig())


def with_first(dataset, **changes):
    """The dataset with another first annotation."""
    first, *others = dataset.annotations
    return replace(dataset, annotations=Annotations.of([replace(first, **changes), *others]))


def failed(dataset, world, **given):
    report = validate(dataset, world.store, "d1", **given)
    return {f"{check.table}: {check.rule}" for check in report.checks if not check.passed}


def test_a_sound_dataset_passes(dataset, world):
    gates = (Gate("drift", "has not drifted", 0.9, "fine", low=0.5),)
    report = validate(dataset, world.store, "d1", gates, dataset, ["another region"])
    assert report.passed, report.checks
    report.require()
    assert len(report.checks) == RULES
    assert report.image_bytes.keys() == {image.key for image in dataset.images}
    assert {info.key for info in world.store.list("validation/")} == {
        f"validation/d1/{name}.html"
        for name in ("annotations", "categories", "gates", "images", "index", "scenes")
    }


BOX = (3, 4, 20, 30)


@dataclass
class Release:
    """What is broken: the dataset, what lies beside it in the store, and what it is compared to."""

    dataset: Dataset
    world: World
    given: dict[str, Any] = field(default_factory=dict)

    def first(self, **changes):
        """Breaks the first annotation."""
        self.dataset = with_first(self.dataset, **changes)

    def image(self, number: int = 0, **changes):
        """Breaks an image."""
        images = list(self.dataset.images)
        images[number] = replace(images[number], **changes)
        self.dataset = replace(self.dataset, images=tuple(images))

    def category(self, number: int = 0, **changes):
        """Breaks a category, and what the release before says of it stays."""
        self.given["before"] = self.dataset
        categories = list(self.dataset.categories)
        categories[number] = replace(categories[number], **changes)
        self.dataset = replace(self.dataset, categories=tuple(categories))

    def twice(self, **changes):
        """Puts the first annotation in once more, with other values."""
        first, *others = self.dataset.annotations
        again = replace(first, annotation_id=10_000, **changes)
        self.dataset = replace(self.dataset, annotations=Annotations.of([first, again, *others]))

    def stored(self, data: bytes):
        """Breaks an image's bytes in the store."""
        self.world.store.write(self.dataset.images[0].key, data)

    def in_another_split_before(self):
        """What was for training is for the test now."""
        self.given["before"] = self.dataset
        images = tuple(replace(image, split="test") for image in self.dataset.images)
        self.dataset = replace(self.dataset, images=images)

    def on_the_same_ground(self):
        """A second scene, on the ground of the first, is in another split."""
        self.world.add_scene(4)
        self.world.place("EPSG:32632", (0.5, 0.0, 500_000.0, 0.0, -0.5, 5_000_000.0))
        both = with_splits(assemble(self.world.state, self.world.config), {}, ReleaseConfig())
        scene_id = both.images[0].scene_id
        images = tuple(
            replace(image, split="test" if image.scene_id == scene_id else "train")
            for image in both.images
        )
        self.dataset = replace(both, images=images)

    def gate(self, **values):
        """A figure that does not reach what is asked."""
        self.given["gates"] = (Gate("drift", "has not drifted", 0.4, "it has", **values),)


Break = Callable[[Release], None]
A, I, S, C = "annotations: ", "images: ", "scenes: ", "categories: "  # noqa: E741

CORRUPTIONS: dict[str, tuple[Break, str]] = {
    "box left of the image": (
        lambda r: r.first(bbox_xyxy_px=(-1, 4, 20, 30)),
        A + "box begins inside: x",
    ),
    "box above the image": (
        lambda r: r.first(bbox_xyxy_px=(3, -2, 20, 30)),
        A + "box begins inside: y",
    ),
    "box right of the image": (
        lambda r: r.first(bbox_xyxy_px=(3, 4, 257, 30)),
        A + "box ends inside: x",
    ),
    "box below the image": (
        lambda r: r.first(bbox_xyxy_px=(3, 4, 20, 257)),
        A + "box ends inside: y",
    ),
    "box without a width": (
        lambda r: r.first(bbox_xyxy_px=(20, 4, 20, 30)),
        A + "box has a width",
    ),
    "box without a height": (
        lambda r: r.first(bbox_xyxy_px=(3, 30, 20, 30)),
        A + "box has a height",
    ),
    "box turned round": (lambda r: r.first(bbox_xyxy_px=(20, 4, 3, 30)), A + "box has a width"),
    "box beside its mask": (
        lambda r: r.first(bbox_xyxy_px=(0, 0, 2, 2)),
        A + "mask lies in its box",
    ),
    "no area": (lambda r: r.first(area_px=0), A + "mask has an area"),
    "area larger than the box": (
        lambda r: r.first(bbox_xyxy_px=BOX, area_px=443),
        A + "mask fits its box",
    ),
    "area of another mask": (lambda r: r.first(area_px=9), A + "mask covers its area"),
    "mask of another object": (lambda r: r.first(mask_rle="0a"), A + "mask covers its area"),
    "mask without an end": (lambda r: r.first(mask_rle="0P"), A + "mask covers its area"),
    "no mask": (lambda r: r.first(mask_rle=""), A + "mask covers its area"),
    "id twice": (lambda r: r.first(annotation_id=2), A + "ids are unique"),
    "object twice on an image": (lambda r: r.twice(), A + "an object is on an image once"),
    "no such image": (lambda r: r.first(image_id=99), A + "has its image"),
    "category nobody knows": (lambda r: r.first(category="ufo"), A + "is in the vocabulary"),
    "no category": (lambda r: r.first(category=None), A + "is named"),
    "number of another category": (
        lambda r: r.first(
            category_id=3 if next(iter(r.dataset.annotations)).category_id == 2 else 2
        ),
        A + "has its category's number",
    ),
    "no region": (lambda r: r.first(region_id=None), A + "has its region"),
    "score above one": (lambda r: r.first(score=1.2), A + "score is in [0, 1]"),
    "score below nought": (lambda r: r.first(score=-0.1), A + "score is in [0, 1]"),
    "score not a number": (lambda r: r.first(score=float("nan")), A + "is scored"),
    "no source": (lambda r: r.first(source=""), A + "names its source"),
    "rejected by a steward": (
        lambda r: r.given.update(rejected={next(iter(r.dataset.annotations)).region_id}),
        A + "no steward has rejected it",
    ),
    "no images": (
        lambda r: setattr(r, "dataset", Dataset((), Annotations.of(()), r.dataset.categories)),
        I + "there are images",
    ),
    "image number twice": (lambda r: r.image(image_id=2), I + "ids are unique"),
    "path twice": (
        lambda r: r.image(tile_id=r.dataset.images[1].tile_id),
        I + "paths are unique",
    ),
    "split nobody knows": (lambda r: r.image(split="dev"), I + "split is one, or none"),
    "image that is gone": (
        lambda r: r.world.store.delete(r.dataset.images[1].key),
        I + "is in the store",
    ),
    "image with another byte": (
        lambda r: r.stored(r.world.store.read(r.dataset.images[0].key) + b"\0"),
        I + "has the right checksum",
    ),
    "bytes that are no image": (lambda r: r.stored(b"no picture"), I + "has the right checksum"),
    "image of another width": (
        lambda r: r.image(window_px=(0, 0, 300, 256)),
        I + "has its tile's width",
    ),
    "image of another height": (
        lambda r: r.image(window_px=(0, 0, 256, 300)),
        I + "has its tile's height",
    ),
    "scene in two splits": (lambda r: r.image(split="test"), S + "is in one split"),
    "scene that changed sides": (Release.in_another_split_before, S + "stays in its split"),
    "scenes that share ground, in two splits": (
        Release.on_the_same_ground,
        S + "no other split is on its ground",
    ),
    "category number twice": (lambda r: r.category(category_id=2), C + "numbers are unique"),
    "category number nought": (lambda r: r.category(category_id=0), C + "numbers count from 1"),
    "category name twice": (
        lambda r: r.category(name=r.dataset.categories[1].name),
        C + "names are unique",
    ),
    "category without a name": (lambda r: r.category(name=""), C + "has a name"),
    "category with a new number": (lambda r: r.category(category_id=77), C + "keeps its number"),
    "number with a new category": (
        lambda r: r.category(name="ufo"),
        C + "no other had its number",
    ),
    "figure below its least": (lambda r: r.gate(low=0.5), "gates: has not drifted"),
    "figure above its most": (lambda r: r.gate(high=0.3), "gates: has not drifted"),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corrupted_release_is_caught(name, dataset, world):
    corrupt, rule = CORRUPTIONS[name]
    release = Release(dataset, world)
    corrupt(release)
    assert rule in failed(release.dataset, world, **release.given)


def test_every_rule_has_a_release_that_breaks_it(dataset, world):
    gates = (Gate("drift", "has not drifted", 0.9, "fine", low=0.5),)
    report = validate(dataset, world.store, "d1", gates)
    rules = {f"{check.table}: {check.rule}" for check in report.checks}
    assert rules == {rule for _, rule in CORRUPTIONS.values()}
    assert len(CORRUPTIONS) >= 25


def test_a_gate_that_only_warns_holds_nobody_up(dataset, world):
    gates = (Gate("drift", "has not drifted", 0.4, "it has", low=0.5, only_warns=True),)
    report = validate(dataset, world.store, "d1", gates)
    assert report.passed and report.warnings == ("gates: has not drifted: it has",)
    report.require()
    page = world.store.read("validation/d1/index.html").decode()
    assert "warning" in page


def test_a_number_that_is_free_again_is_nobodys(dataset, world):
    """Categories that went leave their number; only the same name may have it."""
    fewer = replace(dataset, categories=dataset.categories[1:])
    taken = replace(dataset, categories=(*dataset.categories[1:], Category(1, "ufo")))
    assert "categories: no other had its number" in failed(taken, world, before=dataset)
    assert not {rule for rule in failed(fewer, world, before=dataset) if rule.startswith(C)}


def test_the_error_says_what_broke_and_where_the_report_is(dataset, world):
    report = validate(with_first(dataset, score=1.2), world.store, "d2")
    with pytest.raises(ValidationFailedError) as caught:
        report.require()
    message = str(caught.value)
    assert "1 of 38" in message and "validation/d2/index.html" in message
    assert "score is in [0, 1]: 1 of" in message and "1.2" in message
    page = world.store.read("validation/d2/index.html").decode()
    assert "Validation failed" in page and "score is in [0, 1]" in page


def test_the_report_asks_nobody_else(dataset, world):
    validate(dataset, world.store, "d1")
    for info in world.store.list("validation/"):
        page = world.store.read(info.key).decode()
        assert "<script" not in page
        assert "https://" not in page and "http://" not in page, info.key


def test_the_report_does_not_grow_with_the_release(dataset, world):
    def size_of_report(dataset):
        assert validate(dataset, world.store, "d1").passed
        return sum(info.size_bytes for info in world.store.list("validation/"))

    image = dataset.images[-1]
    more = [replace(image, image_id=n, tile_id=f"tile-{n}") for n in range(100, 5_000)]
    larger = replace(dataset, images=(*dataset.images, *more))
    assert size_of_report(larger) < size_of_report(dataset) + 1_000


def test_nothing_is_written_to_the_home_folder(dataset, world, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    validate(dataset, world.store, "d1")
    assert not list(home.rglob("*"))


def test_names_are_shown_as_text(dataset, world):
    validate(with_first(dataset, category="<b>ufo</b>"), world.store, "d1")
    page = world.store.read("validation/d1/index.html").decode()
    assert "<b>ufo" not in page and "&lt;b&gt;ufo" in page


def test_an_image_that_was_checked_before_is_not_read_again(dataset, world):
    checked = validate(dataset, world.store, "d1")
    assert checked.passed
    image = dataset.images[0]
    data = world.store.read(image.key)
    known = {image.key: StoredImage(image.sha256, len(data), image.width_px, image.height_px)}
    world.store.write(image.key, data[:-1] + b"x")
    assert validate(dataset, world.store, "d1", checked=known).passed, "of the same size"
    world.store.write(image.key, data + b"x")
    assert failed(dataset, world, checked=known) == {"images: has the right checksum"}
    world.store.delete(image.key)
    assert failed(dataset, world, checked=known) == {"images: is in the store"}
