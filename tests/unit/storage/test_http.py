"""A mirror on real web servers: rclone's, which does ranges, and Python's, which does not."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from typer.testing import CliRunner

import lae_tasks
from demo.stack.processes import free_port, stop, wait_until
from demo.stack.settings import HOST
from lae_tasks.cli.common import app
from lae_tasks.contracts import VerdictAction
from lae_tasks.errors import (
    ConfigError,
    ConflictError,
    ContractError,
    LaeError,
    TransientError,
    UnlistableError,
)
from lae_tasks.releases import NoReleaseError, list_releases, pull, read_release, verify
from lae_tasks.releases.comparing import compare
from lae_tasks.releases.marks import yank
from lae_tasks.storage import MissingObjectError, open_storage
from lae_tasks.storage.http import HttpStorage
from tests.release_world import World, publish_world

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]

CONTENT = bytes(range(256)) * 20_000  # several ranges


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two versions, the first of which is yanked, and some objects more."""
    folder = tmp_path_factory.mktemp("store")
    world = World(open_storage(str(folder)))
    world.add_scene(3)
    publish_world(world)
    world.judge(world.region_ids()[0], VerdictAction.REJECT)
    publish_world(world)
    yank(world.store, "v1.0.0", "wrong masks")
    world.store.write("large", CONTENT)
    world.store.write("sub dir/ü#1.bin", b"one")
    world.store.write("empty", b"")
    return folder


@contextmanager
def rclone(folder: Path) -> Iterator[str]:
    """`rclone serve http`."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    program = str(Path(sys.executable).with_name("rclone"))
    command = [program, "serve", "http", str(folder), "--addr", f"{HOST}:{port}", "--read-only"]
    process = subprocess.Popen(
        command, env=os.environ | {"RCLONE_CONFIG": os.devnull}, stderr=subprocess.DEVNULL
    )

    def is_up() -> bool:
        try:
            return httpx.get(url).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(is_up, "rclone", 30, alive=lambda: process.poll() is None)
        yield url
    finally:
        stop([psutil.Process(process.pid)] if process.poll() is None else [])
        process.wait(timeout=10)


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Python's own server with some handler."""
    server = ThreadingHTTPServer((HOST, 0), handler)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """Knows no ranges; a file is a file."""

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module", params=["rclone", "python"])
def url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    served = rclone(folder) if request.param == "rclone" else None
    with served or serving(partial(Quiet, directory=str(folder))) as url:
        yield url


def test_objects_are_read(url: str, tmp_path: Path) -> None:
    storage = open_storage(f"{url}/")
    assert isinstance(storage, HttpStorage)
    assert storage.uri == url
    storage.check()
    assert storage.read("sub dir/ü#1.bin") == b"one"
    assert storage.read("empty") == b""
    storage.download("large", tmp_path / "large")
    assert (tmp_path / "large").read_bytes() == CONTENT
    assert storage.sha256("large") == hashlib.sha256(CONTENT).hexdigest()
    info = storage.stat("large")
    assert info is not None
    assert (info.key, info.size_bytes) == ("large", len(CONTENT))
    assert abs(info.modified_at - time.time()) < 3600
    assert storage.stat("none") is None
    for read in (storage.read, storage.open, storage.sha256):
        with pytest.raises(MissingObjectError, match="none: no such object"):
            read("none")


def test_an_object_is_read_anywhere_as_a_file(url: str) -> None:
    storage = open_storage(url)
    with storage.open("large") as file:
        assert file.read(3) == CONTENT[:3]
        file.seek(1_000_000)
        assert file.read(2_000_000) == CONTENT[1_000_000:3_000_000]
        assert file.seek(-5, 2) == len(CONTENT) - 5
        assert file.read() == CONTENT[-5:]
    with storage.open("empty") as file:
        assert file.read() == b""


def test_nothing_is_written_or_listed(url: str) -> None:
    storage = open_storage(url)
    for write in (lambda: storage.write("k", b"1"), lambda: storage.delete("large")):
        with pytest.raises(ConfigError, match="a mirror can only be read"):
            write()
    with pytest.raises(UnlistableError, match="cannot be listed; set `store` to the bucket"):
        storage.list("releases/")


