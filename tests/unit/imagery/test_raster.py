"""Raster: every kind of source as 8-bit RGB, and damage found instead of shown as noise."""

import os
import struct
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin

from lae_tasks.imagery.raster import Raster, UnreadableError, open_raster
from lae_tasks.storage import LocalStorage
from tests.unit.rasters import PLACED, gradient, write_raster

IMAGERY = os.environ.get("LAE_IMAGERY")


def opened(path: Path, bands: tuple[int, ...] | None = None) -> AbstractContextManager[Raster]:
    return open_raster(LocalStorage(path.parent), path.name, bands)


def read(path: Path, bands: tuple[int, ...] | None = None) -> tuple[np.ndarray, np.ndarray]:
    with opened(path, bands) as raster:
        info = raster.info
        window = (0, 0, info.width_px, info.height_px)
        return raster.read_rgb(window, raster.stretch((2.0, 98.0)))


def test_eight_bit_rgb_is_shown_as_it_is(tmp_path: Path) -> None:
    pixels = gradient(3, 20, 30)
    rgb, valid = read(write_raster(tmp_path / "a.tif", pixels))
    assert (rgb == pixels.transpose(1, 2, 0)).all()
    assert valid.all()


@pytest.mark.parametrize(("dtype", "top"), [("uint16", 10_000), ("float32", 1.0), ("int16", 900)])
def test_other_types_are_stretched_to_eight_bits(tmp_path: Path, dtype: str, top: float) -> None:
    rgb, _ = read(write_raster(tmp_path / "a.tif", gradient(3, 50, 50, dtype, top)))
    assert rgb.dtype == np.uint8
    for band in range(3):
        assert rgb[..., band].min() == 0
        assert rgb[..., band].max() == 255
        assert abs(float(rgb[..., band].mean()) - 127.5) < 2


def test_the_stretch_is_the_scenes_not_the_tiles(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", gradient(1, 100, 100, "uint16", 10_000))
    with opened(path) as raster:
        stretch = raster.stretch((0.0, 100.0))
        dark, _ = raster.read_rgb((0, 0, 100, 10), stretch)
        bright, _ = raster.read_rgb((0, 90, 100, 10), stretch)
    assert dark.max() < 30
    assert bright.min() > 225


def test_one_band_is_grey_and_a_palette_has_its_colours(tmp_path: Path) -> None:
    grey, _ = read(write_raster(tmp_path / "grey.tif", gradient(1, 10, 10)))
    assert (grey[..., 0] == grey[..., 1]).all()
    image = Image.new("P", (8, 8))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((3, 0), 1)
    image.save(tmp_path / "palette.png")
    rgb, _ = read(tmp_path / "palette.png")
    assert tuple(rgb[0, 0]) == (10, 20, 30)
    assert tuple(rgb[0, 3]) == (200, 100, 50)


def test_bands_follow_their_meaning_or_the_config(tmp_path: Path) -> None:
    pixels = np.stack([np.full((9, 9), value, np.uint8) for value in (10, 20, 30, 255)])
    path = write_raster(tmp_path / "bgra.tif", pixels)
    with rasterio.open(path, "r+") as target:
        target.colorinterp = [
            ColorInterp.blue,
            ColorInterp.green,
            ColorInterp.red,
            ColorInterp.alpha,
        ]
    assert tuple(read(path)[0][0, 0]) == (30, 20, 10)
    assert tuple(read(path, (2, 2, 1))[0][0, 0]) == (20, 20, 10)
    with pytest.raises(UnreadableError, match="band 7 asked for"):
        read(path, (7, 1, 1))


def test_nodata_and_nan_are_not_valid(tmp_path: Path) -> None:
    pixels = gradient(1, 10, 10, "float32", 1.0)
    pixels[0, 0, 0] = np.nan
    pixels[0, 5, 5] = -9999
    rgb, valid = read(write_raster(tmp_path / "a.tif", pixels, nodata=-9999))
    assert not valid[0, 0]
    assert not valid[5, 5]
    assert valid.sum() == 98
    assert (rgb[5, 5] == 0).all()


def test_nodata_in_one_band_neither_hides_nor_stretches_the_others(tmp_path: Path) -> None:
    pixels = gradient(4, 20, 20, "float32", 1.0)
    pixels[:3, :, :10] = -9999  # the fourth band, which is not shown, is whole
    pixels[0, 0, 15] = -9999
    rgb, valid = read(write_raster(tmp_path / "a.tif", pixels, nodata=-9999))
    assert valid.mean() == 0.5
    assert valid[0, 15]
    assert rgb[valid].min() == 0
    assert rgb[valid].max() == 255
    assert 100 < rgb[valid].mean() < 155


def test_radar_of_whole_numbers_is_shown_by_amplitude(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "width": 9, "height": 9, "count": 1, "dtype": "complex_int16"}
    with rasterio.open(tmp_path / "a.tif", "w", **profile, **PLACED) as file:
        file.write(gradient(1, 9, 9, "complex64", 900))
    rgb, valid = read(tmp_path / "a.tif")
    assert valid.all()
    assert rgb.max() == 255


@pytest.mark.parametrize("suffix", [".msk", ".ovr"])
def test_what_lies_beside_a_scene_does_not_lead_elsewhere(tmp_path: Path, suffix: str) -> None:
    write_raster(tmp_path / "secret.tif", gradient(3, 9, 9))
    path = write_raster(tmp_path / "a.tif", gradient(3, 9, 2100, "uint16", 900))
    (tmp_path / f"a.tif{suffix}").write_text(f"<VRTDataset>{tmp_path / 'secret.tif'}</VRTDataset>")
    with pytest.raises(UnreadableError, match="is no TIFF; remove that"):
        read(path)


def test_the_ground_resolution_is_in_metres(tmp_path: Path) -> None:
    pixels = gradient(1, 10, 10)
    metric = write_raster(tmp_path / "utm.tif", pixels)
    mercator = write_raster(
        tmp_path / "mercator.tif",
        pixels,
        crs="EPSG:3857",
        transform=from_origin(0, 8_399_738, 2, 2),  # 60° north: one half
    )
    degrees = write_raster(
        tmp_path / "degrees.tif", pixels, crs="EPSG:4326", transform=from_origin(0, 0, 1e-5, 1e-5)
    )
    found = []
    for path in (metric, mercator, degrees):
        with opened(path) as raster:
            found.append(raster.info.gsd_m)
    assert found == pytest.approx([0.5, 1.0, 1.11], rel=0.01)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("2024:02:29 23:59:58", "2024-02-29T23:59:58"),
        ("2024:02:29 23:59:58\0", "2024-02-29T23:59:58"),
        ("2024-02-29 23:59:58", "2024-02-29T23:59:58"),
        ("2024:13:45 99:00:00", None),
        ("0000:00:00 00:00:00", None),
        ("2023:02:29 00:00:00", None),
        ("    :  :     :  :  ", None),
    ],
)
def test_a_time_that_there_was_is_when_it_was_acquired(
    tmp_path: Path, tag: str, expected: str | None
) -> None:
    path = write_raster(tmp_path / "a.tif", gradient(1, 9, 9))
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME=tag)
    with opened(path) as raster:
        assert raster.info.acquired_at == expected


