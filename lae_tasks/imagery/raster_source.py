"""How GDAL gets at an object of a storage: by which driver, how strictly, and by which ranges."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import BinaryIO

import affine
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError  # what its own errors do not cover
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from lae_tasks.errors import LaeError
from lae_tasks.imagery.blocks import USUAL_BYTES
from lae_tasks.imagery.orientation import orientation_tag
from lae_tasks.storage import MissingObjectError, Storage

logger = logging.getLogger(__name__)

#: GDAL's own shortcuts show noise or black for what is damaged or missing.
_SETTINGS = {
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": USUAL_BYTES,
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


_WORLD_FILES = frozenset(
    {".tfw", ".tifw", ".tiffw", ".jgw", ".jpgw", ".jpegw", ".pgw", ".pngw", ".j2w", ".jp2w", ".wld"}
)

#: Suffixes of files that are read with the raster that they lie beside: masks, overviews, and world
#: files.
SIDECARS = _WORLD_FILES | {".msk", ".ovr"}


class UnreadableError(LaeError):
    """The file is no raster, or its pixels cannot be decoded."""


class _Watched(io.RawIOBase):
    """A file that GDAL reads; it remembers what went wrong, which GDAL would not tell."""

    def __init__(self, file: BinaryIO, failed: Callable[[BaseException], None]) -> None:
        super().__init__()
        self._file = file
        self._failed = failed

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._file.read(size)
        except BaseException as error:  # any, an interrupt too: it cannot pass through GDAL
            self._failed(error)
            return b""
        return data if size < 0 else data[:size]  # more would be written past GDAL's buffer

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, OverflowError):  # damage points further than files can reach
            return self._file.seek(0, io.SEEK_END)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


class Source:
    """An open raster of a storage, as rasterio has it.

    Attributes:
        dataset: The open dataset. What is read of it counts only if `check` finds nothing.
    """

    def __init__(self, storage: Storage, key: str) -> None:
        self.dataset: rasterio.DatasetReader
        self._storage, self._key = storage, key
        self._suffix = PurePosixPath(key).suffix
        self._stem = key.removesuffix(self._suffix)
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raises what went wrong while GDAL read from the storage."""
        if self._error:
            raise self._error

    @contextmanager
    def decoding(self, what: str) -> Iterator[None]:
        """Lets GDAL work. Raises UnreadableError if it cannot, or what the storage raised."""
        try:
            yield
        # rasterio takes all text of a file for UTF-8, which a CRS's name need not be.
        except (RasterioError, CPLE_BaseError, CRSError, UnicodeDecodeError) as error:
            self.check()
            raise UnreadableError(f"{what}: {_root_cause(error)}") from error
        self.check()

    def open_dataset(self, driver: str) -> None:
        """Opens the raster. What rasterio raises if it cannot is the caller's to tell.

        If it is only the raster's place that cannot be read, it is opened as one that has none.
        """
        try:
            self.dataset = self._opened(driver)
        except (CRSError, UnicodeDecodeError, CPLE_BaseError) as error:
            self.check()
            with rasterio.Env(GDAL_GEOREF_SOURCES="NONE"):
                self.dataset = self._opened(driver)
            file, reason = f"{self._storage.uri}/{self._key}", str(error).partition("\n")[0]
            logger.warning("%s: taken without a place: its CRS cannot be read (%s)", file, reason)

    def _opened(self, driver: str) -> rasterio.DatasetReader:
        """The open raster; raises what is wrong with its place, too.

        Files on this machine are opened by our own hand too: by its own, GDAL reads more of what
        lies beside them, such as MapInfo's .tab beside a JPEG, and no setting forbids that.
        """
        # A plain name, as GDAL reads meaning into some characters of keys.
        name = f"scene{self._suffix}"
        dataset = rasterio.open(name, driver=driver, opener=self._open)
        try:
            # The first reads the CRS of control points, the second raises what GDAL said to that.
            _ = dataset.gcps, dataset.colorinterp
        except BaseException:
            dataset.close()
            raise
        return dataset

    def _open(self, path: str, _mode: str = "rb", **_: object) -> _Watched:
        """What rasterio calls for the raster, and for what may lie beside it.

        Beside `a.tif` may lie its mask `a.tif.msk` and its overviews `a.tif.ovr`.
        """
        beside = PurePosixPath(path).name.removeprefix(f"scene{self._suffix}")
        if beside and not beside.lower().endswith((".msk", ".ovr")):
            raise FileNotFoundError(path)
        try:
            file = self._storage.open(self._key + beside)
            if beside:
                _require_tiff(file, beside)
        except MissingObjectError as error:
            raise FileNotFoundError(path) from error
        except BaseException as error:  # as above
            self._failed(error)
            raise FileNotFoundError(path) from error
        return _Watched(file, self._failed)

    def world_file(self) -> Affine | None:
        """The transform of the world file beside the raster; None if none can be read.

        By GDAL's rule, beside `a.tiff` that is `a.tfw`, `a.tiffw` or `a.wld`. GDAL itself cannot
        read it here, as rasterio 1.4 tells it that a text file is at its end at once.
        """
        letters = self._suffix[1:].lower()
        for suffix in (f".{letters[:1]}{letters[-1:]}w", f".{letters}w", ".wld"):
            for key in (self._stem + suffix, self._stem + suffix.upper()):
                with suppress(MissingObjectError, ValueError), self._storage.open(key) as file:
                    return affine.loadsw(file.read(1000).decode())
        return None

    def orientation_tag(self) -> str:
        """The tag Orientation, "1" to "8"; "1", which is upright, without one."""
        if self.dataset.driver in ("GTiff", "PNG"):
            with self._storage.open(self._key) as file:
                return orientation_tag(file)
        return str(self.dataset.tags().get("EXIF_Orientation", "1"))

    def _failed(self, error: BaseException) -> None:
        self._error = self._error or error


@contextmanager
def open_source(storage: Storage, key: str) -> Iterator[Source]:
    """Opens a raster for reading by windows; of an S3 object only what is needed is fetched.

    Raises:
        UnreadableError: If it is no raster.
        MissingObjectError: If it is not there.
    """
    driver = _driver(storage, key)
    source = Source(storage, key)
    with warnings.catch_warnings(), rasterio.Env(**_SETTINGS):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with source.decoding("not a raster that GDAL knows"):
            source.open_dataset(driver)
        with source.dataset:
            yield source


def _driver(storage: Storage, key: str) -> str:
    with storage.open(key) as file:
        start = file.read(16)
    for signature, driver in _SIGNATURES.items():
        if start.startswith(signature):
            return driver
    raise UnreadableError("not a raster: it begins neither as TIFF, PNG, JPEG nor JPEG 2000 does")


def _require_tiff(file: BinaryIO, suffix: str) -> None:
    """GDAL opens masks and overviews by any driver, such as one that leads elsewhere."""
    start = file.read(16)
    file.seek(0)
    if not any(start.startswith(s) for s, driver in _SIGNATURES.items() if driver == "GTiff"):
        file.close()
        raise UnreadableError(f"the {suffix} file beside it is no TIFF; remove that")


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip()


def gdal_version() -> str:
    """The version of the GDAL that reads rasters here."""
    return str(rasterio.__gdal_version__)
