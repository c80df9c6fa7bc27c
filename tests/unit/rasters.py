"""Builds small rasters for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import from_origin

PLACED = {"crs": "EPSG:32631", "transform": from_origin(500_000, 5_000_000, 0.5, 0.5)}

#: A CRS that no authority has a number for: its names stand in the file.
OWN_CRS = (
    'PROJCS["Own",GEOGCS["Own",DATUM["Own",SPHEROID["Own",6378137,298.2]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],'
    'PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",3],'
    'PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",500000],'
    'PARAMETER["false_northing",0],UNIT["metre",1]]'
)

#: Ground control points 2 m apart for each pixel.
POINTS = [
    GroundControlPoint(row=row, col=column, x=500_000 + 2 * column, y=5_000_000 - 2 * row)
    for row in (0, 5, 10)
    for column in (0, 5, 10)
]


def write_raster(path: Path, pixels: np.ndarray, **profile: Any) -> Path:
    """Writes pixels (bands, height, width), by default as GeoTIFF.

    Keywords are as `rasterio.open` has them.
    """
    bands, height, width = pixels.shape
    shape = {"count": bands, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **shape, **({"driver": "GTiff"} | PLACED | profile)) as target:
        target.write(pixels)
    return path


def gradient(bands: int, height: int, width: int, dtype: str = "uint8", top: float = 255) -> Any:
    """Pixels that differ everywhere, from 0 to `top`."""
    values = np.linspace(0, top, bands * height * width).reshape(bands, height, width)
    return values.astype(dtype)
