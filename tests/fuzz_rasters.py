"""Mutates small valid rasters and puts each through ingest and tile; prints what became of them.

Run as `python -m tests.fuzz_rasters FOLDER FILES`.
"""

import logging
import struct
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from affine import Affine
from PIL import Image
from rasterio.transform import from_origin

from lae_tasks.accounts import Done, Rejection
from lae_tasks.config import IngestConfig, TileConfig
from lae_tasks.contracts import Scene
from lae_tasks.stages import ingest, tile
from lae_tasks.storage import LocalStorage
from tests.unit.rasters import OWN_CRS, PLACED, POINTS, gradient, write_raster

#: TIFF tags that say where it lies: scale, points, matrix; geo keys, and their numbers and texts.
PLACE_TAGS = {33550, 33922, 34264, 34735, 34736, 34737}
TYPE_BYTES = {2: 1, 3: 2, 12: 8}


def seeds(folder: Path) -> list[Path]:
    """One small file of each kind of encoding and of place."""
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
        write_raster(folder / "placed.jp2", pixels, driver="JP2OpenJPEG"),
    ]
    turned = PLACED["transform"] @ Affine.rotation(30)
    for name, place in {
        "local": {"crs": 'LOCAL_CS["Own",UNIT["metre",1]]'},
        "own": {"crs": OWN_CRS},
        "points": {"crs": OWN_CRS, "gcps": POINTS, "transform": None},
        "turned": {"crs": "ESRI:54009", "transform": turned},
        "degrees": {"crs": "EPSG:4326", "transform": from_origin(3, 45, 1e-5, 1e-5)},
        "mercator": {"crs": "EPSG:3857"},
        "heights": {"crs": "EPSG:32631+5773"},
    }.items():
        found.append(write_raster(folder / f"{name}.tif", pixels, **place))
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
        data[place : place + 4] = [b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"][rng.integers(3)]
    else:
        data[place : place + length] = rng.bytes(length)
    return bytes(data)


def misplaced(content: bytes, rng: np.random.Generator) -> bytes:
    """The bytes of a TIFF with damage in one of the tags that say where it lies."""
    spans = place_spans(content)
    start, length = spans[rng.integers(len(spans))]
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        place = start + int(rng.integers(length)) // 2 * 2
        data[place : place + 2] = [b"\0\0", b"\xff\xff", b"\xff\x7f", rng.bytes(2)][rng.integers(4)]
    return bytes(data)


def place_spans(content: bytes) -> list[tuple[int, int]]:
    """Start and length of what a TIFF's tags of its place hold; none of BigTIFF and other files."""
    if not content.startswith(b"II*\0"):
        return []
    (directory,) = struct.unpack_from("<I", content, 4)
    (n_tags,) = struct.unpack_from("<H", content, directory)
    tags = struct.iter_unpack("<2H2I", content[directory + 2 : directory + 2 + 12 * n_tags])
    return [
        (start, count * TYPE_BYTES[kind]) for tag, kind, count, start in tags if tag in PLACE_TAGS
    ]


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
        damage = misplaced if place_spans(content) and rng.random() < 0.5 else mutated
        raw.write(f"{number:05d}{suffix}", damage(content, rng))
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
