"""Source rasters: what they are, and windows of them as 8-bit RGB.

Everything goes through rasterio (GDAL) and is read by windows. A file that decodes with errors
raises UnreadableError instead of giving noise.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.crs
import rasterio.warp
from rasterio.enums import ColorInterp
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.windows import Window

from lae_tasks.contracts import WindowPx
from lae_tasks.errors import LaeError

_STRETCH_SAMPLE_PX = 1024

#: GDAL's own shortcuts show noise or black for what is damaged or missing.
_STRICT = {
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    "GDAL_PAM_ENABLED": "NO",
}

#: How a file of each GDAL driver that is used begins. All read pixels from the file itself; others,
#: such as VRT or WMS, would follow what the file says to other files and hosts.
_SIGNATURES = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",  # BigTIFF
    b"MM\0+": "GTiff",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP": "JP2OpenJPEG",
    b"\xff\x4f\xff\x51": "JP2OpenJPEG",
}

Affine6 = tuple[float, float, float, float, float, float]


class UnreadableError(LaeError):
    """The file is no raster, or its pixels cannot be decoded."""


@dataclass(frozen=True)
class RasterInfo:
    """What a raster says of itself; fields as in `contracts.Scene`."""

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

    def __init__(self, source: rasterio.DatasetReader, bands: tuple[int, ...] | None) -> None:
        self._source = source
        self._bands = bands or _display_bands(source)
        if max(self._bands) > source.count:
            raise UnreadableError(f"band {max(self._bands)} asked for, the file has {source.count}")
        if self._has_palette and source.dtypes[0] != "uint8":
            raise UnreadableError(f"a palette of {source.dtypes[0]} cannot be shown; use 8 bits")

    @property
    def info(self) -> RasterInfo:
        """Size, type and georeference."""
        source = self._source
        has_place = not source.transform.is_identity
        crs = source.crs.to_string() if source.crs else None
        transform = tuple(float(v) for v in source.transform)[:6] if has_place else None
        return RasterInfo(
            width_px=source.width,
            height_px=source.height,
            bands=source.count,
            dtype=source.dtypes[0],
            crs=crs,
            transform=transform,  # type: ignore[arg-type]
            gsd_m=_ground_sampling_distance_m(source) if crs and has_place else None,
            acquired_at=_acquired_at(source),
        )

    def check(self) -> None:
        """Decodes every block once. Raises UnreadableError where one is damaged."""
        for _, window in self._source.block_windows(1):
            self._read(window)

    def stretch(self, percentiles: tuple[float, ...]) -> Stretch | None:
        """The scene's stretch, from a sample of at most 1024 x 1024 pixels.

        None for 8-bit data: it was made for display already, and stretching it again would
        change colours from scene to scene for nothing.
        """
        if self._source.dtypes[0] == "uint8" or self._has_palette:
            return None
        scale = max(1.0, max(self._source.width, self._source.height) / _STRETCH_SAMPLE_PX)
        shape = (math.ceil(self._source.height / scale), math.ceil(self._source.width / scale))
        whole = Window(0, 0, self._source.width, self._source.height)
        values, valid = self._read(whole, shape)
        if not valid.any():
            return Stretch(np.zeros(len(values)), np.ones(len(values)))
        low, high = np.percentile(values[:, valid], percentiles, axis=1)
        return Stretch(low, np.maximum(high, low + 1e-9))

    def read_rgb(
        self, window_px: WindowPx, stretch: Stretch | None
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """A window as uint8 RGB (height, width, 3), and where it holds data (height, width)."""
        x, y, width, height = window_px
        values, valid = self._read(Window(x, y, width, height))
        if stretch:
            span = (stretch.high - stretch.low)[:, None, None]
            values = (values - stretch.low[:, None, None]) / span * 255
        rgb = np.clip(np.nan_to_num(values), 0, 255).round().astype(np.uint8)
        rgb[:, ~valid] = 0
        if len(rgb) == 1:
            rgb = self._colour(rgb)
        return np.ascontiguousarray(rgb.transpose(1, 2, 0)), valid

    def _read(
        self, window: Window, shape: tuple[int, int] | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Shown bands as float64 (bands, h, w), and the mask of data (h, w)."""
        try:
            size = shape or (int(window.height), int(window.width))
            raw = self._source.read(self._bands, window=window, out_shape=(len(self._bands), *size))
            valid = self._source.dataset_mask(window=window, out_shape=size) > 0
        except (RasterioError, RasterioIOError) as error:
            raise UnreadableError(f"pixels cannot be decoded: {_root_cause(error)}") from error
        if np.iscomplexobj(raw):  # radar: show the amplitude
            raw = np.abs(raw)
        values = raw.astype(np.float64)
        return values, valid & np.isfinite(values).all(axis=0)

    def _colour(self, grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """One band as three: by its palette if it has one, else as grey."""
        if not self._has_palette:
            return np.repeat(grey, 3, axis=0)
        table = np.zeros((256, 3), dtype=np.uint8)
        for value, colour in self._source.colormap(self._bands[0]).items():
            table[value] = colour[:3]
        coloured: npt.NDArray[np.uint8] = table[grey[0]].transpose(2, 0, 1)
        return coloured

    @property
    def _has_palette(self) -> bool:
        return bool(self._source.colorinterp[self._bands[0] - 1] == ColorInterp.palette)


@contextmanager
def open_raster(path: Path, bands: tuple[int, ...] | None = None) -> Iterator[Raster]:
    """Opens a local raster file.

    Args:
        path: The file.
        bands: 1-based bands that `read_rgb` shows, one or three; by default the file's red, green
            and blue, else its first three, else its first.

    Raises:
        UnreadableError: If it is no raster.
    """
    with (
        warnings.catch_warnings(),
        rasterio.Env(**_STRICT),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            source = rasterio.open(path, driver=_driver(path))
        except (RasterioError, RasterioIOError) as error:
            raise UnreadableError(f"not a raster that GDAL knows: {_root_cause(error)}") from error
        with source:
            if source.count == 0:
                raise UnreadableError("the file is a container without bands of its own")
            yield Raster(source, bands)


def _driver(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(16)
    for signature, driver in _SIGNATURES.items():
        if start.startswith(signature):
            return driver
    raise UnreadableError("not a raster: it begins neither as TIFF, PNG, JPEG nor JPEG 2000 does")


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip()


def _display_bands(source: rasterio.DatasetReader) -> tuple[int, ...]:
    meaning = list(source.colorinterp)
    rgb = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(colour in meaning for colour in rgb):
        return tuple(meaning.index(colour) + 1 for colour in rgb)
    shown = [i + 1 for i, colour in enumerate(meaning) if colour != ColorInterp.alpha]
    return tuple(shown[:3]) if len(shown) >= 3 else (1,)


def _ground_sampling_distance_m(source: rasterio.DatasetReader) -> float | None:
    """Mean length of a pixel's sides in metres, at the centre; None if the CRS knows no metres."""
    x, y = source.transform @ (source.width / 2, source.height / 2)
    if (
        source.crs.is_geographic
    ):  # degrees: https://en.wikipedia.org/wiki/Geographic_coordinate_system
        metres_x, metres_y = 111_320 * math.cos(math.radians(y)), 110_574.0
    else:
        try:
            factor = source.crs.linear_units_factor[1]
        except CRSError:  # an engineering or local system
            return None
        metres_x = metres_y = factor
        if source.crs.to_epsg() in (3857, 3395):  # Mercator stretches by 1 / cos(latitude)
            _, latitude = rasterio.warp.transform(source.crs, "EPSG:4326", [x], [y])
            metres_x = metres_y = factor * math.cos(math.radians(latitude[0]))
    t = source.transform
    column = math.hypot(t.a * metres_x, t.d * metres_y)
    row = math.hypot(t.b * metres_x, t.e * metres_y)
    return round((column + row) / 2, 6)


def _acquired_at(source: rasterio.DatasetReader) -> str | None:
    """The time of the picture from TIFF or EXIF tags (`YYYY:MM:DD HH:MM:SS`), as ISO 8601."""
    tags = source.tags()
    text = tags.get("EXIF_DateTimeOriginal") or tags.get("TIFFTAG_DATETIME")
    if not text or len(text) < 19 or not text[:4].isdigit():
        return None
    return f"{text[:10].replace(':', '-')}T{text[11:19]}"


def gdal_version() -> str:
    """The version of the GDAL that reads rasters here."""
    return str(rasterio.__gdal_version__)
