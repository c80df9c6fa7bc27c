"""Which crops the rule `monochrome` takes, as a picture.

    python -m demo.monochrome OUT.png [FOLDER]

Draws crops by the spread of their grey values, `Label.crop_std`: above the line those that fall by
the rule's default, below it those that stay, the nearest to the limit first. The crops are windows
of the images of FOLDER, by default of synthetic scenes, and of these the objects, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from demo.scenes import generate_scene
from lae_tasks.backends.protocols import Image as Rgb
from lae_tasks.config import IngestConfig, TileConfig
from lae_tasks.imagery.crops import crop_region
from lae_tasks.imagery.raster import open_raster
from lae_tasks.routing.rules import Monochrome
from lae_tasks.storage import LocalStorage

CELL_PX = 96
COLUMNS = 12
#: Where the rows of the picture begin; each shows crops from there to the next.
STEPS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0, 20.0, 40.0)
_WINDOW_PX, _MARGIN, _SCENES = 64, 0.1, 6
_LEFT_PX, _GAP_PX = 110, 6


def crop_std(crop: Rgb) -> float:
    """As classify tells it: of the mean of red, green and blue."""
    return float(crop.mean(axis=2, dtype=np.float64).std())


def windows(image: Rgb) -> Iterator[Rgb]:
    """Windows of an image, side by side."""
    height, width = image.shape[:2]
    for y in range(0, height - _WINDOW_PX + 1, _WINDOW_PX):
        for x in range(0, width - _WINDOW_PX + 1, _WINDOW_PX):
            yield image[y : y + _WINDOW_PX, x : x + _WINDOW_PX]


def synthetic_crops() -> Iterator[list[Rgb]]:
    """The objects of synthetic scenes, and windows of the scenes; a list for each scene."""
    for seed in range(_SCENES):
        scene = generate_scene(seed)
        objects = [crop_region(scene.image, o.bbox_xyxy_px, _MARGIN) for o in scene.objects]
        yield [*objects, *windows(scene.image)]


def real_crops(folder: Path) -> Iterator[list[Rgb]]:
    """Windows of each image of a folder, as tiles show it."""
    raw = LocalStorage(folder)
    for info in raw.list():
        if info.key.endswith(IngestConfig().suffixes):
            with open_raster(raw, info.key) as raster:
                stretch = raster.stretch(TileConfig().stretch_percentiles)
                size = raster.info.width_px, raster.info.height_px
                yield list(windows(raster.read_rgb((0, 0, *size), stretch)[0]))


def sheet(images: Iterator[list[Rgb]], min_std: float) -> Image.Image:
    """The picture: in each row a few crops of as many images as have any."""
    rows: list[list[tuple[float, Rgb]]] = [[] for _ in STEPS]
    for crops in images:
        found = sorted(((crop_std(crop), crop) for crop in crops), key=lambda pair: pair[0])
        places = np.searchsorted(STEPS, [std for std, _ in found], side="right") - 1
        for number, row in enumerate(rows):
            of_row = [pair for pair, place in zip(found, places, strict=True) if place == number]
            row.extend(of_row[:: max(1, len(of_row) // 2)][:2])
    height = len(STEPS) * (CELL_PX + _GAP_PX)
    width = _LEFT_PX + COLUMNS * (CELL_PX + _GAP_PX)
    picture = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=20)
    for number, (step, row) in enumerate(zip(STEPS, rows, strict=True)):
        top = number * (CELL_PX + _GAP_PX)
        draw.text((8, top + CELL_PX // 2), f"from {step:g}", "black", font, "lm")
        for column, (_, crop) in enumerate(sorted(row, key=lambda pair: pair[0])[:COLUMNS]):
            cell = Image.fromarray(crop).resize((CELL_PX, CELL_PX))
            picture.paste(cell, (_LEFT_PX + column * (CELL_PX + _GAP_PX), top))
        if step == min_std:
            line = top - _GAP_PX // 2
            draw.line([(0, line), (width, line)], "red", 3)
    return picture


if __name__ == "__main__":
    match sys.argv[1:]:
        case [target]:
            sheet(synthetic_crops(), Monochrome().min_std).save(target)
        case [target, folder]:
            sheet(real_crops(Path(folder)), Monochrome().min_std).save(target)
        case _:
            raise SystemExit(__doc__)
