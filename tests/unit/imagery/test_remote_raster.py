"""Rasters on a real S3 server: the same pixels as on disk, only what is needed, errors told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from uuid import uuid4

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from demo.stack.services import S3Server
from lae_tasks.errors import ConflictError, TransientError
from lae_tasks.imagery.raster import open_raster
from lae_tasks.storage import LocalStorage, MissingObjectError, S3Storage
from tests.unit.rasters import gradient, write_raster

KEY = "scenes/Häfen & co/a b.tif"


ODD_KEYS = [
    "a b.tif",
    "Häfen/ü é.tif",
    "日本.tif",
    "#1.tif",
    "a?x=1.tif",
    "100%.tif",
    "a%20b.tif",
    "a+b&c;d.tif",
    "zip!a:b.tif",
    "a\\b.tif",
    "[*].tif",
]


class Counted:
    """A real client that counts the bytes it brings, and fails when it is told to."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.bytes = 0
        self.gone = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_object(self, **arguments: Any) -> Any:
        if self.gone:
            raise OSError("the network is gone")
        answer = self._client.get_object(**arguments)
        self.bytes += answer["ContentLength"]
        return answer


@pytest.fixture
def remote(s3: S3Server) -> Iterator[tuple[S3Storage, Counted]]:
    bucket = f"b-{uuid4().hex[:8]}"
    client = Counted(s3.client())
    client.create_bucket(Bucket=bucket)
    yield S3Storage(bucket, "raw", client), client
    client.close()


@pytest.fixture
def cog(tmp_path: Path) -> LocalStorage:
    """Twelve megabytes of noise in tiles."""
    noise = np.random.default_rng(0).integers(0, 255, (3, 2048, 2048), dtype=np.uint8)
    (tmp_path / "scenes" / "Häfen & co").mkdir(parents=True)
    write_raster(
        tmp_path / KEY, noise, tiled=True, blockxsize=256, blockysize=256, compress="deflate"
    )
    return LocalStorage(tmp_path)


def test_a_window_of_a_tiled_file_is_fetched_by_ranges(
    cog: LocalStorage, remote: tuple[S3Storage, Counted]
) -> None:
    storage, client = remote
    storage.write(KEY, cog.read(KEY))
    window = (300, 700, 256, 256)
    with open_raster(cog, KEY) as raster:
        expected, _ = raster.read_rgb(window, None)
    with open_raster(storage, KEY) as raster:
        found, valid = raster.read_rgb(window, None)
    assert (found == expected).all()
    assert valid.all()
    info = storage.stat(KEY)
    assert info
    assert info.size_bytes > 12_000_000
    assert client.bytes < info.size_bytes / 2


def test_an_external_mask_is_read_with_its_scene(
    tmp_path: Path, remote: tuple[S3Storage, Counted]
) -> None:
    storage, _ = remote
    path = write_raster(tmp_path / "a.tif", np.full((3, 64, 64), 9, np.uint8))
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :20] = 255
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(mask)
    for name in ("a.tif", "a.tif.msk"):
        storage.write(name, (tmp_path / name).read_bytes())
    for each in (storage, LocalStorage(tmp_path)):
        with open_raster(each, "a.tif") as raster:
            _, valid = raster.read_rgb((0, 0, 64, 64), None)
        assert (valid == (mask > 0)).all()


def test_a_world_file_is_read_with_its_scene(
    tmp_path: Path, remote: tuple[S3Storage, Counted]
) -> None:
    storage, _ = remote
    with pytest.warns(NotGeoreferencedWarning):
        write_raster(tmp_path / "a.tif", np.full((3, 9, 9), 9, np.uint8), transform=None)
    (tmp_path / "a.tfw").write_text("2\n0\n0\n-2\n500001\n4999999\n")
    for name in ("a.tif", "a.tfw"):
        storage.write(name, (tmp_path / name).read_bytes())
    for each in (storage, LocalStorage(tmp_path)):
        with open_raster(each, "a.tif") as raster:
            assert raster.info.transform == (2, 0, 500_000, 0, -2, 5_000_000)


def test_a_network_that_fails_is_no_damaged_file(
    cog: LocalStorage, remote: tuple[S3Storage, Counted]
) -> None:
    storage, client = remote
    storage.write(KEY, cog.read(KEY))
    with open_raster(storage, KEY) as raster:
        raster.read_rgb((0, 0, 64, 64), None)
        client.gone = True
        with pytest.raises(TransientError, match="the network is gone"):
            raster.read_rgb((1800, 1800, 200, 200), None)


def test_an_interrupt_is_not_taken_for_damage(
    cog: LocalStorage, remote: tuple[S3Storage, Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    storage, client = remote
    storage.write(KEY, cog.read(KEY))
    with open_raster(storage, KEY) as raster:
        monkeypatch.setattr(client, "get_object", interrupted)
        with pytest.raises(KeyboardInterrupt):
            raster.read_rgb((1800, 1800, 200, 200), None)


def test_a_file_that_is_replaced_while_it_is_read_is_told(
    cog: LocalStorage, remote: tuple[S3Storage, Counted]
) -> None:
    storage, _ = remote
    storage.write(KEY, cog.read(KEY))
    with open_raster(storage, KEY) as raster:
        storage.write(KEY, cog.read(KEY)[::-1])
        with pytest.raises(ConflictError, match="replaced while it was read"):
            raster.read_rgb((1800, 1800, 200, 200), None)


def test_a_server_that_ignores_ranges_is_told(
    cog: LocalStorage, remote: tuple[S3Storage, Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, client = remote
    storage.write(KEY, cog.read(KEY))
    whole = client.get_object
    monkeypatch.setattr(client, "get_object", lambda Range, **rest: whole(**rest))
    with pytest.raises(TransientError, match="bytes came for a range"), open_raster(storage, KEY):
        pass


def test_what_is_not_there_is_missing(remote: tuple[S3Storage, Counted]) -> None:
    with pytest.raises(MissingObjectError), open_raster(remote[0], "none.tif"):
        pass


def test_a_key_is_no_path_and_no_address(tmp_path: Path, remote: tuple[S3Storage, Counted]) -> None:
    pixels = gradient(3, 9, 9)
    data = write_raster(tmp_path / "a.tif", pixels).read_bytes()
    for storage in (remote[0], LocalStorage(tmp_path / "raw")):
        for key in ODD_KEYS:
            storage.write(key, data)
        assert {info.key for info in storage.list()} == set(ODD_KEYS)
        for key in ODD_KEYS:
            with open_raster(storage, key) as raster:
                rgb, _ = raster.read_rgb((0, 0, 9, 9), None)
            assert (rgb == pixels.transpose(1, 2, 0)).all()


@pytest.mark.parametrize("key", ["a//b.tif", "./b.tif", "x/./b.tif", "/b.tif"])
def test_a_key_is_asked_for_as_it_is(tmp_path: Path, key: str) -> None:
    """S3 has keys that would be one path on disk; its mask is that of the key itself."""

    class Keys(LocalStorage):
        asked: ClassVar[set[str]] = set()

        def open(self, key: str) -> BinaryIO:
            self.asked.add(key)
            return super().open(key.rpartition("/")[2])

    write_raster(tmp_path / "b.tif", gradient(3, 9, 9))
    with open_raster(Keys(tmp_path), key) as raster:
        raster.read_rgb((0, 0, 9, 9), None)
    assert Keys.asked
    assert {asked[: len(key)] for asked in Keys.asked} == {key}
