import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from lae_tasks.config import ReleaseConfig
from lae_tasks.formats import coco, odvg
from lae_tasks.releases.assemble import assemble
from lae_tasks.releases.dataset import Dataset
from lae_tasks.storage import open_storage
from tests.release_world import World


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    world = World(open_storage(str(tmp_path_factory.mktemp("store"))))
    world.add_scene(3)
    return assemble(world.state, world.config)


def test_pycocotools_opens_the_file(dataset, tmp_path, capsys):
    path = tmp_path / "instances.json"
    path.write_bytes(coco.encode(dataset, ReleaseConfig(title="Häfen | ports")))
    opened = COCO(str(path))
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


def test_the_bytes_are_the_same_each_time(dataset):
    config = ReleaseConfig()
    assert coco.encode(dataset, config) == coco.encode(dataset, config)


def test_an_empty_data_set_is_a_file_too():
    told = json.loads(coco.encode(Dataset((), (), ()), ReleaseConfig()))
    assert told["images"] == told["annotations"] == told["categories"] == []


def test_odvg_says_the_same_as_coco(dataset):
    lines = [json.loads(line) for line in odvg.encode(dataset).decode().splitlines()]
    labels = json.loads(odvg.encode_label_map(dataset))
    assert labels == {str(n): c.name for n, c in enumerate(dataset.categories)}
    told = json.loads(coco.encode(dataset, ReleaseConfig()))
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
