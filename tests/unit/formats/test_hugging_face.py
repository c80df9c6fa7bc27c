import io

import datasets
import numpy as np
import PIL.Image
import pytest
from pycocotools import mask as coco_mask

from lae_tasks.formats import hugging_face
from tests.format_world import (
    NAMES,
    DatasetMaker,
    awkward_dataset,
    drawn,
    empty_dataset,
    files,
    png,
    pulled,
)


@pytest.fixture(scope="module")
def dataset():
    return awkward_dataset()


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Opens a release as a user does, with a cache that goes, and asks nobody."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)

    def opened(root):
        return datasets.load_dataset(str(root / "hugging_face"), cache_dir=str(tmp_path / "cache"))

    return opened


def by_split(dataset):
    found = {"train": [], "validation": [], "test": []}
    for image, annotations in dataset.by_image():
        if image.split:
            found[hugging_face.NAME_OF[image.split]].append((image, annotations))
    return found


def test_load_dataset_gives_the_splits_with_pictures_and_objects(dataset, tmp_path, load):
    opened = load(pulled(dataset, "hugging_face", tmp_path / "release"))
    wanted = by_split(dataset)
    assert {name: len(rows) for name, rows in opened.items()} == {
        name: len(images) for name, images in wanted.items()
    }
    for name, rows in opened.items():
        label = rows.features["objects"]["category"].feature
        assert label.names == list(NAMES)
        for row, (image, annotations) in zip(rows, wanted[name], strict=True):
            expected = PIL.Image.open(io.BytesIO(png(image)))
            assert np.array_equal(np.asarray(row["image"]), np.asarray(expected))
            assert (row["width"], row["height"]) == row["image"].size == expected.size
            assert (row["image_id"], row["tile_id"]) == (image.image_id, image.tile_id)
            objects = row["objects"]
            assert [label.int2str(n) for n in objects["category"]] == [
                each.category for each in annotations
            ]
            assert objects["region_id"] == [each.region_id for each in annotations]
            assert objects["area"] == [each.area_px for each in annotations]
            for box, rle, each in zip(objects["bbox"], objects["rle"], annotations, strict=True):
                x, y, width, height = box
                assert (x, y, x + width, y + height) == each.bbox_xyxy_px
                size = [row["height"], row["width"]]
                mask = coco_mask.decode({"size": size, "counts": rle.encode()})
                assert np.array_equal(mask, drawn(each, image))


def test_large_splits_are_several_shards(tmp_path, load, monkeypatch):
    maker = DatasetMaker()
    for number in range(6):
        maker.add_scene(f"s{number}", {}, "train", windows=[(0, 0, 64, 64)])
    size = len(png(maker.images[0]))
    monkeypatch.setattr(hugging_face, "SHARD_BYTES", int(2.5 * size))
    root = pulled(maker.dataset, "hugging_face", tmp_path / "release")
    shards = [name for name in files(root) if name.endswith(".parquet")]
    assert shards == [f"hugging_face/data/train-{n:05d}.parquet" for n in range(3)]
    opened = load(root)
    assert list(opened) == ["train"]
    assert opened["train"]["tile_id"][:] == [image.tile_id for image in maker.images]


def test_the_bytes_are_the_same_each_time(dataset, tmp_path):
    one, two = (files(pulled(dataset, "hugging_face", tmp_path / each)) for each in ("one", "two"))
    assert one == two


def test_nothing_makes_no_shard(tmp_path):
    root = pulled(empty_dataset(), "hugging_face", tmp_path)
    assert set(files(root)) == {"hugging_face/README.md"}
