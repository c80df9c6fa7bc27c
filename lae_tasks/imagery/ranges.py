"""A remote object as a file that can be read anywhere, by ranges."""

import io
from collections.abc import Callable

from fsspec.caching import BlockCache

#: Larger than a tile of most files, so that one request brings a tile or several.
_BLOCK_BYTES = 1 << 20
_BLOCKS = 32


class RangeFile(io.RawIOBase):
    """A read-only file over `fetch`; the last 32 MiB that were read are kept until it is closed.

    Args:
        fetch: Gives the bytes from a first offset to the one before a second.
        size_bytes: The object's size.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size_bytes: int) -> None:
        super().__init__()
        self._cache: BlockCache | None = BlockCache(
            _BLOCK_BYTES, fetch, size_bytes, maxblocks=_BLOCKS
        )
        self._size = size_bytes
        self._at = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves, as files do."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """The next bytes, up to `size` of them."""
        end = self._size if size < 0 else min(self._size, self._at + size)
        if end <= self._at:
            return b""
        if self._cache is None:
            raise ValueError("read of a closed file")
        data: bytes = self._cache._fetch(self._at, end)
        self._at += len(data)
        return data

    def close(self) -> None:
        """Gives the memory back; GDAL may hold a closed file for as long as its raster."""
        self._cache = None
        super().close()
