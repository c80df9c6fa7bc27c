import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from lae_tasks.config import ReleaseConfig
from lae_tasks.formats import coco, odvg
from lae_tasks.formats.writing import Source, write
from lae_tasks.releases.assemble import assemble
from lae_tasks.releases.splits import with_splits
from lae_tasks.storage import open_storage
from tests.format_world import awkward_dataset, empty_dataset, files, pulled
from tests.release_world import World


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    world = World(open_storage(str(tmp_path_factory.mktemp("store"))))
    world.add_scene(3)
    return with_splits(assemble(world.state, world.config), {}, world.config.release)


def written(dataset, root):
    """The folder with COCO and ODVG in it."""
    config = ReleaseConfig(title="Häfen | ports")
    write(Source(dataset, config, lambda image: b""), ["coco", "odvg"], root)
    return root


def read(root, path):
    return json.loads((root / path).read_text("utf-8"))


def test_pycocotools_opens_the_file(dataset, tmp_path, capsys):
    root = written(dataset, tmp_path)
    opened = COCO(str(root / coco.PATH))
    assert read(root, coco.PATH)["info"]["description"] == "Häfen | ports"
    assert len(opened.getAnnIds()) == len(dataset.annotations) > 5
    assert len(opened.getImgIds()) == len(dataset.images)
    assert [c["name"] for c in opened.loadCats(opened.getCatIds())] == [
        category.name for category in dataset.categories
    ]
    for annotation in opened.loadAnns(opened.getAnnIds()):
        mask = opened.annToMask(annotation)
        assert mask.sum() == annotation["area"]
        x, y, width, height = annotation["bbox"]
        rows, columns = np.nonzero(mask)
        assert (columns.min(), rows.min()) == (x, y)
        assert (columns.max() + 1 - x, rows.max() + 1 - y) == (width, height)
    capsys.readouterr()


def test_a_file_of_a_split_has_its_images_with_the_same_ids(tmp_path):
    dataset = awkward_dataset()
    root = written(dataset, tmp_path)
    whole = read(root, coco.PATH)
    for split in ("train", "val", "test"):
        told = read(root, f"coco/instances_{split}.json")
        images = [image for image in whole["images"] if image["split"] == split]
        ids = {image["id"] for image in images}
        assert told["images"] == images
        assert told["categories"] == whole["categories"]
        assert told["annotations"] == [
            each for each in whole["annotations"] if each["image_id"] in ids
        ]
        lines = (root / f"odvg/odvg_{split}.jsonl").read_text("utf-8").splitlines()
        assert [json.loads(line)["filename"] for line in lines] == [
            image["file_name"] for image in images
        ]
    assert sum(image["split"] is None for image in whole["images"]) == 1


@pytest.mark.parametrize("name", ["coco", "odvg"])
def test_the_bytes_are_the_same_each_time(dataset, tmp_path, name):
    one, two = (files(written(dataset, _made(tmp_path / each))) for each in ("one", "two"))
    assert one == two
    assert any(path.startswith(name) for path in one)


def _made(folder):
    folder.mkdir()
    return folder


def test_an_empty_data_set_is_a_file_too(tmp_path):
    told = read(pulled(empty_dataset(), "coco", tmp_path), coco.PATH)
    assert told["images"] == told["annotations"] == told["categories"] == []


def test_odvg_says_the_same_as_coco(dataset, tmp_path):
    root = written(dataset, tmp_path)
    lines = [json.loads(line) for line in (root / odvg.PATH).read_text("utf-8").splitlines()]
    labels = read(root, odvg.LABEL_MAP_PATH)
    assert labels == {str(n): c.name for n, c in enumerate(dataset.categories)}
    told = read(root, coco.PATH)
    assert [(line["filename"], line["width"], line["height"]) for line in lines] == [
        (image["file_name"], image["width"], image["height"]) for image in told["images"]
    ]
    boxes = [
        (line["filename"], *instance["bbox"], instance["category"])
        for line in lines
        for instance in line["detection"]["instances"]
    ]
    names = {image["id"]: image["file_name"] for image in told["images"]}
    expected = [
        (names[a["image_id"]], x, y, x + w, y + h, labels[str(a["category_id"] - 1)])
        for a in told["annotations"]
        for x, y, w, h in [a["bbox"]]
    ]
    assert boxes == expected
    for line in lines:
        for instance in line["detection"]["instances"]:
            assert labels[str(instance["label"])] == instance["category"]
