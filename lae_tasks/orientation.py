"""Pictures that lie on their side: EXIF's orientation, applied to windows."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lae_tasks.contracts import WindowPx

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Orientation:
    """How a stored picture becomes upright: rows and columns swapped, then flipped.

    Attributes:
        swapped: Its rows are the upright picture's columns.
        flip_x: Left and right are exchanged after that.
        flip_y: Top and bottom are.
        width_px: Width of the upright picture.
        height_px: Height of the upright picture.
    """

    swapped: bool
    flip_x: bool
    flip_y: bool
    width_px: int
    height_px: int

    @classmethod
    def of_exif(cls, tag: str, width_px: int, height_px: int) -> "Orientation":
        """By the tag `Orientation` of EXIF 2.32, section 4.6.4; unknown values are upright.

        Args:
            tag: "1" to "8".
            width_px: Width of the picture as stored.
            height_px: Height of the picture as stored.
        """
        swapped, flip_x, flip_y = {
            "2": (False, True, False),
            "3": (False, True, True),
            "4": (False, False, True),
            "5": (True, False, False),
            "6": (True, True, False),
            "7": (True, True, True),
            "8": (True, False, True),
        }.get(tag.strip(), (False, False, False))
        size = (height_px, width_px) if swapped else (width_px, height_px)
        return cls(swapped, flip_x, flip_y, *size)

    def stored_window(self, window_px: WindowPx) -> WindowPx:
        """Where a window (x, y, width, height) of the upright picture is stored."""
        x, y, width, height = window_px
        if self.flip_x:
            x = self.width_px - x - width
        if self.flip_y:
            y = self.height_px - y - height
        return (y, x, height, width) if self.swapped else (x, y, width, height)

    def apply(self, stored: npt.NDArray[T]) -> npt.NDArray[T]:
        """A stored window (height, width, …) as it stands in the upright picture."""
        turned = stored.swapaxes(0, 1) if self.swapped else stored
        return turned[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
