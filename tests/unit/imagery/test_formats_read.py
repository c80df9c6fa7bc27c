"""The difficult files of the imagery: each is read rightly, or refused with a reason."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from lae_tasks.imagery.raster import RasterInfo, UnreadableError, open_raster
from lae_tasks.storage import LocalStorage

IMAGERY = os.environ.get("LAE_IMAGERY")
pytestmark = pytest.mark.skipif(not IMAGERY, reason="LAE_IMAGERY is not set")

#: Width, height, bands, type, CRS (how it begins), and the share of pixels with data.
READ = {
    "all_nodata_71x2475.tif": (71, 2475, 4, "uint16", "EPSG:32628", 0.0),
    "alpha_mostly_transparent.tif": (1223, 1223, 4, "uint8", "EPSG:3857", 0.016),
    "cmyk.jpg": (400, 400, 3, "uint8", None, 1.0),
    "complex64_sar_rotated.tif": (200, 200, 1, "complex64", "EPSG:32631", 1.0),
    "exif_orientation6.jpg": (1920, 1080, 3, "uint8", None, 1.0),
    "external_mask.tif": (383, 232, 3, "uint8", "EPSG:26913", 0.969),
    "float32_nan_border.tif": (712, 512, 3, "float32", "EPSG:3857", 0.868),
    "float64_4band.tif": (300, 300, 4, "float64", "EPSG:32631", 1.0),
    "int16_custom_crs.tif": (512, 512, 3, "int16", "PROJCS", 1.0),
    "landsat_nodata_border.tif": (791, 718, 3, "uint8", "EPSG:32618", 0.675),
    "palette_landcover_7168x8704.tif": (7168, 8704, 1, "uint8", "EPSG:3857", 0.555),
    "rgba_uint16_bgr_order.tif": (634, 411, 4, "uint16", "EPSG:32612", 0.489),
    "rotated_geotransform.tif": (400, 400, 3, "uint8", "EPSG:32617", 1.0),
    "sar_gcps_no_crs.tif": (1280, 837, 1, "uint16", "EPSG:4326", 1.0),
}
REFUSED = {
    "corrupt_tile.tif": "pixels cannot be decoded: .*Read error at row 512",
    "truncated.jpg": "pixels cannot be decoded: .*Premature end of JPEG",
    "truncated.tif": "pixels cannot be decoded: .*Read error at scanline 186",
}


def folder() -> Path:
    return Path(str(IMAGERY)) / "formats"


def read(name: str) -> tuple[RasterInfo, np.ndarray, np.ndarray]:
    with open_raster(LocalStorage(folder()), name) as raster:
        info = raster.info
        whole = (0, 0, info.width_px, info.height_px)
        return info, *raster.read_rgb(whole, raster.stretch((2.0, 98.0)))


def test_every_difficult_file_is_expected_to_be_something() -> None:
    found = {path.name for path in folder().iterdir() if path.suffix != ".msk"}
    assert found == READ.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", READ)
def test_a_difficult_file_is_read_rightly(name: str) -> None:
    width, height, bands, dtype, crs, share = READ[name]
    info, rgb, valid = read(name)
    assert (info.width_px, info.height_px, info.bands, info.dtype) == (width, height, bands, dtype)
    assert rgb.shape == (height, width, 3)
    assert (info.crs or "").startswith(crs or "")
    assert (info.crs is None) == (info.transform is None) == (crs is None)
    assert valid.mean() == pytest.approx(share, abs=0.002)
    assert not rgb[~valid].any(), "what holds no data is black"


@pytest.mark.parametrize("name", REFUSED)
def test_damage_is_found_and_not_shown(name: str) -> None:
    with pytest.raises(UnreadableError, match=REFUSED[name]):
        read(name)


@pytest.mark.parametrize("name", ["cmyk.jpg", "exif_orientation6.jpg"])
def test_inks_and_orientation_are_as_pillow_has_them(name: str) -> None:
    with Image.open(folder() / name) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    _, rgb, _ = read(name)
    assert np.abs(rgb - expected).mean() < 2


def test_a_class_raster_has_its_palettes_colours_and_16_bits_their_stretch() -> None:
    _, classes, valid = read("palette_landcover_7168x8704.tif")
    assert 1 < len(np.unique(classes[valid], axis=0)) <= 256
    _, radar, valid = read("sar_gcps_no_crs.tif")
    assert (np.percentile(radar[valid], 1), np.percentile(radar[valid], 99)) == (0, 255)
