import json
import os
import shutil

import numpy as np
import pytest
import shapely

from lae_tasks.annotations import dota as reader
from lae_tasks.formats import dota
from lae_tasks.storage import open_storage
from tests.format_world import (
    DatasetMaker,
    awkward_dataset,
    drawn,
    empty_dataset,
    files,
    pulled,
)


@pytest.fixture(scope="module")
def dataset():
    return awkward_dataset()


def boxes_of(text):
    return [np.array(line.split()[:8], dtype=float).reshape(4, 2) for line in text.splitlines()]


def tilted(angle, middle=(32, 32), half=(20, 6)):
    """The mask of a rectangle that is turned: bool (64, 64)."""
    y, x = np.mgrid[:64, :64] + 0.5
    x, y = x - middle[0], y - middle[1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (abs(along) <= half[0]) & (abs(across) <= half[1])


def test_our_reader_reads_what_is_written(dataset, tmp_path):
    root = pulled(dataset, "dota", tmp_path)
    names = json.loads((root / "dota/categories.json").read_text("utf-8"))
    storage = open_storage(str(root))
    for image, annotations in dataset.by_image():
        read = reader.read(storage, dota.PATH, image.path, image.width_px, image.height_px)
        assert [names[each.category] for each in read] == [each.category for each in annotations]
        assert not any(each.difficult for each in read)
        text = (root / f"{dota.PATH}/{image.tile_id}.txt").read_text("utf-8")
        for corners, annotation in zip(boxes_of(text), annotations, strict=True):
            box, mask = shapely.Polygon(corners), drawn(annotation, image)
            assert shapely.is_ccw(box.exterior)  # y goes down: clockwise as seen
            rows, columns = np.nonzero(mask)
            assert shapely.covers(box.buffer(0.02), shapely.points(columns + 0.5, rows + 0.5)).all()
            x0, y0, x1, y1 = annotation.bbox_xyxy_px
            assert box.area <= (x1 - x0) * (y1 - y0) + 0.1
            assert corners.min() >= 0
            assert corners.max() <= 64


@pytest.mark.parametrize("angle", [0.0, 0.3, 0.8, 1.5, 2.4])
def test_a_box_is_turned_as_its_object(tmp_path, angle):
    maker = DatasetMaker()
    maker.add_scene("a", {"r": (0, tilted(angle))}, "train", windows=[(0, 0, 64, 64)])
    root = pulled(maker.dataset, "dota", tmp_path)
    (corners,) = boxes_of((root / "dota/labelTxt/a-0.txt").read_text())
    sides = np.roll(corners, -1, axis=0) - corners
    lengths = np.hypot(*sides.T)
    assert sorted(lengths) == pytest.approx([12, 12, 40, 40], abs=1.5)
    x, y = sides[lengths.argmax()]
    turned = (np.arctan2(y, x) - angle) % np.pi
    assert min(turned, np.pi - turned) < 0.06


def test_ultralytics_converts_it(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setitem(os.environ, "YOLO_OFFLINE", "1")
    from ultralytics.data.converter import convert_dota_to_yolo_obb

    # It knows DOTA's own categories only, and has a folder for each split.
    maker = DatasetMaker(["plane", "storage tank"])
    window = [(0, 0, 64, 64)]
    objects = {"r": (1, tilted(0.5)), "s": (0, tilted(2.0, (10, 50), (20, 4)))}
    maker.add_scene("a", objects, "train", windows=window)
    maker.add_scene("b", {"t": (0, tilted(0.1))}, "val", windows=window)
    root = pulled(maker.dataset, "dota", tmp_path / "release")
    theirs = tmp_path / "DOTA"
    for split in ("train", "val"):
        (theirs / "images" / split).mkdir(parents=True)
        (theirs / "labels" / f"{split}_original").mkdir(parents=True)
        for name in (root / f"dota/{split}.txt").read_text().split():
            shutil.copy(root / f"images/{name}.png", theirs / "images" / split)
            shutil.copy(root / f"dota/labelTxt/{name}.txt", theirs / f"labels/{split}_original")
    convert_dota_to_yolo_obb(str(theirs))
    converted = [
        line.split() for line in (theirs / "labels/train/a-0.txt").read_text().splitlines()
    ]
    assert [line[0] for line in converted] == ["2", "0"]
    corners = np.array([line[1:] for line in converted], dtype=float)
    assert corners.min() >= 0
    assert corners.max() <= 1
    written = boxes_of((root / "dota/labelTxt/a-0.txt").read_text())
    assert np.abs(corners.reshape(-1, 4, 2) * 64 - written).max() < 0.001
    assert (theirs / "labels/val/b-0.txt").read_text().startswith("0 ")


def test_lists_and_files_of_what_is_in_no_split_or_has_no_objects(dataset, tmp_path):
    root = pulled(dataset, "dota", tmp_path)
    lists = {split: (root / f"dota/{split}.txt").read_text().split() for split in ("val", "train")}
    assert lists["val"] == ["no-place-0", "no-place-48"]
    assert lists["train"] == ["harbour-0", "harbour-48", "empty-0", "empty-48"]
    assert (
        root / "dota/labelTxt/in-none-0.txt"
    ).read_text() == '2 2 9 2 9 30 2 30 Häfen-"Süd"-|-ports 0\n'
    assert (root / "dota/labelTxt/empty-0.txt").read_text() == ""


def test_names_without_spaces_differ_as_before():
    names = ["storage tank", "storage-tank", "storage  tank", "storage-tank-2", " "]
    found = dota.dota_names(names)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert found["storage tank"] == "storage-tank"
    assert not any(" " in each for each in found.values())


def test_the_bytes_are_the_same_each_time(dataset, tmp_path):
    one, two = (files(pulled(dataset, "dota", tmp_path / each)) for each in ("one", "two"))
    assert one == two


def test_nothing_makes_no_labels(tmp_path):
    assert set(files(pulled(empty_dataset(), "dota", tmp_path))) == {"dota/categories.json"}
