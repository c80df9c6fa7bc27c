import json
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from lae_tasks.contracts import VerdictAction
from lae_tasks.errors import ConfigError, ContractError, TransientError
from lae_tasks.releases import ReleaseFile, fetching, pull, read_release, verify
from lae_tasks.releases.choice import Choice
from lae_tasks.releases.marks import yank
from lae_tasks.releases.pull import LABELS_CACHE
from lae_tasks.stages.release import publish
from lae_tasks.storage import LocalStorage, open_storage
from tests.release_world import World

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with two versions of one scene."""
    world = World(open_storage(str(tmp_path_factory.mktemp("store"))))
    world.add_scene(3)
    publish(lambda: world.state, world.config, world.store)
    world.judge(world.region_ids()[0], VerdictAction.REJECT)
    publish(lambda: world.state, world.config, world.store)
    return world.store


def test_pull_brings_every_file(store, tmp_path):
    seen = []
    pulled = pull(store, "latest", tmp_path / "d", lambda done, of: seen.append((done, of)))
    files = read_release(store, "v1.0.1").files
    assert pulled.manifest.version == "v1.0.1"
    assert (pulled.fetched, pulled.skipped) == (len(files), 0)
    assert pulled.fetched_bytes == sum(file.size_bytes for file in files)
    assert seen[-1] == (pulled.fetched_bytes, pulled.fetched_bytes)
    assert seen == sorted(seen)
    assert len(list((tmp_path / "d" / "images").glob("*.png"))) == 4
    assert verify(tmp_path / "d") == []


def test_pull_again_fetches_nothing(store, tmp_path):
    pull(store, "v1.0.0", tmp_path)
    again = pull(store, "v1.0.0", tmp_path)
    assert (again.fetched, again.fetched_bytes) == (0, 0)


def test_pull_mends_what_is_missing_or_broken(store, tmp_path):
    pulled = pull(store, "v1.0.0", tmp_path)
    first, second, *_ = sorted(tmp_path.glob("images/*.png"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:100])
    assert pull(store, "v1.0.0", tmp_path).fetched == 2
    assert pulled.manifest.counts["images"] == 4
    assert verify(tmp_path) == []


def test_pull_goes_on_after_it_was_killed(store, tmp_path):
    def die(done, of):
        if done > of // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(store, "v1.0.0", tmp_path, die)
    with pytest.raises(ContractError, match="goes on with it"):
        verify(tmp_path)
    assert pull(store, "v1.0.0", tmp_path).skipped >= 1
    assert verify(tmp_path) == []


def test_another_version_after_a_killed_pull_leaves_nothing_of_it(store, tmp_path):
    def die(done, of):
        if done == of:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(store, "v1.0.1", tmp_path, die)
    pull(store, "v1.0.0", tmp_path)
    assert verify(tmp_path) == []


@pytest.mark.parametrize("name", ["README.md", "sub/notes.txt"])
def test_a_folder_with_other_files_is_not_touched(store, tmp_path, name):
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(ConfigError, match="has files but no release"):
        pull(store, "v1.0.0", tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_two_pulls_that_die_leave_nothing_to_a_third(store, tmp_path, monkeypatch):
    def die(done, of):
        raise KeyboardInterrupt

    for version in ("v1.0.1", "v1.0.0"):
        with pytest.raises(KeyboardInterrupt):
            pull(store, version, tmp_path, die)
    pull(store, "v1.0.1", tmp_path)
    assert verify(tmp_path) == []


def test_a_foreign_manifest_part_does_not_make_a_folder_ours(store, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "manifest.json.part").write_text("mine")
    with pytest.raises(ContractError, match="not a release's manifest"):
        pull(store, "v1.0.0", tmp_path)


def test_a_file_is_no_folder_to_pull_to(store, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="Not a directory; give another folder"):
        pull(store, "v1.0.0", tmp_path / "file" / "sub")
    with pytest.raises(ConfigError, match="is a file; give a folder"):
        pull(store, "v1.0.0", tmp_path / "file")


def test_what_is_no_manifest_is_told_in_one_line(store, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ContractError, match="manifest \\(version: Field required\\); pull") as told:
        verify(tmp_path)
    assert "\n" not in str(told.value)


def test_another_version_leaves_nothing_of_the_first(store, tmp_path):
    pull(store, "v1.0.1", tmp_path)
    coco = (tmp_path / "coco" / "instances.json").read_bytes()
    pull(store, "v1.0.0", tmp_path)
    assert (tmp_path / "coco" / "instances.json").read_bytes() != coco
    assert verify(tmp_path) == []


def test_a_damaged_object_is_not_pulled(tmp_path):
    world = World(open_storage(str(tmp_path / "store")))
    world.add_scene(3)
    manifest = publish(lambda: world.state, world.config, world.store).manifest
    file = manifest.file("odvg/odvg.jsonl")
    world.store.write(file.key, b"damaged")
    with pytest.raises(ContractError, match="damaged: restore it"):
        pull(world.store, "v1.0.0", tmp_path / "d")
    assert not (tmp_path / "d" / "odvg" / "odvg.jsonl").exists()
    assert [path.name for path in (tmp_path / "d").rglob("*.part")] == ["manifest.json.part"]
    assert not (tmp_path / "d" / "manifest.json").exists()


def test_verify_finds_a_flipped_bit(store, tmp_path):
    pull(store, "v1.0.0", tmp_path)
    path = sorted(tmp_path.glob("images/*.png"))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = [(problem.path, problem.kind) for problem in verify(tmp_path)]
    assert found == [(f"images/{path.name}", "changed")]


def test_verify_finds_what_is_missing_and_what_is_extra(store, tmp_path):
    pull(store, "v1.0.0", tmp_path)
    (tmp_path / "README.md").unlink()
    (tmp_path / "images" / "mine.png").write_bytes(b"")
    found = {(problem.path, problem.kind) for problem in verify(tmp_path)}
    assert found == {("README.md", "missing"), ("images/mine.png", "extra")}


def test_what_ultralytics_keeps_of_labels_is_not_extra_and_goes_with_them(store, tmp_path):
    pull(store, "v1.0.0", tmp_path)
    (tmp_path / LABELS_CACHE).write_bytes(b"labels of v1.0.0")
    assert verify(tmp_path) == []
    pull(store, "v1.0.1", tmp_path)
    assert not (tmp_path / LABELS_CACHE).exists()


def test_verify_finds_a_forged_manifest(store, tmp_path):
    pull(store, "v1.0.0", tmp_path)
    manifest = tmp_path / "manifest.json"
    path = "tables/annotations.parquet"
    sha256 = read_release(store, "v1.0.0").file(path).sha256
    manifest.write_text(manifest.read_text().replace(sha256, "0" * 64))
    kinds = {(problem.path, problem.kind) for problem in verify(tmp_path)}
    assert kinds == {(path, "changed"), ("manifest.json", "changed")}


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "images/../../evil", "", "."])
def test_no_file_leaves_the_folder(path):
    with pytest.raises(ValidationError, match="leaves the release"):
        ReleaseFile(path=path, sha256="", size_bytes=0, key="k", is_data=True)


def paths(folder: Path) -> set[str]:
    """The files of a pulled release."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found - {"manifest.json", "pull.json"}


