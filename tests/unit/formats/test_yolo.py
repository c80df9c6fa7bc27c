import os
import random
from pathlib import Path

import numpy as np
import pytest
import shapely

from lae_tasks.formats import yolo
from lae_tasks.releases.pull import LABELS_CACHE
from tests.format_world import (
    NAMES,
    DatasetMaker,
    awkward_dataset,
    drawn,
    empty_dataset,
    files,
    iou,
    mask_of,
    pulled,
)


@pytest.fixture(scope="module")
def dataset():
    return awkward_dataset()


@pytest.fixture(scope="module")
def ultralytics(tmp_path_factory):
    """Ultralytics, which asks nobody and writes its settings to a folder that goes."""
    settings = {"YOLO_CONFIG_DIR": str(tmp_path_factory.mktemp("ultralytics")), "YOLO_OFFLINE": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setitem(os.environ, name, value)
        import ultralytics
        import ultralytics.cfg
        import ultralytics.data.dataset
        import ultralytics.data.utils

        ultralytics.settings.update(sync=False)
        yield ultralytics


@pytest.fixture(scope="module")
def root(dataset, tmp_path_factory):
    return pulled(dataset, "yolo", tmp_path_factory.mktemp("release"))


def labels(ultralytics, root, split, task):
    """What a trainer gets of each image, by the image's name."""
    told = ultralytics.data.utils.check_det_dataset(root / yolo.PATH, autodownload=False)
    opened = ultralytics.data.dataset.YOLODataset(
        img_path=told[split], data=told, task=task, imgsz=64, augment=False, rect=False
    )
    assert [path.count("labels") for path in opened.label_files] == [1] * len(opened.label_files)
    return {Path(each["im_file"]).stem: each for each in opened.labels}


def of_images(dataset, split):
    found = {}
    for image, annotations in dataset.by_image():
        if image.split == split:
            found[image.tile_id] = (image, annotations)
    return found


@pytest.mark.parametrize("task", ["detect", "segment", "obb"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_ultralytics_reads_each_split_for_each_task(dataset, ultralytics, root, split, task):
    found, wanted = labels(ultralytics, root, split, task), of_images(dataset, split)
    assert (root / LABELS_CACHE).exists()
    assert found.keys() == wanted.keys()
    for name, (image, annotations) in wanted.items():
        read = found[name]
        classes = [dataset.categories[int(n)].name for n in read["cls"][:, 0]]
        assert classes == [each.category for each in annotations]
        middle, size = read["bboxes"][:, :2] * 64, read["bboxes"][:, 2:] * 64
        boxes = np.hstack([middle - size / 2, middle + size / 2])
        expected = np.reshape([each.bbox_xyxy_px for each in annotations], (-1, 4))
        assert np.abs(boxes - expected).max(initial=0) < 1e-3
        assert len(read["segments"]) == len(annotations)
        assert (image.height_px, image.width_px) == read["shape"]


def test_polygons_are_the_masks(dataset, ultralytics, root):
    found = labels(ultralytics, root, "train", "segment")
    for name, (image, annotations) in of_images(dataset, "train").items():
        for annotation, corners in zip(annotations, found[name]["segments"], strict=True):
            mask = drawn(annotation, image)
            shape = shapely.Polygon(corners * 64).buffer(0.01).buffer(-0.01)
            hole = 60 if annotation.region_id == "with-hole" else 0
            assert shape.area == pytest.approx(mask.sum() + hole, abs=0.1)
            # As a trainer draws it, borders included.
            pixels = np.round(corners * 64).astype(np.float32)
            draw = ultralytics.data.utils.polygon2mask((64, 64), [pixels.ravel()]).astype(bool)
            assert draw[mask].all()
            if annotation.area_px > 300 and not hole:
                assert iou(draw, mask) > 0.85


def test_a_trainer_trains_on_what_it_names(ultralytics, root):
    told = ultralytics.data.utils.check_det_dataset(root / yolo.PATH, autodownload=False)
    assert list(told["names"].values()) == list(NAMES)
    config = ultralytics.cfg.get_cfg()
    for seed in (random.seed, np.random.seed):  # of how it augments
        seed(0)
    opened = ultralytics.data.build.build_yolo_dataset(config, told["train"], 2, told)
    batch = opened.collate_fn([opened[n] for n in range(len(opened))])
    assert batch["img"].shape[1:] == (3, 640, 640)
    assert len(batch["cls"]) > 5


def test_an_image_in_no_split_has_labels_and_is_in_no_list(dataset, root):
    (image,) = (image for image in dataset.images if image.split is None)
    lists = [(root / f"yolo/{split}.txt").read_text() for split in ("train", "val", "test")]
    assert not any(image.tile_id in text for text in lists)
    assert (root / f"labels/{image.tile_id}.txt").read_text().startswith("1 ")
    assert (root / "labels/empty-0.txt").read_text() == ""


def test_parts_are_joined_by_lines_that_cover_nothing():
    squares = [np.array([[x, 0], [x + 2, 0], [x + 2, 2], [x, 2]]) for x in (0, 10, 5)]
    ring = yolo.joined(squares)
    assert shapely.Polygon(ring).buffer(0.001).buffer(-0.001).area == pytest.approx(12, abs=0.1)
    assert {tuple(corner) for corner in ring} == {tuple(c) for s in squares for c in s}


def test_many_parts_are_joined():
    """So many that a search through all that is before, for each part, would take minutes."""
    places = np.stack(np.meshgrid(np.arange(0, 600, 4), np.arange(0, 600, 4)), axis=-1)
    squares = [np.add(place, [[0, 0], [2, 0], [2, 2], [0, 2]]) for place in places.reshape(-1, 2)]
    ring = yolo.joined(squares)
    assert shapely.Polygon(ring).area == 4 * len(squares)
    # Each square's border, and to all but the first of them a line of the gap between, and back.
    assert shapely.Polygon(ring).length == 8 * len(squares) + 2 * 2 * (len(squares) - 1)
    assert np.array_equal(ring, yolo.joined(squares))


def test_an_island_in_a_hole_is_filled_with_it(ultralytics, tmp_path):
    mask = mask_of([(4, 4, 60, 60), (-10, 10, 54, 54), (20, 20, 40, 40), (-25, 25, 30, 30)])
    maker = DatasetMaker()
    maker.add_scene("s", {"o": (0, mask)}, "train", windows=[(0, 0, 64, 64)])
    root = pulled(maker.dataset, "yolo", tmp_path)
    _, *corners = map(float, (root / "labels/s-0.txt").read_text().split())
    filled = ultralytics.data.utils.polygon2mask((64, 64), [np.array(corners) * 64])
    assert filled[5:59, 5:59].all()


def test_the_bytes_are_the_same_each_time(dataset, tmp_path):
    one, two = (files(pulled(dataset, "yolo", tmp_path / each)) for each in ("one", "two"))
    assert one == two


def test_nothing_makes_empty_lists(tmp_path):
    found = files(pulled(empty_dataset(), "yolo", tmp_path))
    assert set(found) == {"yolo/data.yaml", "yolo/train.txt", "yolo/val.txt"}
    assert found["yolo/train.txt"] == b""