def test_a_release_is_pulled_from_a_mirror(url: str, tmp_path: Path) -> None:
    storage = open_storage(url)
    pulled = pull(storage, "latest", tmp_path)
    assert pulled.manifest.version == "v1.0.1"
    assert pulled.yanked is None
    assert verify(tmp_path) == []
    yanked = pull(storage, "v1.0.0", tmp_path, formats=["coco"]).yanked
    assert yanked is not None
    assert yanked.reason == "wrong masks"
    with pytest.raises(NoReleaseError, match=r"no release v9\.0\.0; `latest` is the newest"):
        read_release(storage, "v9.0.0")


def test_a_release_is_read_from_a_mirror(url: str) -> None:
    release = lae_tasks.load_release(url, "v1.0.1")
    image, annotations = next(pair for pair in release.by_image() if pair[1])
    assert release.pixels(image).shape == (image.height_px, image.width_px, 3)
    assert {each.image_id for each in annotations} == {image.image_id}


def lae(command: str, url: str) -> str:
    return (
        CliRunner().invoke(app, [*command.split(), "--store", url], catch_exceptions=False).stdout
    )


def test_the_commands_that_only_read_work_on_a_mirror(url: str, folder: Path) -> None:
    assert list_releases(open_storage(url)) == list_releases(open_storage(str(folder)))
    assert lae("releases --json", url) == lae("releases --json", str(folder))
    assert "1 removed" in lae("diff v1.0.0 v1.0.1", url)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("why region", "what nights and stewards said of region is in no mirror"),
        ("yank v1.0.1 --reason x", "can only be read; give the bucket or folder"),
        ("rollback v1.0.0", "can only be read; give the bucket or folder"),
    ],
)
def test_what_a_mirror_cannot_do_is_told(url: str, command: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        lae(command, url)


def test_a_server_that_answers_everything_is_no_mirror(tmp_path: Path) -> None:
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases/LATEST").write_text("<html>v1.0.0 of our site</html>\n")
    with (
        serving(partial(Quiet, directory=str(tmp_path))) as url,
        pytest.raises(ConfigError, match="names no version that is there"),
    ):
        list_releases(open_storage(url))


def test_a_mirror_has_the_versions_that_were_copied(folder: Path, tmp_path: Path) -> None:
    with serving(partial(Quiet, directory=str(tmp_path))) as url:
        for read in (list_releases, read_release):
            with pytest.raises(LaeError, match="there is no releases/LATEST"):
                read(open_storage(url))
        for version in ("v1.0.1", "v1.0.0"):
            copied = tmp_path / "releases" / version
            copied.mkdir(parents=True)
            shutil.copy(folder / "releases" / version / "manifest.json", copied)
            latest = "v1.0.1\n" if version == "v1.0.1" else "v1.0.0\nrolled back from v1.0.1\n"
            (tmp_path / "releases/LATEST").write_text(latest)
            assert len(list_releases(open_storage(url))) == len([*copied.parent.glob("v*")])


def test_publishing_to_a_mirror_is_refused(url: str, tmp_path: Path) -> None:
    world = World(open_storage(str(tmp_path)))
    world.add_scene(3)
    world.store = open_storage(url)
    with pytest.raises(ConfigError, match="a mirror can only be read; set `store` to the bucket"):
        publish_world(world)


def answering(
    *statuses: int, headers: dict[str, str] | None = None, body: bytes = b"content"
) -> tuple[type[BaseHTTPRequestHandler], list[str]]:
    """A server that answers with one status after the other, then with the last; and its log."""
    left, seen = list(statuses), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler, seen


def test_a_server_that_fails_now_and_then_is_asked_again() -> None:
    handler, seen = answering(503, 429, 200)
    with serving(handler) as url:
        assert HttpStorage(url).read("key") == b"content"
    assert len(seen) == 3


def test_a_server_that_stays_away_is_told_by_the_deadline() -> None:
    handler, _ = answering(500)
    started = time.monotonic()
    with serving(handler) as url, pytest.raises(TransientError, match="/key: 500 Internal"):
        HttpStorage(url, deadline_s=1.5).read("key")
    with pytest.raises(TransientError, match="refused; check the address, or try again"):
        HttpStorage(f"http://{HOST}:{free_port()}", deadline_s=0.2).read("key")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(("status", "told"), [(401, "401"), (403, "everybody"), (418, "418")])
def test_a_server_that_refuses_is_told_at_once(status: int, told: str) -> None:
    handler, seen = answering(status)
    with serving(handler) as url, pytest.raises(ConfigError, match=told):
        HttpStorage(url).read("key")
    assert len(seen) == 1


def forbidding(folder: Path, *hidden: str) -> Callable[..., BaseHTTPRequestHandler]:
    """A bucket that all may read and nobody may list, as S3 shows it: 403 where nothing is.

    Args:
        folder: What is in it.
        hidden: Parts of the paths of what is there, and is forbidden.
    """

    class Handler(Quiet):
        def send_head(self) -> Any:
            there = Path(self.translate_path(self.path)).is_file()
            if there and not any(part in self.path for part in hidden):
                return super().send_head()
            self.send_error(403)
            return None

    return partial(Handler, directory=str(folder))


def test_what_s3_forbids_is_forbidden_or_missing(folder: Path, tmp_path: Path) -> None:
    with serving(forbidding(folder)) as url:
        storage = HttpStorage(url)
        assert pull(storage, "latest", tmp_path, formats=["coco"], images=False).yanked is None
        with pytest.raises(MissingObjectError, match="none: 403, forbidden or missing"):
            storage.read("none")
        assert storage.stat("none") is None


def test_what_a_manifest_names_is_never_taken_as_missing(folder: Path, tmp_path: Path) -> None:
    told = r"403, forbidden or missing, though the manifest names it for "
    with serving(forbidding(folder, "files/", "images/")) as url:
        release = lae_tasks.load_release(url)
        with pytest.raises(ContractError, match=told + r"tables/images\.parquet; if this"):
            list(release.by_image())
        with pytest.raises(ContractError, match=told + r"tables/annotations\.parquet"):
            next(release.annotations())
        image = lae_tasks.load_release(str(folder)).images[0]
        with pytest.raises(ContractError, match=told + image.path):
            release.pixels(image)
        with pytest.raises(ContractError, match=told):
            pull(HttpStorage(url), "latest", tmp_path)
        with pytest.raises(ContractError, match=told):
            compare(HttpStorage(url), "v1.0.0", "v1.0.1")


def test_a_server_that_wants_a_login_never_means_that_nothing_is_there() -> None:
    handler, _ = answering(200, 401)
    with serving(handler) as url:
        storage = HttpStorage(url)
        storage.read("there")
        with pytest.raises(ConfigError, match="401 Unauthorized; check the mirror's address"):
            storage.read("none")


def test_a_body_that_ends_early_is_fetched_again() -> None:
    handler, seen = answering(200, headers={"Content-Length": "20"})
    with (
        serving(handler) as url,
        pytest.raises(TransientError, match=r"incomplete|without sending"),
    ):
        HttpStorage(url, deadline_s=1.0).read("key")
    assert len(seen) > 1


def test_a_body_that_trickles_ends_by_the_deadline() -> None:
    class Trickle(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                try:
                    self.wfile.write(b"1")
                except OSError:
                    return
                time.sleep(0.1)

        def log_message(self, *arguments: object) -> None:
            pass

    started = time.monotonic()
    with serving(Trickle) as url, pytest.raises(TransientError, match=r"bytes in 0\.5 s"):
        HttpStorage(url, deadline_s=0.5).sha256("key")
    assert time.monotonic() - started < 8


def test_an_object_that_changes_while_it_is_read_is_told() -> None:
    etags = ['"one"', '"one"', '"two"']

    class Changing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            self.send_response(206)
            self.send_header("ETag", etags.pop(0))
            self.send_header("Content-Range", f"bytes {first}-{last}/{3 << 20}")
            self.send_header("Content-Length", str(last - first + 1))
            self.end_headers()
            self.wfile.write(bytes(last - first + 1))

        def log_message(self, *arguments: object) -> None:
            pass

    with serving(Changing) as url, HttpStorage(url).open("key") as file:
        assert file.read(10) == bytes(10)
        file.seek(2 << 20)
        with pytest.raises(ConflictError, match="was replaced while it was read"):
            file.read(10)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("https://me:secret@example.org/lae", "a user, a password"),
        ("https://example.org/lae?sig=secret", "a query"),
        ("https://", "give one such as"),
    ],
)
def test_an_address_that_cannot_be_one_is_told_without_its_secrets(uri: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        open_storage(uri)
    assert "secret" not in str(raised.value)
