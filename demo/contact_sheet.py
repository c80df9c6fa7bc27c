"""A picture of what was found: one cell for each image, with the outlines of its regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lae_tasks.backends.protocols import Image as Rgb
from lae_tasks.contracts import Region
from lae_tasks.geometry import decode_mask

COLUMNS = 4
CELL_PX = (640, 480)
"""Width and height of the place for an image."""

_CAPTION_PX = 40
_GAP_PX = 12
_COLOURS = ((255, 225, 25), (0, 230, 255), (255, 90, 200), (60, 255, 90), (255, 130, 40))
_SHADE = 0.75
"""Images are darkened so far, for the outlines to stand out."""


@dataclass(frozen=True)
class Cell:
    """One image (height, width, 3) with its regions, and its name."""

    name: str
    image: Rgb
    regions: Sequence[Region]


def contact_sheet(cells: Sequence[Cell]) -> Image.Image:
    """All cells, row by row; under each its name and the number of its regions."""
    width, height = CELL_PX[0] + _GAP_PX, CELL_PX[1] + _CAPTION_PX + _GAP_PX
    rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width + _GAP_PX, rows * height + _GAP_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=24)
    for number, cell in enumerate(cells):
        left = _GAP_PX + number % COLUMNS * width
        top = _GAP_PX + number // COLUMNS * height
        drawn = Image.fromarray(outlined(cell))
        indent = (CELL_PX[0] - drawn.width) // 2, (CELL_PX[1] - drawn.height) // 2
        sheet.paste(drawn, (left + indent[0], top + indent[1]))
        count = len(cell.regions)
        text = f"{cell.name}: {count} region{'' if count == 1 else 's'}"
        place = left + CELL_PX[0] // 2, top + CELL_PX[1] + 6
        draw.text(place, text, fill="black", font=font, anchor="ma")
    return sheet


def outlined(cell: Cell) -> Rgb:
    """The image at the size of its place, with the outlines; large regions first, small on top."""
    height, width = cell.image.shape[:2]
    scale = min(CELL_PX[0] / width, CELL_PX[1] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shown = (cv2.resize(cell.image, size, interpolation=mode) * _SHADE).astype(np.uint8)
    by_size = sorted(cell.regions, key=lambda region: -region.area_px)
    for number, region in enumerate(by_size):
        mask = decode_mask(region.mask_rle, region.bbox_xyxy_px).astype(np.uint8)
        lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        corner = np.array(region.bbox_xyxy_px[:2])
        moved = [np.round((line + corner) * scale).astype(np.int32) for line in lines]
        colour = _COLOURS[number % len(_COLOURS)]
        cv2.polylines(shown, moved, isClosed=True, color=colour, thickness=1, lineType=cv2.LINE_AA)
    return shown
