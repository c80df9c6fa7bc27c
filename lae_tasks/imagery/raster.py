"""Source rasters: what they are, and windows of them as 8-bit RGB.

Everything goes through rasterio (GDAL) and is read by windows. A file that decodes with errors
raises UnreadableError instead of giving noise.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from lae_tasks.contracts import WindowPx
from lae_tasks.imagery.blocks import MAX_BYTES, block_bytes, cache_bytes
from lae_tasks.imagery.georeference import Affine6, georeference
from lae_tasks.imagery.orientation import Orientation
from lae_tasks.imagery.raster_source import Source, UnreadableError, gdal_version, open_source
from lae_tasks.storage import Storage

__all__ = ["Raster", "RasterInfo", "Stretch", "UnreadableError", "gdal_version", "open_raster"]

_SAMPLE_PX = 1024
"""Side of the sample that a stretch comes from; scenes up to twice as large are read whole."""
_SAMPLE_WINDOW_PX = 128

_CMYK = (ColorInterp.cyan, ColorInterp.magenta, ColorInterp.yellow, ColorInterp.black)
_RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True)
class RasterInfo:
    """What a raster says of itself, upright; fields as in `contracts.Scene`."""

    width_px: int
    height_px: int
    bands: int
    dtype: str
    crs: str | None
    transform: Affine6 | None
    gsd_m: float | None
    acquired_at: str | None


@dataclass(frozen=True)
class Stretch:
    """The linear stretch of one scene: `low` becomes 0 and `high` 255, per shown band."""

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]


class Raster:
    """An open raster; see `open_raster`."""

    def __init__(self, source: Source, bands: tuple[int, ...] | None) -> None:
        dataset = source.dataset
        self._source, self._dataset = source, dataset
        meaning = list(dataset.colorinterp)
        self._is_cmyk = bands is None and all(ink in meaning for ink in _CMYK)
        self._bands = bands or _display_bands(meaning)
        _require_readable(dataset, self._bands)
        lacks_transform = dataset.crs and dataset.transform.is_identity
        self._place = georeference(dataset, source.world_file() if lacks_transform else None)
        # A picture from a camera may lie on its side; what has a place on the ground does not.
        tag = source.orientation_tag() if self._place is None else "1"
        self._upright = Orientation.of_tag(tag, dataset.width, dataset.height)
        self._has_palette = meaning[self._bands[0] - 1] == ColorInterp.palette
        self._has_mask = any(
            MaskFlags.all_valid not in dataset.mask_flag_enums[band - 1] for band in self._bands
        )

    @property
    def info(self) -> RasterInfo:
        """Size, type and georeference."""
        dataset, place = self._dataset, self._place
        with self._source.decoding("its header is damaged"):
            sides = place.pixel_sides_m(dataset.width / 2, dataset.height / 2) if place else None
            tags = dataset.tags()
        return RasterInfo(
            width_px=self._upright.width_px,
            height_px=self._upright.height_px,
            bands=dataset.count,
            dtype=dataset.dtypes[0],
            crs=place.crs if place else None,
            transform=place.transform if place else None,
            gsd_m=round(sum(sides) / 2, 6) if sides else None,
            acquired_at=_acquired_at(tags),
        )

    def stretch(self, percentiles: tuple[float, ...]) -> Stretch | None:
        """The scene's stretch, from overviews or from a sample spread over the scene.

        None for 8-bit data: it was made for display already, and stretching it again would
        change colours from scene to scene for nothing.
        """
        # Fewer bits than its type has, such as masks of one bit, are dark without a stretch.
        bits = int(self._dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8))
        if self._has_palette or (self._dataset.dtypes[0] == "uint8" and bits == 8):
            return None
        values = np.concatenate(list(self._samples()), axis=1)
        if not values.size:
            return Stretch(np.zeros(len(values)), np.ones(len(values)))
        low, high = np.percentile(values, percentiles, axis=1)
        return Stretch(low, np.maximum(high, low + 1e-9))

    def _samples(self) -> Iterator[npt.NDArray[np.float64]]:
        """Valid values of the shown bands, (bands, n), from all over the scene."""
        width, height = self._dataset.width, self._dataset.height
        scale = max(1.0, max(width, height) / _SAMPLE_PX)
        if scale <= 2 or self._dataset.overviews(1):
            shape = (math.ceil(height / scale), math.ceil(width / scale))
            values, valid = self._read(Window(0, 0, width, height), shape, in_all_bands=True)
            yield values[:, valid].astype(np.float64)
            return
        # Without overviews a smaller picture of the whole would decode all of it.
        side = _SAMPLE_WINDOW_PX
        columns, rows = (
            np.linspace(0, max(0, length - side), min(8, math.ceil(length / side))).astype(int)
            for length in (width, height)
        )
        for row in rows.tolist():
            for column in columns.tolist():
                window = Window(column, row, min(side, width), min(side, height))
                values, valid = self._read(window, in_all_bands=True)
                yield values[:, valid].astype(np.float64)

    def reading_order(self, windows_px: Iterable[WindowPx]) -> list[WindowPx]:
        """Windows as they are stored, row by row; for a picture on its side that is another order.

        PNG and JPEG can be read from their beginning only: going back decodes them again.
        """
        return sorted(windows_px, key=lambda window: self._upright.stored_window(window)[1::-1])

    def cache_bytes(self, window_rows: int) -> int:
        """Bytes of decoded blocks that GDAL is to keep; see `open_raster`."""
        bands = len(set(self._bands)) + self._has_mask
        return cache_bytes(self._dataset, bands, window_rows)

    def read_rgb(
        self, window_px: WindowPx, stretch: Stretch | None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """A window as uint8 RGB (height, width, 3), and where it holds data (height, width)."""
        values, valid = self._read(Window(*self._upright.stored_window(window_px)))
        if stretch:
            span = (stretch.high - stretch.low)[:, None, None]
            values = (values - stretch.low[:, None, None]) / span * 255
        shown = values if values.dtype == np.uint8 else _to_bytes(values)
        if not valid.all():
            shown = np.where(valid, shown, np.uint8(0))
        upright = self._upright.apply(self._coloured(shown))
        return np.ascontiguousarray(upright), self._upright.apply(valid)

    def _read(
        self, window: Window, shape: tuple[int, int] | None = None, in_all_bands: bool = False
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Shown bands as they are stored (bands, h, w), and the mask of data (h, w).

        Of complex values, as radar has them, the amplitude. A pixel has data if one of the shown
        bands has, as a black value may be the others' nodata; or only if all of them have.
        """
        size = shape or (int(window.height), int(window.width))
        stack = (len(self._bands), *size)
        valid = np.ones(size, dtype=bool)
        with self._source.decoding("pixels cannot be decoded"):
            values = self._dataset.read(self._bands, window=window, out_shape=stack)
            if self._has_mask:
                masks = self._dataset.read_masks(self._bands, window=window, out_shape=stack) > 0
                valid = masks.all(axis=0) if in_all_bands else masks.any(axis=0)
        if np.iscomplexobj(values):
            values = np.abs(values)
        if np.issubdtype(values.dtype, np.floating):
            valid = valid & np.isfinite(values).all(axis=0)
        return values, valid

    def _coloured(self, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """What the bands (n, h, w) mean as RGB (h, w, 3): inks, a palette's numbers, or grey."""
        if self._is_cmyk:
            light = 255 - values.astype(np.uint16)
            values = (light[:3] * light[3] // 255).astype(np.uint8)
        if self._has_palette:
            table = np.zeros((256, 3), dtype=np.uint8)
            for value, colour in self._dataset.colormap(self._bands[0]).items():
                table[value] = colour[:3]
            coloured: npt.NDArray[np.uint8] = table[values[0]]
            return coloured
        # Five times as fast as numpy's transposition, which takes as long as reading the pixels.
        merged = cv2.merge([*values] * (3 // len(values)))
        return np.asarray(merged, dtype=np.uint8)


@contextmanager
def open_raster(
    storage: Storage, key: str, bands: tuple[int, ...] | None = None, window_rows: int = 0
) -> Iterator[Raster]:
    """Opens a raster file; of an S3 object only the ranges that are needed are fetched.

    Args:
        storage: Where it lies.
        key: Its key there.
        bands: 1-based bands that `read_rgb` shows, one or three; by default the file's red, green
            and blue, else its inks, else its first three, else its first.
        window_rows: Height in pixels of the windows that will be read in `reading_order`. A file in
            strips, PNG or JPEG is then decoded about once, not once for each window; that takes
            memory for as many rows of its full width, 1 GiB at most.

    Raises:
        UnreadableError: If it is no raster.
        MissingObjectError: If it is not there.
    """
    with open_source(storage, key) as source:
        if source.dataset.count == 0:
            raise UnreadableError("the file is a container without bands of its own")
        with source.decoding("its header is damaged"):
            raster = Raster(source, bands)
        with rasterio.Env(GDAL_CACHEMAX=raster.cache_bytes(window_rows)):
            yield raster


def _require_readable(dataset: rasterio.DatasetReader, bands: tuple[int, ...]) -> None:
    if max(bands) > dataset.count:
        raise UnreadableError(f"band {max(bands)} asked for, the file has {dataset.count}")
    dtype = dataset.dtypes[0]
    if dataset.colorinterp[bands[0] - 1] == ColorInterp.palette and dtype != "uint8":
        raise UnreadableError(f"a palette of {dtype} cannot be shown; use 8 bits")
    rows, columns = dataset.block_shapes[0]
    size_bytes = block_bytes(dataset)
    # A window cannot be read without the blocks that it touches.
    if size_bytes > MAX_BYTES:
        raise UnreadableError(
            f"its blocks of {columns} x {rows} px take {size_bytes / 1e9:.1f} GB each; write it in "
            "tiles, as by gdal_translate -co TILED=YES"
        )


def _to_bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    shown: npt.NDArray[np.uint8] = np.clip(np.nan_to_num(values), 0, 255).round().astype(np.uint8)
    return shown


def _display_bands(meaning: list[ColorInterp]) -> tuple[int, ...]:
    for colours in (_RGB, _CMYK):
        if all(colour in meaning for colour in colours):
            return tuple(meaning.index(colour) + 1 for colour in colours)
    shown = [i + 1 for i, colour in enumerate(meaning) if colour != ColorInterp.alpha]
    return tuple(shown[:3]) if len(shown) >= 3 else (1,)


def _acquired_at(tags: dict[str, str]) -> str | None:
    """The time of the picture from TIFF or EXIF tags (`YYYY:MM:DD HH:MM:SS`), as ISO 8601.

    None where there is none, or no such day or hour: cameras without a clock write zeros.
    """
    text = tags.get("EXIF_DateTimeOriginal") or tags.get("TIFFTAG_DATETIME") or ""
    try:
        return datetime.fromisoformat(f"{text[:10].replace(':', '-')}T{text[11:19]}").isoformat()
    except ValueError:
        return None
