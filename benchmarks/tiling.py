"""What cutting a scene into tiles costs: time against plain reads, memory against a small scene.

    python -m benchmarks.tiling speed
    python -m benchmarks.tiling memory [SIDE_PX]

`speed` reads the same windows by `Raster.read_rgb` and by plain rasterio, checks that the pixels
are the same, and prints both in megapixels per second and their ratio. `memory` runs ingest and
tile over a scene of 3,000 px and one of SIDE_PX (30,000) in processes of their own and prints the
ratio of their peak resident memory.
"""

import json
import logging
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window
from rich.console import Console

from lae_tasks.config import IngestConfig, TileConfig
from lae_tasks.contracts import Done, Scene
from lae_tasks.geometry import tile_windows
from lae_tasks.raster import open_raster
from lae_tasks.stages import ingest, tile
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


def cut(scene_folder: Path, store_folder: Path) -> None:
    """Ingests and tiles the scenes of a folder, and writes what it took, as JSON."""
    logging.getLogger("rasterio").setLevel(logging.ERROR)
    raw, store = LocalStorage(scene_folder), LocalStorage(store_folder)
    started = time.perf_counter()
    results = list(ingest.run(list(raw.list()), raw, [], IngestConfig()))
    records = [each for r in results if isinstance(r, Done) for each in r.outputs]
    scenes = [each for each in records if isinstance(each, Scene)]
    tiles = sum(
        len(result.outputs)
        for result in tile.run(scenes, raw, store, TILE)
        if isinstance(result, Done)
    )
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - started
    found = {"tiles": tiles, "peak_mb": round(peak_mb), "seconds": round(seconds, 1)}
    sys.stdout.write(json.dumps(found))


def memory(side_px: int) -> None:
    """Prints the peak memory of a small and a large scene, and their ratio."""
    peaks = []
    for side in (3000, side_px):
        with tempfile.TemporaryDirectory() as folder:
            scenes, store = Path(folder) / "scenes", Path(folder) / "store"
            scenes.mkdir()
            write_scene(scenes / "a.tif", side)
            command = [sys.executable, "-m", "benchmarks.tiling", "cut", str(scenes), str(store)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            out.print(f"{side:6} px: {found}")
            peaks.append(found["peak_mb"])
    out.print(f"ratio of peak memory {peaks[1] / peaks[0]:.2f}  (target <= 1.25)")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["speed"]:
            speed()
        case ["memory", *rest]:
            memory(int(rest[0]) if rest else 30_000)
        case ["cut", scene_folder, store_folder]:
            cut(Path(scene_folder), Path(store_folder))
        case _:
            raise SystemExit(__doc__)
