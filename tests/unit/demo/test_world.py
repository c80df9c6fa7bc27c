import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pycocotools import mask as coco_mask

from demo.scenes import CATEGORIES, generate_scene, write_world
from demo.scenes.world import GSD_M, scene_seed


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    written: list[int] = []
    truth = write_world(folder, 2, 600, seed=4, progress=written.append)
    assert truth == folder / "truth.json"
    assert written == [1, 2]
    return folder


def _truth(world: Path) -> dict[str, Any]:
    truth: dict[str, Any] = json.loads((world / "truth.json").read_text())
    return truth


def test_same_arguments_same_bytes(world: Path, tmp_path: Path) -> None:
    write_world(tmp_path, 2, 600, seed=4)

    def digests(folder: Path) -> dict[str, str]:
        files = sorted(folder.iterdir())
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    assert digests(world) == digests(tmp_path)
    assert list(digests(world)) == ["scene_0000.tif", "scene_0001.tif", "truth.json"]


def test_geotiffs_are_georeferenced_and_apart(world: Path) -> None:
    bounds = []
    for index in range(2):
        with rasterio.open(world / f"scene_{index:04d}.tif") as file:
            assert (file.count, file.dtypes[0], file.width, file.height) == (3, "uint8", 600, 600)
            assert file.crs.to_epsg() == 32632
            assert file.res == (GSD_M, GSD_M)
            assert file.profile["tiled"]
            assert file.profile["compress"] == "deflate"
            bounds.append(file.bounds)
            scene = generate_scene(scene_seed(4, index), 600)
            assert np.array_equal(np.moveaxis(file.read(), 0, -1), scene.image)
    assert bounds[0].right < bounds[1].left


def test_truth_is_what_was_drawn(world: Path) -> None:
    truth = _truth(world)
    assert [c["name"] for c in truth["categories"]] == list(CATEGORIES)
    assert [c["id"] for c in truth["categories"]] == list(range(1, 11))
    for image in truth["images"]:
        scene = generate_scene(scene_seed(4, image["id"] - 1), 600)
        for key, with_category in (("annotations", True), ("distractors", False)):
            drawn = [o for o in scene.objects if (o.category is not None) == with_category]
            noted = [a for a in truth[key] if a["image_id"] == image["id"]]
            assert len(noted) == len(drawn)
            for entry, item in zip(noted, drawn, strict=True):
                assert isinstance(entry["segmentation"]["counts"], str)
                decoded = coco_mask.decode(entry["segmentation"]).astype(bool)
                assert np.array_equal(decoded, item.full_mask(600))
                assert entry["area"] == item.mask.sum()
                assert entry["bbox"] == coco_mask.toBbox(entry["segmentation"]).tolist()
                if with_category:
                    assert CATEGORIES[entry["category_id"] - 1] == item.category
                else:
                    assert "category_id" not in entry
                    assert entry["kind"] == item.kind


def test_annotation_ids_are_unique(world: Path) -> None:
    ids = [a["id"] for a in _truth(world)["annotations"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("n_scenes", "seed"), [(0, 0), (1, -1)])
def test_bad_arguments_are_refused(tmp_path: Path, n_scenes: int, seed: int) -> None:
    with pytest.raises(ValueError, match="a world has 1 to"):
        write_world(tmp_path, n_scenes, 512, seed)
