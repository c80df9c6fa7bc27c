"""Crops of regions: from their tile, or put together from several."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lae_tasks.imagery.mosaic
from lae_tasks.contracts import BoxPx, Tile
from lae_tasks.geometry import encode_mask, mask_in_window, tile_windows
from lae_tasks.imagery.crops import crop_region
from lae_tasks.imagery.mosaic import Mosaic
from lae_tasks.regions.rle import union
from lae_tasks.stages.tile import encode_png
from lae_tasks.storage import LocalStorage
from tests.records import make_region, make_tile

SIZE = 300


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def mosaic(picture: np.ndarray, tmp_path: object) -> Mosaic:
    store = LocalStorage(tmp_path)  # type: ignore[arg-type]
    tiles: list[Tile] = []
    for window in tile_windows(SIZE, SIZE, 120, 20):
        x, y, width, height = window
        tile = make_tile(window, image_key=f"{x}-{y}.png")
        part = np.ascontiguousarray(picture[y : y + height, x : x + width])
        store.write(tile.image_key, encode_png(part))
        tiles.append(tile)
    return Mosaic(tiles, store)


@pytest.mark.parametrize(
    "bbox", [(30, 40, 250, 90), (0, 0, 300, 300), (90, 90, 210, 215), (100, 10, 230, 20)]
)
@pytest.mark.parametrize("margin", [0.0, 0.15])
def test_a_crop_across_tiles_is_that_of_the_scene(
    mosaic: Mosaic, picture: np.ndarray, bbox: BoxPx, margin: float
) -> None:
    crop = mosaic.crop(make_region(bbox_xyxy_px=bbox, tile_id="s1-0-0-120x120"), margin)
    assert np.array_equal(crop, crop_region(picture, bbox, margin))


def test_a_region_of_one_tile_is_cut_from_that(mosaic: Mosaic, picture: np.ndarray) -> None:
    crop = mosaic.crop(make_region(bbox_xyxy_px=(101, 5, 119, 20), tile_id="s1-0-0-120x120"), 0.5)
    # As training cut its crops: the window slides inwards where the tile ends.
    assert np.array_equal(crop, crop_region(picture[:120, :120], (101, 5, 119, 20), 0.5))


def test_a_very_large_crop_is_put_together_from_fewer_pixels(
    mosaic: Mosaic, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lae_tasks.imagery.mosaic, "_MAX_SIDE_PX", 100)
    crop = mosaic.crop(make_region(bbox_xyxy_px=(0, 0, 300, 300), tile_id="s1-0-0-120x120"), 0.0)
    assert np.array_equal(crop, picture[::3, ::3])


def half_empty(valid: np.ndarray, folder: Path) -> tuple[Mosaic, Tile]:
    """A mosaic of one tile at (100, 200), and where that holds data."""
    store = LocalStorage(folder)
    buffer = io.BytesIO()
    Image.fromarray(valid).save(buffer, "PNG")
    store.write("valid.png", buffer.getvalue())
    tile = make_tile((100, 200, *valid.shape[::-1]), valid_key="valid.png")
    return Mosaic([tile], store), tile


@pytest.mark.parametrize("seed", range(20))
def test_the_share_without_data_is_that_of_the_drawn_mask(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    valid = rng.random((60, 80)) < rng.random()
    mosaic, tile = half_empty(valid, tmp_path)
    height, width = rng.integers(1, 150, 2).tolist()
    x0, y0 = int(rng.integers(101 - width, 180)), int(rng.integers(201 - height, 260))
    mask = rng.random((height, width)) < rng.random()
    mask[0, 0] = True
    box = (x0, y0, x0 + width, y0 + height)
    region = make_region(tile_id=tile.tile_id, bbox_xyxy_px=box, mask_rle=encode_mask(mask))
    empty = ~valid[mask_in_window(mask, box, tile.window_px)]
    expected = round(float(empty.mean()), 4) if empty.size else 0.0
    assert mosaic.nodata_share(region) == expected


def test_what_is_as_large_as_its_scene_is_not_drawn_to_see_where_data_is(tmp_path: Path) -> None:
    valid = np.ones((60, 80), dtype=bool)
    valid[:30] = False
    mosaic, tile = half_empty(valid, tmp_path)
    side = 30_000
    square = np.ones((300, 300), dtype=bool)
    rle, area_px = union([(square, 0, 0), (square, side - 300, side - 300)], side, side)
    shape = {"bbox_xyxy_px": (0, 0, side, side), "mask_rle": rle, "area_px": area_px}
    region = make_region(tile_id=tile.tile_id, **shape)
    tracemalloc.start()
    share = mosaic.nodata_share(region)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert share == 0.5
    assert peak < 10e6, "bytes"
