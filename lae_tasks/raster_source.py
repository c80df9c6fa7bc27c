"""How GDAL gets at an object of a storage: by which driver, how strictly, and by which ranges."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO

import rasterio
from rasterio._err import CPLE_BaseError  # what its own errors do not cover
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from lae_tasks.errors import LaeError
from lae_tasks.storage import MissingObjectError, Storage

#: GDAL's own shortcuts show noise or black for what is damaged or missing. Its cache of decoded
#: blocks is 5 % of the memory otherwise.
_SETTINGS = {
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": 64 << 20,
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


#: Suffixes of files that GDAL reads with the raster that they lie beside: masks, overviews, and
#: world files.
SIDECARS = frozenset({".msk", ".ovr", ".wld", ".tfw", ".tifw", ".jgw", ".pgw", ".j2w"})


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
        return self._file.seek(offset, whence)

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

    def __init__(self) -> None:
        self.dataset: rasterio.DatasetReader
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
        except (RasterioError, CPLE_BaseError) as error:
            self.check()
            raise UnreadableError(f"{what}: {_root_cause(error)}") from error
        self.check()

    def opener(self, storage: Storage, key: str, name: str) -> Callable[..., _Watched]:
        """What rasterio calls for the object and for what may lie beside it.

        Beside `a.tif` may lie its mask `a.tif.msk`, overviews `a.tif.ovr`, or a world file.
        """
        stem, name_stem = PurePosixPath(key).with_suffix(""), PurePosixPath(name).stem

        def open_(path: str, _mode: str = "rb", **_: object) -> _Watched:
            asked = PurePosixPath(path).name
            beside = asked != name
            if beside and PurePosixPath(asked).suffix.lower() not in SIDECARS:
                raise FileNotFoundError(path)
            try:
                file = storage.open(str(stem) + asked.removeprefix(name_stem))
            except MissingObjectError as error:
                raise FileNotFoundError(path) from error
            except BaseException as error:  # as above
                self._failed(error)
                raise FileNotFoundError(path) from error
            return _Watched(file, self._failed)

        return open_

    def _failed(self, error: BaseException) -> None:
        self._error = self._error or error


@contextmanager
def open_source(storage: Storage, key: str) -> Iterator[Source]:
    """Opens a raster for reading by windows; of an S3 object only the ranges that are needed.

    Raises:
        UnreadableError: If it is no raster.
        MissingObjectError: If it is not there.
    """
    driver = _driver(storage, key)
    _require_plain_sidecars(storage, key)
    source = Source()
    path = storage.local_path(key)
    with warnings.catch_warnings(), rasterio.Env(**_SETTINGS):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with source.decoding("not a raster that GDAL knows"):
            if path:
                source.dataset = rasterio.open(path, driver=driver)
            else:
                # A plain name, as GDAL reads meaning into some characters of keys.
                name = f"scene{PurePosixPath(key).suffix}"
                opener = source.opener(storage, key, name)
                source.dataset = rasterio.open(name, driver=driver, opener=opener)
        with source.dataset:
            yield source


def _driver(storage: Storage, key: str) -> str:
    with storage.open(key) as file:
        start = file.read(16)
    for signature, driver in _SIGNATURES.items():
        if start.startswith(signature):
            return driver
    raise UnreadableError("not a raster: it begins neither as TIFF, PNG, JPEG nor JPEG 2000 does")


def _require_plain_sidecars(storage: Storage, key: str) -> None:
    """GDAL opens what lies beside a raster by any driver, such as one that leads elsewhere."""
    for suffix in (".msk", ".ovr"):
        try:
            with storage.open(key + suffix) as file:
                start = file.read(16)
        except MissingObjectError:
            continue
        if not any(start.startswith(s) for s, driver in _SIGNATURES.items() if driver == "GTiff"):
            raise UnreadableError(f"the {suffix} file beside it is no TIFF; remove that")


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip()


def gdal_version() -> str:
    """The version of the GDAL that reads rasters here."""
    return str(rasterio.__gdal_version__)
