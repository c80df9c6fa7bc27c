import gc
import io
import json
import subprocess
import sys
import tarfile
import warnings

import numpy as np
import PIL.Image
import pytest
import webdataset as wds
from pycocotools import mask as coco_mask

from lae_tasks.formats import webdataset
from tests.format_world import (
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


def samples(root, shards):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # WebDataset closes no shard that it read
        opened = wds.WebDataset(str(root / "webdataset" / shards), shardshuffle=False)
        found = list(opened.decode("rgb8").to_tuple("__key__", "png", "json"))
        del opened
        gc.collect()
    return found


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_webdataset_reads_pictures_and_objects(dataset, tmp_path, split):
    read = samples(pulled(dataset, "webdataset", tmp_path), f"{split}-{{000000..000000}}.tar")
    wanted = [each for each in dataset.by_image() if each[0].split == split]
    assert len(read) == len(wanted)
    number_of = {category.name: category.category_id for category in dataset.categories}
    for (key, picture, told), (image, annotations) in zip(read, wanted, strict=True):
        assert key == told["tile_id"] == image.tile_id
        assert np.array_equal(picture, np.asarray(PIL.Image.open(io.BytesIO(png(image)))))
        assert picture.shape[:2] == (told["height"], told["width"])
        for entry, annotation in zip(told["annotations"], annotations, strict=True):
            x, y, width, height = entry["bbox"]
            assert (x, y, x + width, y + height) == annotation.bbox_xyxy_px
            assert entry["category"] == annotation.category
            assert entry["category_id"] == number_of[entry["category"]]
            assert entry["region_id"] == annotation.region_id
            assert np.array_equal(coco_mask.decode(entry["segmentation"]), drawn(annotation, image))


def test_large_splits_are_several_shards(tmp_path, monkeypatch):
    maker = DatasetMaker()
    for number in range(5):
        maker.add_scene(f"s{number}", {}, "train", windows=[(0, 0, 64, 64)])
    monkeypatch.setattr(webdataset, "SHARD_BYTES", int(2.5 * len(png(maker.images[0]))))
    root = pulled(maker.dataset, "webdataset", tmp_path / "100%d")
    shards = sorted(path.name for path in (root / "webdataset").glob("*.tar"))
    assert shards == [f"train-{number:06d}.tar" for number in range(3)]
    read = samples(root, "train-{000000..000002}.tar")
    assert [key for key, *_ in read] == [image.tile_id for image in maker.images]


def test_images_in_no_split_are_not_in(dataset, tmp_path):
    root = pulled(dataset, "webdataset", tmp_path)
    names = []
    for shard in (root / "webdataset").glob("*.tar"):
        with tarfile.open(shard) as opened:
            names += opened.getnames()
    assert "harbour-0.png" in names
    assert not [name for name in names if name.startswith("in-none")]
    assert json.loads((root / "webdataset/categories.json").read_text("utf-8"))["plane"] == 4


def test_the_bytes_are_the_same_each_time(dataset, tmp_path):
    one, two = (files(pulled(dataset, "webdataset", tmp_path / each)) for each in ("one", "two"))
    assert one == two


def test_nothing_makes_no_shard(tmp_path):
    found = files(pulled(empty_dataset(), "webdataset", tmp_path))
    assert set(found) == {"webdataset/categories.json"}


def test_writing_needs_no_torch():
    code = "import sys, lae_tasks.formats.webdataset; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
