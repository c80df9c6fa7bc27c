"""The one way a region is cut out of its image, for training and for inference alike.

A model sees what its training showed it: whoever cuts crops for the classifier calls
:func:`crop_region`, with the same margin that the model was trained with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def _window(low: float, high: float, side_px: int, limit_px: int) -> tuple[int, int]:
    """Centre ``side_px`` pixels on [low, high), slide them inside [0, limit), else clip."""
    start = round((low + high - side_px) / 2)
    start = max(0, min(start, limit_px - side_px))
    return start, min(limit_px, start + side_px)


def crop_region(
    image: npt.NDArray[np.uint8],
    bbox_xyxy_px: Sequence[float],
    margin: float,
) -> npt.NDArray[np.uint8]:
    """Cut a square window around a region's box.

    The window is centred on the box and has the side ``max(width, height) * (1 + 2 * margin)``, so
    that the classifier sees things undistorted and with some context. At the image's border it
    slides inwards; where the image is smaller than the window, the window is clipped (and the crop
    is then not square).

    Args:
        image: uint8 array of shape (height, width, 3), RGB.
        bbox_xyxy_px: x0, y0, x1, y1 in the image's pixels, x1 and y1 exclusive. It may reach past
            the image, but must overlap it.
        margin: context on each side as a fraction of the box's longer side, at least 0.

    Returns:
        A copy of the window, uint8 (h, w, 3), at least 1 x 1.

    Raises:
        ValueError: if the box is empty or lies outside the image, or the margin is negative.
    """
    height_px, width_px = image.shape[:2]
    left, top, right, bottom = crop_window(bbox_xyxy_px, margin, width_px, height_px)
    return image[top:bottom, left:right].copy()


def crop_window(
    bbox_xyxy_px: Sequence[float], margin: float, width_px: int, height_px: int
) -> tuple[int, int, int, int]:
    """What `crop_region` cuts, as left, top, right and bottom, of an image of a size.

    Raises:
        ValueError: As `crop_region`.
    """
    x0, y0, x1, y1 = (float(edge) for edge in bbox_xyxy_px)
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"bbox_xyxy_px={list(bbox_xyxy_px)}: the box is empty")
    if x1 <= 0 or y1 <= 0 or x0 >= width_px or y0 >= height_px:
        raise ValueError(
            f"bbox_xyxy_px={list(bbox_xyxy_px)}: the box lies outside the image of "
            f"{width_px} x {height_px} px"
        )
    if margin < 0:
        raise ValueError(f"margin={margin}: the margin must not be negative")
    side_px = max(1, math.ceil(max(x1 - x0, y1 - y0) * (1 + 2 * margin)))
    left, right = _window(x0, x1, side_px, width_px)
    top, bottom = _window(y0, y1, side_px, height_px)
    return left, top, right, bottom
