"""Builds small rasters for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin

PLACED = {"crs": "EPSG:32631", "transform": from_origin(500_000, 5_000_000, 0.5, 0.5)}


def write_raster(path: Path, pixels: np.ndarray, **profile: Any) -> Path:
    """Writes pixels (bands, height, width) as GeoTIFF; keywords as `rasterio.open` has them."""
    bands, height, width = pixels.shape
    shape = {"count": bands, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **(PLACED | profile)) as target:
        target.write(pixels)
    return path


def gradient(bands: int, height: int, width: int, dtype: str = "uint8", top: float = 255) -> Any:
    """Pixels that differ everywhere, from 0 to `top`."""
    values = np.linspace(0, top, bands * height * width).reshape(bands, height, width)
    return values.astype(dtype)
