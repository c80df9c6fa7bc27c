"""Orientation: each EXIF value, as Pillow turns pictures, by windows."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from lae_tasks.raster import open_raster
from lae_tasks.storage import LocalStorage

ORIENTATION_TAG = 0x0112


@pytest.mark.parametrize("value", range(1, 9))
def test_a_picture_stands_upright_as_a_whole_and_by_windows(tmp_path: Path, value: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    blocks = noise.repeat(16, axis=0).repeat(16, axis=1)  # survives JPEG
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = value
    Image.fromarray(blocks).save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored)).astype(int)
    with open_raster(LocalStorage(tmp_path), "a.jpg") as raster:
        info = raster.info
        assert (info.height_px, info.width_px) == upright.shape[:2]
        for x, y, width, height in [(0, 0, *upright.shape[1::-1]), (5, 20, 40, 30)]:
            rgb, valid = raster.read_rgb((x, y, width, height), None)
            assert np.abs(rgb - upright[y : y + height, x : x + width]).max() <= 2
            assert valid.shape == (height, width)
