"""How a raster is stored: in blocks that are decoded whole, and the memory that they take so."""

import numpy as np
import rasterio
from rasterio.enums import Interleaving

#: What decoded blocks may take. Scenes in strips that need more are decoded again for each tile;
#: with tiles of 1024 px, 8-bit RGB of 320,000 px and 16-bit RGB of 160,000 px are as wide as that.
MAX_BYTES = 1 << 30
#: For tiled files. GDAL's own default is 5 % of the memory.
USUAL_BYTES = 64 << 20


def block_bytes(dataset: rasterio.DatasetReader) -> int:
    """Bytes of one block, decoded: of all bands, or of one where each is stored by itself."""
    rows, columns = dataset.block_shapes[0]
    bands = dataset.count if _holds_all_bands(dataset) else 1
    return int(rows * columns * bands * _value_bytes(dataset))


def cache_bytes(dataset: rasterio.DatasetReader, bands: int, window_rows: int) -> int:
    """Bytes of decoded blocks to keep, so that none is decoded twice for a row of windows.

    In tiled files only neighbours share blocks, which takes little. In strips, and in the lines of
    PNG and JPEG, all windows of a row share all of its blocks, so these are kept: more memory the
    wider the scene is, but not the higher. If rows of windows follow each other downwards, those
    where they overlap are kept too, and PNG and JPEG, which can only be read from the beginning,
    are decoded once in all.

    Args:
        dataset: The raster.
        bands: How many of its bands are read, a mask being one.
        window_rows: Height of the windows, in pixels as they are stored.
    """
    rows, columns = dataset.block_shapes[0]
    if columns < dataset.width:
        return USUAL_BYTES
    kept_rows = min(dataset.height, window_rows + 2 * rows)
    kept_bands = max(bands, dataset.count) if _holds_all_bands(dataset) else bands
    size = kept_rows * columns * kept_bands * _value_bytes(dataset)
    size += size // 16  # what GDAL keeps of each block besides
    return int(size) if USUAL_BYTES < size <= MAX_BYTES else USUAL_BYTES


def _value_bytes(dataset: rasterio.DatasetReader) -> int:
    dtype = dataset.dtypes[0]
    return 4 if dtype == "complex_int16" else np.dtype(dtype).itemsize


def _holds_all_bands(dataset: rasterio.DatasetReader) -> bool:
    return bool(dataset.interleaving == Interleaving.pixel)
