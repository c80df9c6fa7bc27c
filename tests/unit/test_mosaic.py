"""Crops of regions: from their tile, or put together from several."""

import numpy as np
import pytest

import lae_tasks.mosaic
from lae_tasks.contracts import BoxPx, Tile
from lae_tasks.crops import crop_region
from lae_tasks.geometry import tile_windows
from lae_tasks.mosaic import Mosaic
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
    monkeypatch.setattr(lae_tasks.mosaic, "_MAX_SIDE_PX", 100)
    crop = mosaic.crop(make_region(bbox_xyxy_px=(0, 0, 300, 300), tile_id="s1-0-0-120x120"), 0.0)
    assert np.array_equal(crop, picture[::3, ::3])
