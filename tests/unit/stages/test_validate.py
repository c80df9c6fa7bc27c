"""Each expectation is seen to fail on a release that breaks it."""

from dataclasses import replace

import pytest

from lae_tasks.releases.assemble import assemble
from lae_tasks.stages.validate import ValidationFailedError, validate
from lae_tasks.storage import open_storage
from tests.release_world import World

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]


@pytest.fixture
def world(tmp_path):
    world = World(open_storage(str(tmp_path / "store")))
    world.add_scene(3)
    return world


@pytest.fixture
def dataset(world):
    return assemble(world.state, world.config)


def with_first(dataset, **changes):
    """The dataset with another first annotation."""
    first, *others = dataset.annotations
    return replace(dataset, annotations=(replace(first, **changes), *others))


def failed(dataset, world):
    report = validate(dataset, world.store, "d1")
    return {f"{check.table}: {check.rule}" for check in report.checks if not check.passed}


def test_a_sound_dataset_passes(dataset, world):
    report = validate(dataset, world.store, "d1")
    assert report.passed, report.checks
    report.require()
    assert len(report.checks) == 26
    assert report.image_bytes.keys() == {image.key for image in dataset.images}
    assert {info.key for info in world.store.list("validation/")} == {
        "validation/d1/annotations.html",
        "validation/d1/images.html",
        "validation/d1/index.html",
    }


BOX = (3, 4, 20, 30)

ANNOTATIONS = {
    "box left of the image": (
        {"bbox_xyxy_px": (-1, 4, 20, 30)},
        {"annotations: box begins inside: x"},
    ),
    "box above the image": (
        {"bbox_xyxy_px": (3, -2, 20, 30)},
        {"annotations: box begins inside: y"},
    ),
    "box right of the image": (
        {"bbox_xyxy_px": (3, 4, 257, 30)},
        {"annotations: box ends inside: x"},
    ),
    "box below the image": ({"bbox_xyxy_px": (3, 4, 20, 257)}, {"annotations: box ends inside: y"}),
    "box without a width": (
        {"bbox_xyxy_px": (20, 4, 20, 30)},
        {"annotations: box has a width", "annotations: mask fits its box"},
    ),
    "box without a height": (
        {"bbox_xyxy_px": (3, 30, 20, 30)},
        {"annotations: box has a height", "annotations: mask fits its box"},
    ),
    "box turned round": (
        {"bbox_xyxy_px": (20, 4, 3, 30)},
        {"annotations: box has a width", "annotations: mask fits its box"},
    ),
    "no area": ({"area_px": 0}, {"annotations: mask has an area"}),
    "area larger than the box": (
        {"bbox_xyxy_px": BOX, "area_px": 443},
        {"annotations: mask fits its box"},
    ),
    "id twice": ({"annotation_id": 2}, {"annotations: ids are unique"}),
    "no such image": ({"image_id": 99}, {"annotations: has its image"}),
    "category nobody knows": ({"category": "ufo"}, {"annotations: is in the vocabulary"}),
    "no category": ({"category": None}, {"annotations: is named"}),
    "no region": ({"region_id": None}, {"annotations: has its region"}),
    "score above one": ({"score": 1.2}, {"annotations: score is in [0, 1]"}),
    "score below nought": ({"score": -0.1}, {"annotations: score is in [0, 1]"}),
    "score not a number": ({"score": float("nan")}, {"annotations: is scored"}),
    "no source": ({"source": ""}, {"annotations: names its source"}),
}


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_a_broken_annotation_fails(name, dataset, world):
    changes, rules = ANNOTATIONS[name]
    broken = with_first(dataset, **({"bbox_xyxy_px": BOX, "area_px": 9} | changes))
    assert failed(broken, world) == rules


def test_an_object_twice_on_an_image_fails(dataset, world):
    first, second, *others = dataset.annotations
    twice = replace(second, region_id=first.region_id, image_id=first.image_id)
    broken = replace(dataset, annotations=(first, twice, *others))
    assert failed(broken, world) == {"annotations: an object is on an image once"}


def test_a_missing_image_fails(dataset, world):
    world.store.delete(dataset.images[1].key)
    assert failed(dataset, world) == {"images: is in the store"}


def test_changed_image_bytes_fail(dataset, world):
    key = dataset.images[1].key
    world.store.write(key, world.store.read(key) + b"\0")
    assert failed(dataset, world) == {"images: has the right checksum"}


def test_an_image_of_another_size_fails(dataset, world):
    image = dataset.images[0]
    wider = replace(image, window_px=(*image.window_px[:2], 300, 280))
    broken = replace(dataset, images=(wider, *dataset.images[1:]))
    assert failed(broken, world) == {
        "images: has its tile's width",
        "images: has its tile's height",
    }


def test_bytes_that_are_no_image_fail(dataset, world):
    world.store.write(dataset.images[0].key, b"not a picture")
    assert failed(dataset, world) == {"images: has the right checksum"}


def test_an_image_twice_fails(dataset, world):
    broken = replace(dataset, images=(*dataset.images, dataset.images[0]))
    assert failed(broken, world) == {"images: ids are unique", "images: paths are unique"}


def test_no_images_fail(world, dataset):
    assert failed(replace(dataset, images=(), annotations=()), world) == {
        "images: there are images"
    }


def test_the_error_says_what_broke_and_where_the_report_is(dataset, world):
    report = validate(with_first(dataset, score=1.2), world.store, "d2")
    with pytest.raises(ValidationFailedError) as caught:
        report.require()
    message = str(caught.value)
    assert "1 of 26" in message and "validation/d2/index.html" in message
    assert "score is in [0, 1]: 1 of" in message and "1.2" in message
    page = world.store.read("validation/d2/index.html").decode()
    assert "Validation failed" in page and "score is in [0, 1]" in page


def test_the_report_asks_nobody_else(dataset, world):
    validate(dataset, world.store, "d1")
    for info in world.store.list("validation/"):
        page = world.store.read(info.key).decode()
        assert "<script" not in page
        assert "https://" not in page and "http://" not in page, info.key


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
