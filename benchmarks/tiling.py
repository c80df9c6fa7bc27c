"""What cutting a scene into tiles costs in time, against plain reads.

    python -m benchmarks.tiling

Reads the same windows by `Raster.read_rgb` and by plain rasterio, checks that the pixels are the
same, and prints both in megapixels per second and their ratio.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window
from rich.console import Console

from lae_tasks.config import TileConfig
from lae_tasks.geometry import tile_windows
from lae_tasks.raster import open_raster
from lae_tasks.storage import LocalStorage

SIDE_PX = 6144
TILE = TileConfig(size_px=1024, overlap_px=128)
out = Console(highlight=False)


def write_scene(path: Path, side_px: int) -> None:
    """A three-band GeoTIFF in tiles of 512 px, written block by block."""
    noise = np.random.default_rng(0).integers(0, 64, (3, 512, 512), dtype=np.uint8)
    profile = {
        "driver": "GTiff",
        "width": side_px,
        "height": side_px,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32631",
        "transform": from_origin(500_000, 5_000_000, 0.3, 0.3),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "zlevel": 1,
        "photometric": "RGB",
        "BIGTIFF": "IF_SAFER",
    }
    with rasterio.open(path, "w", **profile) as file:
        for row in range(0, side_px, 512):
            for column in range(0, side_px, 512):
                window = Window(column, row, min(512, side_px - column), min(512, side_px - row))
                shade = np.uint8((row // 512 * 7 + column // 512 * 13) % 190)
                file.write(noise[:, : window.height, : window.width] + shade, window=window)


def speed() -> None:
    """Prints both throughputs, the best of three in turn, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        storage = LocalStorage(Path(folder))
        write_scene(storage.root / "a.tif", SIDE_PX)
        windows = list(tile_windows(SIDE_PX, SIDE_PX, TILE.size_px, TILE.overlap_px))
        megapixels = sum(width * height for _, _, width, height in windows) / 1e6
        ours, plain = [], []
        for _ in range(3):
            started = time.perf_counter()
            with open_raster(storage, "a.tif") as raster:
                stretch = raster.stretch(TILE.stretch_percentiles)
                sums = [int(raster.read_rgb(window, stretch)[0].sum()) for window in windows]
            ours.append(time.perf_counter() - started)
            started = time.perf_counter()
            with rasterio.open(storage.root / "a.tif") as file:
                same = [int(file.read(window=Window(*window)).sum()) for window in windows]
            plain.append(time.perf_counter() - started)
            if sums != same:
                raise SystemExit("the pixels differ")
        out.print(f"read_rgb       {megapixels / min(ours):7.1f} MP/s")
        out.print(f"plain rasterio {megapixels / min(plain):7.1f} MP/s")
        out.print(f"ratio          {min(plain) / min(ours):7.2f}  (target >= 0.80)")


if __name__ == "__main__":
    speed()
