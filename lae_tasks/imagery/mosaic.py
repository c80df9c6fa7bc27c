"""Pictures of anything in a scene, put together from the renditions of its tiles."""

import math
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from lae_tasks.backends.protocols import Image
from lae_tasks.contracts import BoxPx, Region, Tile, WindowPx
from lae_tasks.imagery.crops import crop_region, crop_window
from lae_tasks.regions.rle import Runs
from lae_tasks.stages.tile import load_image, load_valid
from lae_tasks.storage import Storage

#: Pictures in memory at a time: a tile and the eight around it.
_TILES_AT_ONCE = 9
#: A larger crop is put together from every second pixel, or third: models see far fewer.
_MAX_SIDE_PX = 2048
_OUTLINE_RGB = (255, 0, 0)


class Mosaic:
    """The pictures of scenes, by their tiles."""

    def __init__(self, tiles: Iterable[Tile], store: Storage) -> None:
        self._by_id = {tile.tile_id: tile for tile in tiles}
        self._of_scene: defaultdict[str, list[Tile]] = defaultdict(list)
        for tile in self._by_id.values():
            self._of_scene[tile.scene_id].append(tile)

        @lru_cache(maxsize=_TILES_AT_ONCE)
        def load(tile_id: str) -> Image:
            return load_image(self._by_id[tile_id], store)

        @lru_cache(maxsize=_TILES_AT_ONCE)
        def valid(tile_id: str) -> npt.NDArray[np.bool_]:
            return load_valid(self._by_id[tile_id], store)

        self._load, self._load_valid = load, valid

    def crop(self, region: Region, margin: float) -> Image:
        """A region's crop as `crops.crop_region` cuts it, of one tile or, if it must, of several.

        Args:
            region: The region; its tile has to be among the tiles.
            margin: Context on each side as a share of the box's longer side.

        Returns:
            uint8 RGB (h, w, 3). What no tile shows is black.

        Raises:
            MissingObjectError: If a tile's rendition is gone.
        """
        return self._view(region, margin)[0]

    def outlined(self, region: Region, margin: float) -> Image:
        """The same crop with the region's box drawn in it; raises what `crop` does."""
        picture, (x, y, _, _), step = self._view(region, margin)
        x0, y0, x1, y1 = (edge // step for edge in _within(region.bbox_xyxy_px, (x, y, 0, 0)))
        thickness = max(1, round(max(picture.shape[:2]) / 100))
        low, high = (x0 - thickness, y0 - thickness), (x1, y1)  # around what it outlines
        cv2.rectangle(picture, low, high, _OUTLINE_RGB, thickness)
        return picture

    def nodata_share(self, region: Region) -> float:
        """Share of a region's pixels that hold no data, as far as its own tile shows it."""
        tile = self._by_id[region.tile_id]
        if tile.valid_key is None:
            return 0.0
        shown = Runs(region.mask_rle, region.bbox_xyxy_px).window(tile.window_px)
        empty = ~self._load_valid(tile.tile_id)[shown]
        return round(float(empty.mean()), 4) if empty.size else 0.0

    def _view(self, region: Region, margin: float) -> tuple[Image, WindowPx, int]:
        """A region's crop, the scene's window that it is of, and of how many pixels it has one."""
        tile = self._by_id[region.tile_id]
        if not _shows(tile.window_px, region.bbox_xyxy_px):
            window = self._window(region, margin)
            step = math.ceil(max(window[2:]) / _MAX_SIDE_PX)
            return self._paste(region.scene_id, window, step), window, step
        x, y, width, height = tile.window_px
        box = _within(region.bbox_xyxy_px, tile.window_px)
        x0, y0, x1, y1 = crop_window(box, margin, width, height)
        picture = crop_region(self._load(tile.tile_id), box, margin)
        return picture, (x + x0, y + y0, x1 - x0, y1 - y0), 1

    def _window(self, region: Region, margin: float) -> WindowPx:
        """The window of the scene that a crop shows; the scene is as large as its tiles reach."""
        windows = np.array([tile.window_px for tile in self._of_scene[region.scene_id]])
        x, y = windows[:, :2].min(axis=0).tolist()
        right, bottom = (windows[:, :2] + windows[:, 2:]).max(axis=0).tolist()
        box = _within(region.bbox_xyxy_px, (x, y, right - x, bottom - y))
        x0, y0, x1, y1 = crop_window(box, margin, right - x, bottom - y)
        return x + x0, y + y0, x1 - x0, y1 - y0

    def _paste(self, scene_id: str, window_px: WindowPx, step: int) -> Image:
        """Every `step`-th pixel of a window of the scene."""
        x, y, width, height = window_px
        picture = np.zeros((math.ceil(height / step), math.ceil(width / step), 3), dtype=np.uint8)
        for tile in self._of_scene[scene_id]:
            left, top, across, down = tile.window_px
            rows, of_rows = _common(y, height, top, down, step)
            columns, of_columns = _common(x, width, left, across, step)
            if rows.stop > rows.start and columns.stop > columns.start:
                picture[rows, columns] = self._load(tile.tile_id)[of_rows, of_columns]
        return picture


def _common(
    start: int, length: int, tile_start: int, tile_length: int, step: int
) -> tuple[slice, slice]:
    """Along one axis: which pixels of a picture a tile has, and which of the tile's they are."""
    first = max(0, math.ceil((tile_start - start) / step))
    after = math.ceil((min(start + length, tile_start + tile_length) - start) / step)
    offset = start + first * step - tile_start
    return slice(first, after), slice(offset, offset + (after - first) * step, step)


def _shows(window_px: WindowPx, bbox_xyxy_px: BoxPx) -> bool:
    x, y, width, height = window_px
    x0, y0, x1, y1 = bbox_xyxy_px
    return x <= x0 and y <= y0 and x1 <= x + width and y1 <= y + height


def _within(bbox_xyxy_px: BoxPx, window_px: WindowPx) -> BoxPx:
    """A box in the pixels of a window."""
    x, y = window_px[:2]
    x0, y0, x1, y1 = bbox_xyxy_px
    return x0 - x, y0 - y, x1 - x, y1 - y
