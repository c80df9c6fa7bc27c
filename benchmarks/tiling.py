"""What cutting a scene into tiles costs, against plain reads.

    python -m benchmarks.tiling speed
    python -m benchmarks.tiling strips [WIDTH_PX]

`speed` reads the same windows by `Raster.read_rgb` and by plain rasterio, checks that the pixels
are the same, and prints both in megapixels per second and their ratio. `strips` cuts a scene of
WIDTH_PX (24,000) by 4,096 px that lies in strips, as PNG and as JPEG. It prints the bytes that are
fetched, by ranges as on S3, against the file's size; the time against plain rasterio that reads
each row once; and the ratio of the peak memory of a scene in strips that is twice as high to this
one's. `python -m benchmarks.memory` has the memory of scenes in tiles.
"""

import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin
from rasterio.windows import Window
from rich.console import Console

from lae_tasks.accounts import Done
from lae_tasks.config import IngestConfig, TileConfig
from lae_tasks.contracts import Scene
from lae_tasks.geometry import tile_windows
from lae_tasks.imagery.ranges import RangeFile
from lae_tasks.imagery.raster import open_raster
from lae_tasks.stages import ingest, tile
from lae_tasks.storage import LocalStorage

SIDE_PX = 6144
STRIPS_HEIGHT_PX = 4096
TILE = TileConfig(size_px=1024, overlap_px=128)
out = Console(highlight=False)


def write_scene(
    path: Path, width_px: int, height_px: int | None = None, *, tiled: bool = True
) -> None:
    """A three-band GeoTIFF, square by default, in tiles of 512 px or in strips of 16 rows."""
    height_px = height_px or width_px
    rng = np.random.default_rng(0)
    profile = {
        "driver": "GTiff",
        "width": width_px,
        "height": height_px,
        "count": 3,
        "dtype": "uint8",
        "crs": "EPSG:32631",
        "transform": from_origin(500_000, 5_000_000, 0.3, 0.3),
        "tiled": tiled,
        "blockysize": 512 if tiled else 16,
        "compress": "deflate",
        "zlevel": 1,
        "photometric": "RGB",
        "BIGTIFF": "IF_SAFER",
    } | ({"blockxsize": 512} if tiled else {})
    with rasterio.open(path, "w", **profile) as file:
        for row in range(0, height_px, 512):
            for column in range(0, width_px, 512):
                size = min(512, width_px - column), min(512, height_px - row)
                window = Window(column, row, *size)
                shade = np.uint8((row // 512 * 7 + column // 512 * 13) % 190)
                noise = rng.integers(0, 64, (3, size[1], size[0]), dtype=np.uint8)
                file.write(noise + shade, window=window)


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
    # The peak that `resource` tells is no less than that of the process which started this one.
    status = Path("/proc/self/status").read_text().split()
    peak_mb = int(status[status.index("VmHWM:") + 1]) / 1024
    seconds = time.perf_counter() - started
    found = {"tiles": tiles, "peak_mb": round(peak_mb), "seconds": round(seconds, 1)}
    sys.stdout.write(json.dumps(found))


def peak_mb(width_px: int, height_px: int, *, tiled: bool) -> int:
    """Peak resident memory of ingest and tile over one scene, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        scenes, store = Path(folder) / "scenes", Path(folder) / "store"
        scenes.mkdir()
        write_scene(scenes / "a.tif", width_px, height_px, tiled=tiled)
        command = [sys.executable, "-m", "benchmarks.tiling", "cut", str(scenes), str(store)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    out.print(f"{width_px:6} x {height_px} px: {found}")
    return int(found["peak_mb"])


class Counted(LocalStorage):
    """A folder that is read by ranges as S3 is; it counts the bytes."""

    fetched = 0

    def open(self, key: str) -> BinaryIO:
        """The object as S3 has it."""
        file = super().open(key)

        def fetch(start: int, end: int) -> bytes:
            file.seek(start)
            data = file.read(end - start)
            self.fetched += len(data)
            return data

        return cast(BinaryIO, RangeFile(fetch, (self.root / key).stat().st_size))


def strips(width_px: int) -> None:
    """Prints bytes fetched and time, each as a ratio, of a scene in strips, PNG and JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Counted(Path(folder))
        write_scene(storage.root / "a.tif", width_px, STRIPS_HEIGHT_PX, tiled=False)
        with rasterio.Env(GDAL_PAM_ENABLED="NO"):
            for name, driver in (("a.png", "PNG"), ("a.jpg", "JPEG")):
                rasterio.shutil.copy(storage.root / "a.tif", storage.root / name, driver=driver)
        for name in ("a.tif", "a.png", "a.jpg"):
            storage.fetched = 0
            started = time.perf_counter()
            with open_raster(storage, name, None, TILE.size_px) as raster:
                size = (width_px, STRIPS_HEIGHT_PX, TILE.size_px, TILE.overlap_px)
                for window in raster.reading_order(tile_windows(*size)):
                    raster.read_rgb(window, None)
            ours = time.perf_counter() - started
            started = time.perf_counter()
            with rasterio.open(storage.root / name) as file:
                for row in range(0, STRIPS_HEIGHT_PX, TILE.size_px):
                    rows = min(TILE.size_px, STRIPS_HEIGHT_PX - row)
                    file.read(window=Window(0, row, width_px, rows))
            plain = time.perf_counter() - started
            megabytes = (storage.root / name).stat().st_size / 1e6
            out.print(
                f"{name}: {storage.fetched / 1e6:7.1f} MB fetched of {megabytes:6.1f} MB, ratio "
                f"{storage.fetched / 1e6 / megabytes:.2f} (target <= 1.10); {ours:5.1f} s, each "
                f"row once {plain:5.1f} s, ratio {plain / ours:.2f} (target >= 0.50)"
            )
    low, high = (peak_mb(width_px, STRIPS_HEIGHT_PX * n, tiled=False) for n in (1, 2))
    out.print(f"ratio of peak memory {high / low:.2f}  (target <= 1.05)")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["speed"]:
            speed()
        case ["strips", *rest]:
            strips(int(rest[0]) if rest else 24_000)
        case ["cut", scene_folder, store_folder]:
            cut(Path(scene_folder), Path(store_folder))
        case _:
            raise SystemExit(__doc__)