def test_one_format_comes_with_tables_card_and_images(store, tmp_path):
    pulled = pull(store, "v1.0.0", tmp_path, formats=["coco"])
    every = {file.path for file in pulled.manifest.files}
    assert paths(tmp_path) == {path for path in every if not path.startswith("odvg/")}
    assert json.loads((tmp_path / "pull.json").read_text()) == {"formats": ["coco"], "images": True}
    assert verify(tmp_path) == []


def test_another_format_adds_to_the_folder(store, tmp_path):
    pull(store, "v1.0.0", tmp_path, formats=["coco"], images=False)
    assert not (tmp_path / "images").exists()
    added = pull(store, "v1.0.0", tmp_path, formats=["odvg"], images=False)
    assert added.choice.formats == ("coco", "odvg")
    assert added.fetched == len([path for path in paths(tmp_path) if path.startswith("odvg/")])
    assert verify(tmp_path) == []
    whole = pull(store, "v1.0.0", tmp_path)
    assert (whole.choice.formats, whole.choice.images) == (None, True)
    assert paths(tmp_path) == {file.path for file in whole.manifest.files}


def test_verify_misses_what_was_chosen_only(store, tmp_path):
    pull(store, "v1.0.0", tmp_path, formats=["coco"], images=False)
    (tmp_path / "coco" / "instances.json").unlink()
    found = [(problem.path, problem.kind) for problem in verify(tmp_path)]
    assert found == [("coco/instances.json", "missing")]


def test_another_version_keeps_what_was_chosen(store, tmp_path):
    pull(store, "v1.0.0", tmp_path, formats=["coco"], images=False)
    pull(store, "v1.0.1", tmp_path, formats=["coco"], images=False)
    assert verify(tmp_path) == []
    assert not [path for path in paths(tmp_path) if path.startswith(("odvg/", "images/"))]


def test_a_folder_that_was_pulled_before_there_was_a_choice_holds_all(store, tmp_path):
    pull(store, "v1.0.0", tmp_path)
    (tmp_path / "pull.json").unlink()
    assert verify(tmp_path) == []
    assert pull(store, "v1.0.0", tmp_path, formats=["coco"]).choice.formats is None


def test_an_unknown_format_is_told_with_those_there_are(store, tmp_path):
    with pytest.raises(ConfigError, match="not written in yolo; choose of: coco, odvg"):
        pull(store, "v1.0.0", tmp_path / "d", formats=["yolo"])
    assert not (tmp_path / "d").exists()


def test_a_choice_that_cannot_be_read_is_told(store, tmp_path):
    pull(store, "v1.0.0", tmp_path)
    (tmp_path / "pull.json").write_text('{"formats": 3}')
    with pytest.raises(ContractError, match=r"pull\.json does not say what was pulled"):
        verify(tmp_path)


