import pytest
from pydantic import ValidationError

from lae_tasks.contracts import VerdictAction
from lae_tasks.errors import ConfigError, ContractError
from lae_tasks.releases import ReleaseFile, pull, read_release, verify
from lae_tasks.stages.release import publish
from lae_tasks.storage import open_storage
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
    assert seen == [(n, len(files)) for n in range(1, len(files) + 1)]
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
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(store, "v1.0.0", tmp_path, die)
    with pytest.raises(ContractError, match="goes on with it"):
        verify(tmp_path)
    assert pull(store, "v1.0.0", tmp_path).skipped >= 3
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


def test_verify_finds_a_forged_manifest(store, tmp_path):
    pull(store, "v1.0.0", tmp_path)
    manifest = tmp_path / "manifest.json"
    sha256 = read_release(store, "v1.0.0").file("odvg/odvg.jsonl").sha256
    manifest.write_text(manifest.read_text().replace(sha256, "0" * 64))
    kinds = {(problem.path, problem.kind) for problem in verify(tmp_path)}
    assert kinds == {("odvg/odvg.jsonl", "changed"), ("manifest.json", "changed")}


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "images/../../evil", "", "."])
def test_no_file_leaves_the_folder(path):
    with pytest.raises(ValidationError, match="leaves the release"):
        ReleaseFile(path=path, sha256="", size_bytes=0, key="k", is_data=True)
