"""Pictures of anything in a scene, put together from the renditions of its tiles."""

import math
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from lae_tasks.backends.protocols import Image
from lae_tasks.contracts import BoxPx, Region, Tile, WindowPx
from lae_tasks.crops import crop_region
from lae_tasks.stages.tile import load_image
from lae_tasks.storage import Storage

#: Pictures in memory at a time: a tile and the eight around it.
_TILES_AT_ONCE = 9
#: A larger crop is put together from every second pixel, or third: models see far fewer.
_MAX_SIDE_PX = 2048


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

        self._load = load

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
        tile = self._by_id[region.tile_id]
        window = tile.window_px
        if _shows(window, region.bbox_xyxy_px):
            return crop_region(self._load(tile.tile_id), _within(region, window), margin)
        window, step = self._window_around(region, margin)
        x0, y0, x1, y1 = (edge / step for edge in _within(region, window))
        return crop_region(self._paste(region.scene_id, window, step), (x0, y0, x1, y1), margin)

    def _window_around(self, region: Region, margin: float) -> tuple[WindowPx, int]:
        """What a crop needs of the scene, as far as there are tiles, and a step between pixels."""
        x0, y0, x1, y1 = region.bbox_xyxy_px
        around = math.ceil(max(x1 - x0, y1 - y0) * (1 + 2 * margin))
        windows = np.array([tile.window_px for tile in self._of_scene[region.scene_id]])
        low, high = windows[:, :2].min(axis=0), (windows[:, :2] + windows[:, 2:]).max(axis=0)
        left, top = (max(int(a), b - around) for a, b in zip(low, (x0, y0), strict=True))
        right, bottom = (min(int(a), b + around) for a, b in zip(high, (x1, y1), strict=True))
        step = math.ceil(max(right - left, bottom - top) / (3 * _MAX_SIDE_PX))
        return (left, top, right - left, bottom - top), step

    def _paste(self, scene_id: str, window_px: WindowPx, step: int) -> Image:
        """Every `step`-th pixel of a window of the scene."""
        x, y, width, height = window_px
        picture = np.zeros((math.ceil(height / step), math.ceil(width / step), 3), dtype=np.uint8)
        for tile in self._of_scene[scene_id]:
            left, top, across, down = tile.window_px
            # The first rows and columns of the picture that lie in the tile, and the first after.
            first = [max(0, math.ceil((a - b) / step)) for a, b in ((top, y), (left, x))]
            ends = ((top + down, y), (left + across, x))
            end = [math.ceil((a - b) / step) for a, b in ends]
            end = [min(a, b) for a, b in zip(end, picture.shape, strict=False)]
            if first[0] < end[0] and first[1] < end[1]:
                rows = slice(y + first[0] * step - top, y + (end[0] - 1) * step - top + 1, step)
                columns = slice(
                    x + first[1] * step - left, x + (end[1] - 1) * step - left + 1, step
                )
                part = self._load(tile.tile_id)[rows, columns]
                picture[first[0] : end[0], first[1] : end[1]] = part
        return picture


def _shows(window_px: WindowPx, bbox_xyxy_px: BoxPx) -> bool:
    x, y, width, height = window_px
    x0, y0, x1, y1 = bbox_xyxy_px
    return x <= x0 and y <= y0 and x1 <= x + width and y1 <= y + height


def _within(region: Region, window_px: WindowPx) -> BoxPx:
    """A region's box in the pixels of a window."""
    x, y = window_px[:2]
    x0, y0, x1, y1 = region.bbox_xyxy_px
    return x0 - x, y0 - y, x1 - x, y1 - y
