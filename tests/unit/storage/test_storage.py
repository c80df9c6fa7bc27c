"""Storage: the same behaviour on a local folder and on a real S3 server."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from demo.stack.services import S3Server
from lae_tasks.errors import ConfigError, ConflictError, TransientError
from lae_tasks.storage import (
    LocalStorage,
    MissingObjectError,
    ObjectInfo,
    S3Storage,
    Storage,
    open_storage,
    s3_client,
)


def s3_storage(s3: S3Server) -> S3Storage:
    bucket = f"b-{uuid4().hex[:8]}"
    s3.client().create_bucket(Bucket=bucket)
    return S3Storage(bucket, "a/prefix", s3.client())


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    if request.param == "local":
        yield LocalStorage(tmp_path / "store")
    else:
        yield s3_storage(request.getfixturevalue("s3"))


def test_what_is_written_is_read_and_replaced(storage: Storage) -> None:
    storage.write("x/y.bin", b"one")
    storage.write("x/y.bin", b"two")
    assert storage.read("x/y.bin") == b"two"


def test_an_object_is_read_anywhere_as_a_file(storage: Storage, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000  # several ranges
    storage.write("x", content)
    with storage.open("x") as file:
        assert file.read(3) == content[:3]
        assert file.seek(-5, 2) == len(content) - 5
        assert file.read() == content[-5:]
        assert file.read(1) == b""
        file.seek(1_000_000)
        assert file.read(2_000_000) == content[1_000_000:3_000_000]
        assert file.tell() == 3_000_000
    assert storage.sha256("x") == hashlib.sha256(content).hexdigest()
    for read in (storage.open, storage.sha256):
        with pytest.raises(MissingObjectError):
            read("none")


def test_stat_tells_size_and_a_changing_etag(storage: Storage) -> None:
    assert storage.stat("k") is None
    storage.write("k", b"one")
    first = storage.stat("k")
    storage.write("k", b"three")
    second = storage.stat("k")
    assert first and second
    assert (first.size_bytes, second.size_bytes) == (3, 5)
    assert first.etag != second.etag


def test_a_listing_is_ordered_and_limited_to_its_prefix(storage: Storage) -> None:
    for key in ("b/2", "b/1", "a", "bc", "b/sub dir/ü.tif"):
        storage.write(key, b"1")
    assert [info.key for info in storage.list()] == ["a", "b/1", "b/2", "b/sub dir/ü.tif", "bc"]
    assert [info.key for info in storage.list("b/")] == ["b/1", "b/2", "b/sub dir/ü.tif"]
    assert list(storage.list("nothing/")) == []
    one = next(iter(storage.list("b/1")))
    assert one == storage.stat("b/1")
    assert isinstance(one, ObjectInfo)


def test_folders_are_named_without_what_is_in_them(storage: Storage) -> None:
    for key in ("b/2/x", "b/1/deep/x", "b/1/y", "b/file", "bc/3/x", "b/ü 4/x"):
        storage.write(key, b"1")
    assert list(storage.folders("b/")) == ["1", "2", "ü 4"]
    assert list(storage.folders("b/1/")) == ["deep"]
    assert list(storage.folders("nothing/")) == []
    assert list(storage.folders("b/file/")) == []


def test_a_listing_goes_on_past_a_page(s3: S3Server) -> None:
    storage = s3_storage(s3)
    client = s3.client()

    class SmallPages:
        def __getattr__(self, name: str) -> object:
            return getattr(client, name)

        def list_objects_v2(self, **arguments: object) -> object:
            return client.list_objects_v2(**arguments, MaxKeys=2)

    for index in range(5):
        storage.write(f"{index}", b"1")
        storage.write(f"in/{index}/x", b"1")
    paged = S3Storage(storage.bucket, "a/prefix", SmallPages())
    assert [info.key for info in paged.list()][:5] == ["0", "1", "2", "3", "4"]
    assert list(paged.folders("in/")) == ["0", "1", "2", "3", "4"]


def test_a_missing_object_is_said_to_be_missing(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(MissingObjectError, match="no such object"):
        storage.read("none")
    with pytest.raises(MissingObjectError):
        storage.download("none", tmp_path / "file")


def test_an_object_is_copied_to_a_file(storage: Storage, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    storage.write("deep/key", content)
    storage.download("deep/key", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_a_file_is_copied_to_an_object(storage: Storage, tmp_path: Path) -> None:
    content = bytes(range(256)) * 20_000
    (tmp_path / "file").write_bytes(content)
    storage.write("deep/key", b"old")
    with (tmp_path / "file").open("rb") as file:
        storage.write("deep/key", file)
    assert storage.read("deep/key") == content


def test_deleting_twice_is_no_error(storage: Storage) -> None:
    storage.write("k", b"1")
    storage.delete("k")
    storage.delete("k")
    assert storage.stat("k") is None


def test_conditional_writes_of_a_folder(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.write("k", b"1", if_absent=True)
    with pytest.raises(ConflictError):
        storage.write("k", b"2", if_absent=True)
    info = storage.stat("k")
    assert info
    storage.write("k", b"3", if_match=info.etag)
    with pytest.raises(ConflictError):
        storage.write("k", b"4", if_match=info.etag)
    assert storage.read("k") == b"3"
    assert [path.name for path in tmp_path.iterdir()] == ["k"], "a temporary file was left"


def test_a_key_cannot_leave_its_folder(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "store")
    with pytest.raises(ConfigError, match="leaves the folder"):
        storage.write("../outside", b"1")


def test_s3_errors_name_place_and_remedy(s3: S3Server) -> None:
    nowhere = S3Storage("no-such-bucket", "", s3.client())
    with pytest.raises(ConfigError, match="create the bucket"):
        nowhere.write("k", b"1")
    stranger = s3_client(
        endpoint_url=s3.endpoint,
        aws_access_key_id="somebody",
        aws_secret_access_key="else",
        region_name=s3.region,
    )
    with pytest.raises(ConfigError, match="check AWS_ACCESS_KEY_ID"):
        S3Storage("any", "", stranger).read("k")
    down = s3_client(
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="somebody",
        aws_secret_access_key="else",
        region_name=s3.region,
    )
    with pytest.raises(TransientError, match="s3://any/k"):
        S3Storage("any", "", down).read("k")


def test_links_in_a_folder_are_followed_and_odd_names_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"1")
    folder = tmp_path / "all #3?"
    folder.mkdir()
    (folder / "link.tif").symlink_to(tmp_path / "a.tif")
    storage = open_storage(str(folder))
    assert [info.key for info in storage.list()] == ["link.tif"]
    assert storage.read("link.tif") == b"1"
    assert open_storage(f"file://{str(folder).replace(' ', '%20')}").read("link.tif") == b"1"


def test_what_is_not_there_is_missed(tmp_path: Path, s3: S3Server) -> None:
    folder = open_storage(f"file://{tmp_path}/raw%20imgery")
    assert list(folder.list()) == []
    with pytest.raises(ConfigError, match="raw imgery: there is no such folder"):
        folder.check()
    with pytest.raises(ConfigError, match="NoSuchBucket; create the bucket"):
        S3Storage("no-such-bucket", "raw", s3.client()).check()


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ConfigError, match="use s3://"):
        open_storage("gs://bucket/x")
