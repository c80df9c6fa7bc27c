"""Blocks: each is decoded about once, however a scene is stored, in memory for a row of tiles."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
from PIL import Image
from rasterio.enums import Interleaving

from lae_tasks.accounts import Done
from lae_tasks.config import IngestConfig, TileConfig
from lae_tasks.contracts import Tile
from lae_tasks.imagery import blocks
from lae_tasks.stages import ingest, tile
from lae_tasks.storage import LocalStorage
from tests.unit.rasters import write_raster

CONFIG = TileConfig(size_px=64, overlap_px=8)
HEIGHT, WIDTH = 200, 3000
ORIENTATION_TAG = 0x0112


class Counted(LocalStorage):
    """A folder that counts the bytes which are read of its files."""

    read_bytes = 0

    def open(self, key: str) -> BinaryIO:
        storage = self

        class File(io.FileIO):
            def read(self, size: int | None = -1) -> bytes:
                data = super().read(size) or b""
                storage.read_bytes += len(data)
                return data

        super().open(key).close()  # says so if it is missing
        return cast(BinaryIO, File(self.root / key))


def cut(raw: LocalStorage, store: LocalStorage) -> tuple[list[Tile], np.ndarray]:
    """The tiles of the folder's only scene, and the picture that they make up."""
    (registered,) = ingest.run(list(raw.list()), raw, (), IngestConfig())
    assert isinstance(registered, Done)
    scene = cast(Any, registered.outputs[0])
    (done,) = tile.run([scene], raw, store, CONFIG)
    assert isinstance(done, Done)
    tiles = cast(list[Tile], list(done.outputs))
    picture = np.zeros((scene.height_px, scene.width_px, 3), np.uint8)
    for one in tiles:
        x, y, width, height = one.window_px
        picture[y : y + height, x : x + width] = tile.load_image(one, store)
    return tiles, picture


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    # A row of tiles takes 600 KB: what 24,000 px are to the usual cache.
    monkeypatch.setattr(blocks, "USUAL_BYTES", 1 << 18)
    (tmp_path / "raw").mkdir()
    return Counted(tmp_path / "raw")


def noise(bands: int = 3) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 255, (bands, HEIGHT, WIDTH // 20), np.uint8)
    return values.repeat(20, axis=2)


@pytest.mark.parametrize(
    "profile",
    [
        {"compress": "deflate"},
        {"compress": "deflate", "blockysize": 24},
        {"compress": "deflate", "interleave": "band"},
        {},
    ],
)
def test_a_strip_is_decoded_once(
    folder: Counted, tmp_path: Path, profile: dict[str, object]
) -> None:
    pixels = noise()
    path = write_raster(folder.root / "a.tif", pixels, **profile)
    _, picture = cut(folder, LocalStorage(tmp_path / "store"))
    assert (picture == pixels.transpose(1, 2, 0)).all()
    assert folder.read_bytes < 1.2 * path.stat().st_size


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("value", [1, 3, 6, 8])
def test_a_picture_is_decoded_once_however_it_lies(
    folder: Counted, tmp_path: Path, suffix: str, value: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = value
    path = folder.root / f"a{suffix}"
    Image.fromarray(noise().transpose(1, 2, 0)).save(path, exif=exif)
    tiles, _ = cut(folder, LocalStorage(tmp_path / "store"))
    assert folder.read_bytes < 1.2 * path.stat().st_size
    rows = [(one.window_px[1], one.window_px[0]) for one in tiles]
    assert rows == sorted(rows)


def stored(block: tuple[int, int], **facts: Any) -> Any:
    usual = {"count": 3, "height": 30_000, "width": 30_000, "dtypes": ["uint8"]}
    usual |= {"interleaving": Interleaving.pixel, "block_shapes": [block]}
    return SimpleNamespace(**(usual | facts))


def test_the_memory_follows_the_width_of_strips_alone() -> None:
    strips = blocks.cache_bytes(stored((1, 30_000)), 3, 1024)
    assert 30_000 * 1024 * 3 < strips < 1.1 * 30_000 * 1024 * 3
    assert blocks.cache_bytes(stored((1, 30_000), height=10**6), 3, 1024) == strips
    assert blocks.cache_bytes(stored((512, 512)), 3, 1024) == blocks.USUAL_BYTES
    assert blocks.cache_bytes(stored((1, 10**6), width=10**6), 3, 1024) == blocks.USUAL_BYTES
    many = {"count": 100, "interleaving": Interleaving.band}
    assert blocks.cache_bytes(stored((1, 30_000), **many), 3, 1024) == strips


def test_a_block_holds_the_bands_that_are_stored_in_it() -> None:
    block = (1024, 1024)
    assert blocks.block_bytes(stored(block, count=4)) == 4 << 20
    apart = {"count": 400, "interleaving": Interleaving.band}
    assert blocks.block_bytes(stored(block, **apart)) == 1 << 20
    assert blocks.block_bytes(stored(block, dtypes=["complex_int16"], count=1)) == 4 << 20
