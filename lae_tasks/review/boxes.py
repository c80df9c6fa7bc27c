"""Boxes in scene pixels to the percent of a tile that Label Studio has, and back."""

import math
from collections.abc import Mapping
from typing import Any

from lae_tasks.contracts import BoxPx, Region, ReviewItem, WindowPx
from lae_tasks.geometry import clip


def to_percent(bbox_xyxy_px: BoxPx, window_px: WindowPx) -> dict[str, float]:
    """A box in scene pixels that lies in a tile, as Label Studio has it: percent of the tile.

    Args:
        bbox_xyxy_px: The box.
        window_px: The tile's window, (x, y, width, height) in scene pixels.
    """
    x, y, width, height = window_px
    x0, y0, x1, y1 = bbox_xyxy_px
    return {
        "x": 100 * (x0 - x) / width,
        "y": 100 * (y0 - y) / height,
        "width": 100 * (x1 - x0) / width,
        "height": 100 * (y1 - y0) / height,
    }


def from_percent(value: Mapping[str, Any], window_px: WindowPx) -> BoxPx | None:
    """A rectangle of Label Studio as a box in scene pixels: rounded, and clipped to its tile.

    A rotated rectangle becomes the upright box around it. None if nothing of it is left.
    """
    x, y, width, height = window_px
    left, top = value["x"] / 100 * width, value["y"] / 100 * height
    across, down = value["width"] / 100 * width, value["height"] / 100 * height
    # Label Studio turns clockwise about the upper left corner; y points down.
    angle = math.radians(value.get("rotation") or 0)
    cos, sin = math.cos(angle), math.sin(angle)
    corners = [(u * cos - v * sin, u * sin + v * cos) for u in (0, across) for v in (0, down)]
    columns, rows = zip(*corners, strict=True)
    box = (
        x + round(left + min(columns)),
        y + round(top + min(rows)),
        x + round(left + max(columns)),
        y + round(top + max(rows)),
    )
    return clip(box, window_px)


def beyond_tile(bbox_xyxy_px: BoxPx, sent: ReviewItem, region: Region) -> BoxPx:
    """A steward's box of an object that goes on beyond the tile that they saw.

    Sides that they left at the tile's border are the object's own.
    """
    x, y, width, height = sent.window_px
    borders = (x, y, x + width, y + height)
    edges = zip(bbox_xyxy_px, sent.bbox_xyxy_px, borders, region.bbox_xyxy_px, strict=True)
    x0, y0, x1, y1 = (own if now == was == border else now for now, was, border, own in edges)
    return x0, y0, x1, y1