def test_without_a_georeference_there_is_none(tmp_path: Path) -> None:
    Image.fromarray(gradient(3, 9, 9).transpose(1, 2, 0)).save(tmp_path / "a.png")
    with opened(tmp_path / "a.png") as raster:
        assert (raster.info.crs, raster.info.transform, raster.info.gsd_m) == (None, None, None)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_a_file_cut_in_half_is_unreadable(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    whole = tmp_path / f"whole{suffix}"
    Image.fromarray(noise).save(whole)
    half = tmp_path / f"half{suffix}"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UnreadableError):
        read(half)
    read(whole)


@pytest.mark.parametrize("place", [2**62, 2**63, 2**64 - 1])
def test_a_file_that_points_beyond_all_files_is_unreadable(tmp_path: Path, place: int) -> None:
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, place)
    (tmp_path / "a.tif").write_bytes(head + bytes(100))
    with pytest.raises(UnreadableError), opened(tmp_path / "a.tif"):
        pass


def test_a_text_file_is_no_raster(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_text("not a picture")
    with pytest.raises(UnreadableError, match="not a raster"), opened(tmp_path / "a.tif"):
        pass


@pytest.mark.skipif(not IMAGERY, reason="LAE_IMAGERY is not set")
def test_real_images_are_read_and_damaged_ones_refused() -> None:
    damaged = {"corrupt_tile.tif", "truncated.jpg", "truncated.tif"}
    refused = set()
    files = [
        path
        for folder in ("images", "formats")
        for path in sorted((Path(str(IMAGERY)) / folder).iterdir())
        if path.suffix != ".msk"
    ]
    for path in files:
        try:
            rgb, valid = read(path)
            assert rgb.shape == (*valid.shape, 3)
        except UnreadableError:
            refused.add(path.name)
    assert refused == damaged
    assert len(files) == 33


def test_a_file_that_points_elsewhere_is_not_followed(tmp_path: Path) -> None:
    write_raster(tmp_path / "secret.tif", gradient(3, 9, 9))
    vrt = tmp_path / "harmless.tif"
    vrt.write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{tmp_path / 'secret.tif'}</SourceFilename>"
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(UnreadableError, match="not a raster"), opened(vrt):
        pass


def test_a_local_coordinate_system_has_no_resolution_in_metres(tmp_path: Path) -> None:
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    path = write_raster(tmp_path / "local.tif", gradient(1, 9, 9), crs=local)
    with opened(path) as raster:
        info = raster.info
    assert info.crs is not None
    assert info.crs.startswith('LOCAL_CS["site"')
    assert info.gsd_m is None


def test_a_palette_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", gradient(1, 9, 9, "uint16", 900), photometric="palette")
    with pytest.raises(UnreadableError, match="palette of uint16"), opened(path):
        pass
