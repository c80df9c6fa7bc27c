"""The example for trainers, on releases that are too small to learn anything from."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.format_world import DatasetMaker, mask_of, pulled

PROGRAM = Path(__file__).parents[2] / "docs/train_detector.py"
SHIP = {"ship": (0, mask_of([(10, 10, 40, 30)]))}


@pytest.fixture
def train(monkeypatch, capsys):
    """Trains for a moment; gives what was printed."""
    spec = importlib.util.spec_from_file_location("train_detector", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "train_detector", module)
    spec.loader.exec_module(module)

    def run(release, epochs=5):
        options = [f"--epochs={epochs}", "--side=64"]
        monkeypatch.setattr(sys, "argv", [str(PROGRAM), str(release), *options])
        module.main()
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("others", [(), ("val",), ("test",), ("val", "test")])
def test_it_trains_with_what_there_is(train, tmp_path, others):
    maker = DatasetMaker()
    for split in ("train", *others):
        maker.add_scene(split, SHIP, split, windows=[(0, 0, 64, 64)])
    printed = train(pulled(maker.dataset, "coco", tmp_path))
    assert "1 images in train" in printed
    for split in ("val", "test"):
        assert (f"no image in {split}" in printed) == (split not in others)
        assert (f"{split}: AP" in printed) == (split in others)
    assert "epoch  5 of 5" in printed


def test_one_image_may_be_looked_at_once(train, tmp_path):
    maker = DatasetMaker()
    maker.add_scene("s", SHIP, "train", windows=[(0, 0, 64, 64)])
    assert "epoch  1 of 1" in train(pulled(maker.dataset, "coco", tmp_path), epochs=1)


@pytest.mark.parametrize(("split", "objects"), [("val", SHIP), ("train", {})])
def test_nothing_to_learn_from_is_told(train, tmp_path, split, objects):
    maker = DatasetMaker()
    maker.add_scene("s", objects, split)
    with pytest.raises(SystemExit, match="has no object in its split train"):
        train(pulled(maker.dataset, "coco", tmp_path))


def test_a_folder_without_coco_files_is_told(train, tmp_path):
    with pytest.raises(SystemExit, match=r"lae pull latest .* --format coco"):
        train(tmp_path)
