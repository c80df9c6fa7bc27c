"""Prompts: what data sets say of scenes, with ids, places and problems."""

import json
from pathlib import Path

import pytest

from lae_tasks.config import AnnotationSource
from lae_tasks.contracts import PromptType, Scene
from lae_tasks.errors import ConfigError
from lae_tasks.regions.prompts import (
    is_annotation,
    read_prompts,
    require_annotations,
    require_labels,
)
from lae_tasks.storage import LocalStorage
from tests.records import make_scene

DOTA = AnnotationSource(format="dota", location="dota/labelTxt", images="dota/images")


@pytest.fixture
def raw(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(tmp_path)
    lines = ["10 10 30 10 30 20 10 20 ship 0", "10 10 30 10 30 20 10 20 ship 0"]
    lines.append("500 500 510 500 510 510 500 510 ship 1")  # outside
    storage.write("dota/labelTxt/P0001.txt", "\n".join(lines).encode())
    return storage


def scene_at(key: str) -> Scene:
    return make_scene(raw_key=key)


def test_each_annotation_is_a_prompt_of_its_own(raw: LocalStorage) -> None:
    found = read_prompts(raw, [DOTA], scene_at("dota/images/P0001.png"))
    assert found.problem is None
    assert found.unusable == 1
    first, second = found.prompts
    assert first.bbox_xyxy_px == second.bbox_xyxy_px == (10, 10, 30, 20)
    assert (first.category, first.prompt_type) == ("ship", PromptType.BOX)
    assert first.prompt_id != second.prompt_id
    assert found == read_prompts(raw, [DOTA], scene_at("dota/images/P0001.png"))


def test_a_name_that_is_corrected_makes_no_other_prompt(raw: LocalStorage) -> None:
    scene = scene_at("dota/images/P0001.png")
    before = read_prompts(raw, [DOTA], scene).prompts
    text = raw.read("dota/labelTxt/P0001.txt").replace(b"ship", b"barge")
    raw.write("dota/labelTxt/P0001.txt", text)
    after = read_prompts(raw, [DOTA], scene).prompts
    assert [p.prompt_id for p in after] == [p.prompt_id for p in before]
    assert {p.category for p in after} == {"barge"}


def test_a_source_where_nothing_lies_is_told(raw: LocalStorage) -> None:
    require_annotations(raw, [DOTA])
    for wrong in ("dota/labels", "dota/label"):  # the second begins as the folder does
        source = AnnotationSource(format="dota", location=wrong)
        with pytest.raises(ConfigError, match=f"'{wrong}': nothing lies there"):
            require_annotations(raw, [source])
    raw.write("all.json", b"{}")
    require_annotations(raw, [AnnotationSource(format="coco", location="all.json")])
    require_annotations(raw, [AnnotationSource(format="yolo", location="")])


DIOR = {"format": "voc", "location": "DIOR/Annotations", "images": "DIOR/JPEGImages"}
COCO = {"format": "coco", "location": "DIOR/all.json", "images": "DIOR/JPEGImages"}


def require(raw: LocalStorage, source: dict[str, str], **values: str) -> None:
    keys = {info.key for info in raw.list()}
    scenes = {key for key in keys if key.endswith(".jpg")}
    require_labels(raw, [AnnotationSource.model_validate(source | values)], keys, scenes)


@pytest.fixture
def dior(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(tmp_path)
    for key in ("DIOR/Annotations/00002.xml", *(f"DIOR/JPEGImages/0000{n}.jpg" for n in "123")):
        storage.write(key, b"")
    images = [{"id": 2, "file_name": "JPEGImages/00002.jpg"}]
    told = {"images": images, "annotations": [], "categories": []}
    storage.write("DIOR/all.json", json.dumps(told).encode())
    return storage


@pytest.mark.parametrize("source", [DIOR, COCO])
def test_one_scene_of_which_something_is_said_is_enough(
    dior: LocalStorage, source: dict[str, str]
) -> None:
    require(dior, source)
    require(dior, source, images="")
    require_labels(dior, [AnnotationSource.model_validate(source | {"images": ""})], set(), set())


@pytest.mark.parametrize(
    ("source", "wrong", "message"),
    [
        (DIOR, {"location": "DIOR"}, "there is no 'DIOR/00001.xml', but 'DIOR/Annotations/00002"),
        (
            DIOR,
            {"format": "dota"},
            "for 'DIOR/JPEGImages/00001.jpg', there is no '.*/00001.txt'; c",
        ),
        (DIOR, {"images": "DIOR/JPEGImage"}, "images 'DIOR/JPEGImage': no scene lies there in /"),
        (
            COCO,
            {"location": "DIOR"},
            "for 'DIOR/JPEGImages/00001.jpg', there is no 'DIOR'; ",
        ),
        (COCO, {"images": "DIOR/JPEGImages/00001.jpg"}, "the file does not list it; correct"),
    ],
)
def test_a_source_that_says_nothing_of_any_scene_is_told(
    dior: LocalStorage, source: dict[str, str], wrong: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        require(dior, source | wrong)


def test_a_file_that_cannot_be_read_is_told_of_each_scene_not_here(dior: LocalStorage) -> None:
    dior.write("DIOR/all.json", b"{")
    require(dior, COCO)


def test_a_source_speaks_of_its_own_images_only(raw: LocalStorage) -> None:
    assert read_prompts(raw, [DOTA], scene_at("other/P0001.png")).prompts == ()
    assert read_prompts(raw, [DOTA], scene_at("dota/images/P0002.png")).prompts == ()


def test_several_sources_add_up_and_points_are_points(raw: LocalStorage) -> None:
    coco = {
        "images": [{"id": 1, "file_name": "P0001.png", "width": 200, "height": 100}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "keypoints": [50, 60, 2]}],
        "categories": [{"id": 1, "name": "palm"}],
    }
    raw.write("points.json", json.dumps(coco).encode())
    sources = [DOTA, AnnotationSource(format="coco", location="points.json")]
    found = read_prompts(raw, sources, scene_at("dota/images/P0001.png"))
    assert [p.prompt_type.value for p in found.prompts] == ["box", "box", "point"]


def test_what_cannot_be_read_is_a_problem_not_an_exception(raw: LocalStorage) -> None:
    raw.write("dota/labelTxt/P0001.txt", b"10 10 thirty 10 30 20 10 20 ship 0")
    found = read_prompts(raw, [DOTA], scene_at("dota/images/P0001.png"))
    assert found.prompts == ()
    assert found.problem is not None
    assert "dota/labelTxt/P0001.txt" in found.problem
    assert "thirty" in found.problem


def test_files_of_annotations_are_known_from_images() -> None:
    coco = AnnotationSource(format="coco", location="all/instances.json")
    beside = AnnotationSource(format="voc", location="voc")
    assert is_annotation("dota/labelTxt/P0001.txt", [DOTA])
    assert is_annotation("all/instances.json", [coco])
    assert is_annotation("voc/a.xml", [beside])
    assert not is_annotation("voc/a.jpg", [beside])
    assert not is_annotation("dota/images/P0001.png", [DOTA, coco])
    assert not is_annotation("dota/labelTxt2/P0001.txt", [DOTA])
