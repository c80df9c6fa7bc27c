"""Orientation: each value, as Pillow turns pictures, by windows."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from lae_tasks.imagery.orientation import orientation_tag
from lae_tasks.imagery.raster import open_raster
from lae_tasks.storage import LocalStorage
from tests.unit.rasters import gradient, write_raster

ORIENTATION_TAG = 0x0112


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("value", range(1, 9))
def test_a_picture_stands_upright_as_a_whole_and_by_windows(
    tmp_path: Path, value: int, suffix: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    blocks = noise.repeat(16, axis=0).repeat(16, axis=1)  # survives JPEG
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = value
    name = f"a.{suffix}"
    options = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    Image.fromarray(blocks).save(tmp_path / name, exif=exif, **options)
    with Image.open(tmp_path / name) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored)).astype(int)
    assert upright.shape[:2] == ((96, 144) if value < 5 else (144, 96))
    with open_raster(LocalStorage(tmp_path), name) as raster:
        info = raster.info
        assert (info.height_px, info.width_px) == upright.shape[:2]
        for x, y, width, height in [(0, 0, *upright.shape[1::-1]), (5, 20, 40, 30)]:
            rgb, valid = raster.read_rgb((x, y, width, height), None)
            assert np.abs(rgb - upright[y : y + height, x : x + width]).max() <= 2
            assert valid.shape == (height, width)


def directory(order: str, version: int, *tags: tuple[int, int]) -> bytes:
    """A TIFF that is nothing but a directory of numbers."""
    if version == 43:
        head, entry = struct.pack(order + "HHHQQ", 43, 8, 0, 16, len(tags)), "HHQH6x"
    else:
        head, entry = struct.pack(order + "HIH", 42, 8, len(tags)), "HHIH2x"
    start = b"II" if order == "<" else b"MM"
    return start + head + b"".join(struct.pack(order + entry, tag, 3, 1, v) for tag, v in tags)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [42, 43])
def test_the_tag_is_found_in_every_kind_of_tiff(order: str, version: int) -> None:
    found = directory(order, version, (256, 9), (ORIENTATION_TAG, 6))
    assert orientation_tag(io.BytesIO(found)) == "6"
    assert orientation_tag(io.BytesIO(directory(order, version, (256, 9)))) == "1"
    for length in range(len(found)):
        assert orientation_tag(io.BytesIO(found[:length])) == "1"


def test_a_directory_that_lies_nowhere_has_no_tag() -> None:
    nowhere = b"II" + struct.pack("<HHHQ", 43, 8, 0, 2**64 - 1)
    assert orientation_tag(io.BytesIO(nowhere)) == "1"


def test_a_tiff_with_a_place_lies_as_its_transform_says(tmp_path: Path) -> None:
    write_raster(tmp_path / "placed.tif", gradient(3, 20, 30))
    data = (tmp_path / "placed.tif").read_bytes()
    # GDAL writes no orientation: a tag that may be left out becomes one.
    planar = struct.pack("<HHIHH", 284, 3, 1, 1, 0)
    assert planar in data
    turned = data.replace(planar, struct.pack("<HHIHH", ORIENTATION_TAG, 3, 1, 6, 0))
    assert orientation_tag(io.BytesIO(turned)) == "6"
    (tmp_path / "turned.tif").write_bytes(turned)
    with open_raster(LocalStorage(tmp_path), "turned.tif") as raster:
        assert (raster.info.width_px, raster.info.height_px) == (30, 20)


def test_an_orientation_after_the_pixels_of_a_png_is_left_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "a.png", exif=exif)
    data = (tmp_path / "a.png").read_bytes()
    at = data.index(b"eXIf") - 4
    chunk = data[at : at + 12 + int.from_bytes(data[at : at + 4], "big")]
    end = data.index(b"IEND") - 4
    assert orientation_tag(io.BytesIO(data)) == "6"
    late = data[:at] + data[at + len(chunk) : end] + chunk + data[end:]
    assert orientation_tag(io.BytesIO(late)) == "1"
