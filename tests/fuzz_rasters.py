"""Mutates small valid rasters and puts each through ingest and tile; prints what became of them.

Run as `python -m tests.fuzz_rasters FOLDER FILES`.
"""

import logging
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from lae_tasks.config import IngestConfig, TileConfig
from lae_tasks.contracts import Done, Rejection, Scene
from lae_tasks.stages import ingest, tile
from lae_tasks.storage import LocalStorage
from tests.unit.rasters import gradient, write_raster


def seeds(folder: Path) -> list[Path]:
    """One small file of each kind of encoding."""
    tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    pixels = gradient(3, 48, 64)
    found = [
        write_raster(folder / "plain.tif", pixels),
        write_raster(folder / "lzw.tif", pixels, compress="lzw", predictor=2),
        write_raster(folder / "deflate.tif", pixels, compress="deflate", **tiled),
        write_raster(folder / "jpeg.tif", pixels, compress="jpeg", photometric="ycbcr", **tiled),
        write_raster(folder / "big.tif", pixels, BIGTIFF="YES", compress="zstd"),
        write_raster(folder / "float.tif", gradient(2, 48, 64, "float32", 9.0), nodata=4.5),
        write_raster(folder / "wide.tif", gradient(1, 48, 64, "uint16", 60_000), **tiled),
    ]
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    for name, options in {
        "a.png": {},
        "palette.png": {},
        "a.jpg": {"quality": 90},
        "progressive.jpg": {"progressive": True},
        "a.jp2": {},
    }.items():
        picture = image.quantize(16) if name == "palette.png" else image
        picture.save(folder / name, **options)
        found.append(folder / name)
    return found


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with some damage: flips, a cut, a hole, a repeat, or an extreme value."""
    data = bytearray(content)
    kind = rng.integers(6)
    # Headers say most: half of the damage is done there.
    end = min(len(data), 512) if rng.random() < 0.5 else len(data)
    place = int(rng.integers(end))
    length = int(rng.integers(1, 64))
    if kind == 0:
        for _ in range(int(rng.integers(1, 16))):
            data[int(rng.integers(end))] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[int(rng.integers(1, len(data))) :]
    elif kind == 2:
        del data[place : place + length]
    elif kind == 3:
        data[place:place] = data[place : place + length]
    elif kind == 4:
        data[place : place + 4] = rng.choice([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"])
    else:
        data[place : place + length] = rng.bytes(length)
    return bytes(data)


def main(folder: Path, n_files: int) -> None:
    """Makes the files, runs both stages over each, and prints the counts."""
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    (folder / "seeds").mkdir()
    originals = [(path.suffix, path.read_bytes()) for path in seeds(folder / "seeds")]
    rng = np.random.default_rng(20261123)
    raw, store = LocalStorage(folder / "raw"), LocalStorage(folder / "store")
    for number in range(n_files):
        suffix, content = originals[number % len(originals)]
        raw.write(f"{number:05d}{suffix}", mutated(content, rng))
    config = IngestConfig(max_pixels=1_000_000)
    registered: list[Scene] = []
    counts: Counter[str] = Counter()
    for result in ingest.run(list(raw.list()), raw, [], config):
        if isinstance(result, Done):
            registered += [each for each in result.outputs if isinstance(each, Scene)]
        else:
            counts["refused"] += 1
    for result in tile.run(registered, raw, store, TileConfig(size_px=32, overlap_px=8)):
        counts["refused" if isinstance(result, Rejection) else "read"] += 1
    for name in ("read", "refused"):
        sys.stdout.write(f"{name}: {counts[name]}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
