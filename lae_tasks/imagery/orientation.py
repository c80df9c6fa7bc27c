"""Pictures that lie on their side: the tag Orientation, found and applied to windows."""

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from lae_tasks.contracts import WindowPx

T = TypeVar("T", bound=np.generic)

_ORIENTATION = 274
#: Files have some dozens; more is damage.
_MAX_TAGS = 4096
_MAX_EXIF_BYTES = 1 << 16


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
    def of_tag(cls, tag: str, width_px: int, height_px: int) -> "Orientation":
        """By the tag Orientation of EXIF 2.32, section 4.6.4; unknown values are upright.

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


def orientation_tag(file: BinaryIO) -> str:
    """The tag Orientation of a TIFF or PNG file, which GDAL does not tell; "1" without one.

    Of PNG that is in the chunk eXIf. One that comes after the pixels is not looked for: on S3 the
    whole file would be fetched for it.
    """
    try:
        if file.read(4) != b"\x89PNG":
            return _tag_of_tiff(file)
        file.seek(8)
        while True:
            length, kind = struct.unpack(">I4s", file.read(8))
            if kind == b"eXIf":
                return _tag_of_tiff(io.BytesIO(file.read(min(length, _MAX_EXIF_BYTES))))
            if kind in (b"IDAT", b"IEND"):
                return "1"
            file.seek(length + 4, io.SEEK_CUR)  # and its checksum
    except (struct.error, OverflowError):  # the file ends, or points where no file has bytes
        return "1"


def _tag_of_tiff(file: BinaryIO) -> str:
    """From the first directory; TIFF 6.0, section 2, and BigTIFF, which has wider numbers."""
    file.seek(0)
    start = file.read(16)
    order = ">" if start.startswith(b"MM") else "<"
    (version,) = struct.unpack_from(order + "H", start, 2)
    place, number, entry = ("Q", "Q", "HHQH6x") if version == 43 else ("I", "H", "HHIH2x")
    file.seek(*struct.unpack_from(order + place, start, 8 if version == 43 else 4))
    (tags,) = struct.unpack(order + number, file.read(struct.calcsize(order + number)))
    for _ in range(min(tags, _MAX_TAGS)):
        tag, _, _, value = struct.unpack(order + entry, file.read(struct.calcsize(order + entry)))
        if tag == _ORIENTATION:
            return str(value)
    return "1"