class Watched(LocalStorage):
    """A folder that counts what is read of it by ranges, and fails when it is told to."""

    def __init__(self, root, fail_at=None):
        super().__init__(root)
        self.read_bytes = 0
        self.downloads = 0
        self.fail_at = fail_at
        self._lock = threading.Lock()

    def download(self, key, path):
        self.downloads += 1
        super().download(key, path)

    def open(self, key):
        file, watched = super().open(key), self

        class File:
            def seek(self, offset):
                return file.seek(offset)

            def read(self, size):
                with watched._lock:
                    if watched.fail_at is not None and watched.read_bytes >= watched.fail_at:
                        raise TransientError("the line is cut")
                    data = file.read(size)
                    watched.read_bytes += len(data)
                    return data

            def close(self):
                file.close()

        return File()


def large(tmp_path):
    """A store with one large object, and its entry in a manifest."""
    content = bytes(range(256)) * 40_000
    store = Watched(tmp_path / "store")
    store.write("key", content)
    sha256 = store.sha256("key")
    entry = {"path": "a/large.bin", "key": "key", "is_data": True}
    return store, ReleaseFile(sha256=sha256, size_bytes=len(content), **entry)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(fetching, "_ATTEMPTS", 1)


def test_a_large_file_goes_on_from_where_it_stopped(tmp_path, quick):
    store, file = large(tmp_path)
    store.fail_at = 3 << 20
    with pytest.raises(TransientError, match="cut"):
        fetching.fetch(store, [file], tmp_path / "d")
    assert (tmp_path / "d/a/large.bin.part").stat().st_size == 3 << 20
    store.fail_at, store.read_bytes = None, 0
    seen = []
    came = fetching.fetch(store, [file], tmp_path / "d", lambda done, of: seen.append((done, of)))
    assert came == store.read_bytes == file.size_bytes - (3 << 20)
    assert seen[-1] == (came, came)
    assert fetching.missing_files([file], tmp_path / "d") == []
    assert not (tmp_path / "d/a/large.bin.part").exists()


def test_a_line_that_is_cut_once_is_tried_again(tmp_path):
    store, file = large(tmp_path)
    store.fail_at = 2 << 20

    def mend(done, of):
        if done >= 2 << 20:
            threading.Timer(0.1, setattr, (store, "fail_at", None)).start()

    fetching.fetch(store, [file], tmp_path / "d", mend)
    assert fetching.missing_files([file], tmp_path / "d") == []


@pytest.mark.parametrize("size", [5 << 20, 20 << 20])
def test_a_part_of_something_else_is_fetched_anew(tmp_path, size):
    store, file = large(tmp_path)
    (tmp_path / "d/a").mkdir(parents=True)
    (tmp_path / "d/a/large.bin.part").write_bytes(bytes(size))
    fetching.fetch(store, [file], tmp_path / "d")
    assert fetching.missing_files([file], tmp_path / "d") == []


def test_an_interrupt_ends_a_large_file_soon(tmp_path):
    store, file = large(tmp_path)

    def die(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetching.fetch(store, [file], tmp_path / "d", die)
    assert store.read_bytes <= 2 << 20


def test_an_object_that_is_gone_is_told_with_its_file(tmp_path):
    store, file = large(tmp_path)
    store.delete("key")
    with pytest.raises(ContractError, match=r"names it for a/large\.bin; if this was pulled"):
        fetching.fetch(store, [file], tmp_path / "d")


def test_a_folder_that_takes_no_file_is_told(tmp_path):
    store, file = large(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").write_text("a file")
    with pytest.raises(ConfigError, match="make room for it, or give another folder"):
        fetching.fetch(store, [file], tmp_path / "d")


def test_a_yanked_version_comes_with_its_reason(tmp_path):
    world = World(open_storage(str(tmp_path / "store")))
    world.add_scene(3)
    publish(lambda: world.state, world.config, world.store)
    world.judge(world.region_ids()[0], VerdictAction.REJECT)
    publish(lambda: world.state, world.config, world.store)
    yank(world.store, "v1.0.0", "wrong masks")
    yanked = pull(world.store, "v1.0.0", tmp_path / "d").yanked
    assert yanked is not None
    assert yanked.reason == "wrong masks"
    assert pull(world.store, "latest", tmp_path / "d").yanked is None


def test_the_labels_of_yolo_come_with_it_and_with_it_only(store):
    names = ("yolo/data.yaml", "labels/t1.txt", "coco/instances.json", "README.md", "tables/a")
    files = tuple(
        ReleaseFile(path=path, sha256="", size_bytes=0, key="k", is_data=False) for path in names
    )
    manifest = read_release(store, "v1.0.0").model_copy(
        update={"files": files, "formats": ("coco", "yolo")}
    )

    def chosen(*formats: str) -> set[str]:
        return {file.path for file in Choice(formats=formats).files(manifest)}

    assert chosen("yolo") == {"yolo/data.yaml", "labels/t1.txt", "README.md", "tables/a"}
    assert chosen("coco") == {"coco/instances.json", "README.md", "tables/a"}
