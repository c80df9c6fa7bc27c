"""Tile: nothing is dropped, empty windows are counted, the same pixels give the same tile."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from lae_tasks.accounts import Done, Rejection
from lae_tasks.config import IngestConfig, TileConfig
from lae_tasks.contracts import Scene, Tile
from lae_tasks.stages import ingest, tile
from lae_tasks.storage import LocalStorage
from tests.unit.rasters import gradient, write_raster

CONFIG = TileConfig(size_px=32, overlap_px=8)


@pytest.fixture
def raw(tmp_path: Path) -> LocalStorage:
    (tmp_path / "raw").mkdir()
    return LocalStorage(tmp_path / "raw")


@pytest.fixture
def store(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "store")


def register(raw: LocalStorage) -> list[Scene]:
    objects = list(raw.list())
    results = ingest.run(objects, raw, (), IngestConfig())
    return [r.outputs[0] for r in results if isinstance(r, Done)]  # type: ignore[misc]


def test_tiles_cover_the_scene_and_show_its_pixels(raw: LocalStorage, store: LocalStorage) -> None:
    pixels = gradient(3, 50, 70)
    write_raster(raw.root / "a.tif", pixels)
    (scene,) = register(raw)
    (done,) = tile.run([scene], raw, store, CONFIG)
    assert isinstance(done, Done)
    rebuilt = np.zeros((50, 70, 3), np.uint8)
    for one in done.outputs:
        assert isinstance(one, Tile)
        x, y, width, height = one.window_px
        rebuilt[y : y + height, x : x + width] = tile.load_image(one, store)
        assert hashlib.sha256(store.read(one.image_key)).hexdigest() == one.image_sha256
    assert (rebuilt == pixels.transpose(1, 2, 0)).all()
    assert len({one.record_id for one in done.outputs}) == len(done.outputs) == 6
    assert done.counts == {"empty_tiles": 0}


def test_a_scene_smaller_than_a_tile_is_one_tile(raw: LocalStorage, store: LocalStorage) -> None:
    write_raster(raw.root / "a.tif", gradient(3, 10, 20))
    (done,) = tile.run(register(raw), raw, store, CONFIG)
    assert isinstance(done, Done)
    (one,) = done.outputs
    assert isinstance(one, Tile)
    assert one.window_px == (0, 0, 20, 10)


def test_windows_without_data_are_counted_not_kept(raw: LocalStorage, store: LocalStorage) -> None:
    tagged = gradient(3, 32, 56)
    tagged[:, :, 20:] = 0
    write_raster(raw.root / "tagged.tif", tagged, nodata=0)
    untagged = gradient(3, 32, 56)
    untagged[:, :, 20:] = 7
    write_raster(raw.root / "untagged.tif", untagged)
    results = list(tile.run(register(raw), raw, store, CONFIG))
    assert [r.counts for r in results if isinstance(r, Done)] == [{"empty_tiles": 1}] * 2
    assert [len(r.outputs) for r in results if isinstance(r, Done)] == [1, 1]


def test_where_a_tile_holds_data_is_kept(raw: LocalStorage, store: LocalStorage) -> None:
    pixels = gradient(3, 20, 20)
    pixels[:, 3:5, :7] = 0
    write_raster(raw.root / "holes.tif", pixels, nodata=0)
    write_raster(raw.root / "whole.tif", gradient(3, 20, 20) + 1)
    tiles = {}
    for done in tile.run(register(raw), raw, store, CONFIG):
        assert isinstance(done, Done)
        (one,) = done.outputs
        assert isinstance(one, Tile)
        tiles[one.raw_key] = one
    valid = tile.load_valid(tiles["holes.tif"], store)
    assert (valid == (pixels != 0).any(axis=0)).all()
    assert tiles["holes.tif"].valid_fraction == round(float(valid.mean()), 6) < 1
    assert tiles["whole.tif"].valid_key is None
    assert tile.load_valid(tiles["whole.tif"], store).all()


def test_a_scene_that_changed_or_went_is_rejected(raw: LocalStorage, store: LocalStorage) -> None:
    for name in ("a.tif", "b.tif", "c.tif"):
        write_raster(raw.root / name, gradient(3, 20, 20 + ord(name[0])))
    scenes = register(raw)
    raw.write("a.tif", raw.read("b.tif"))
    raw.delete("b.tif")
    results = list(tile.run(scenes, raw, store, CONFIG))
    assert [r.reason for r in results if isinstance(r, Rejection)] == ["changed", "gone"]
    assert isinstance(results[2], Done)
