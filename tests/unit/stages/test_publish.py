"""Publishing to a local folder: versions, reruns, verdicts, deaths on the way."""

import copy
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lae_tasks.contracts import (
    Outcome,
    VerdictAction,
)
from lae_tasks.errors import ConflictError, UnfinishedNightError
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.releases import claims, list_releases, read_release
from lae_tasks.releases.claims import Claim
from lae_tasks.releases.manifest import LATEST_KEY, NoReleaseError, ReleaseManifest, latest_version
from lae_tasks.stages.release import publish
from lae_tasks.stages.validate import ValidationFailedError
from lae_tasks.storage import open_storage
from tests.release_world import World, keys, publish_world, read_json

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]


@pytest.fixture
def world(tmp_path):
    world = World(open_storage(str(tmp_path / "store")))
    world.add_scene(3)
    return world


def test_the_first_release(world):
    result = publish_world(world)
    assert (result.version, result.new) == ("v1.0.0", True)
    manifest = read_release(world.store)
    assert manifest == result.manifest
    assert manifest.counts["images"] == 4
    assert manifest.counts["objects"] == len(world.state.regions)
    assert sum(entry.objects for entry in manifest.categories) == manifest.counts["objects"]
    assert latest_version(world.store) == "v1.0.0"
    readable = keys(world, "releases/v1.0.0/")
    expected = ("README.md", "manifest.json", "coco/instances.json", "odvg/odvg.jsonl")
    for path in (*expected, "odvg/label_map.json", "diff.json", "data_docs/index.html"):
        assert f"releases/v1.0.0/{path}" in readable
    card = world.store.read("releases/v1.0.0/README.md").decode()
    assert "not measured yet" in card
    assert result.digest in card
    for picture in [key for key in readable if "/card/" in key]:
        assert picture.removeprefix("releases/v1.0.0/") in card


def test_a_release_says_how_right_it_is_by_what_was_drawn_at_random(world):
    world.add_scene(4)
    ids = world.region_ids()
    for number, region_id in enumerate(ids[:8]):
        decision = world.state.decisions[region_id]
        world.state.decisions[region_id] = decision.model_copy(update={"drawn": number < 6})
        # Those that were not drawn were asked about for another reason: they say nothing.
        wrong = number in (0, 6, 7)
        world.judge(region_id, VerdictAction.REJECT if wrong else VerdictAction.ACCEPT)
    manifest = publish_world(world).manifest
    (overall,) = manifest.precision
    assert (overall.category, overall.audited, overall.right) == (None, 6, 5)
    assert overall.unseen == len(ids) - 8
    assert overall.low < overall.precision <= overall.high
    card = world.store.read("releases/v1.0.0/README.md").decode()
    assert (
        f"{100 * overall.precision:.1f} % ({100 * overall.low:.1f} to {100 * overall.high:.1f} %)"
        in card
    )
    assert f"of the {overall.unseen} objects that nobody has looked at" in card


def test_a_night_that_is_run_again_makes_no_version(world):
    world.state.unfinished.append("2026-11-22")
    with pytest.raises(UnfinishedNightError, match="2026-11-22 ran again"):
        publish_world(world)
    assert keys(world, "releases/") == set()


def test_the_same_state_makes_no_new_version(world):
    first = publish_world(world)
    before = keys(world)
    again = publish_world(world)
    assert (again.version, again.digest, again.new) == ("v1.0.0", first.digest, False)
    assert keys(world) == before


def test_the_same_world_elsewhere_has_the_same_digest(world, tmp_path):
    other = World(open_storage(str(tmp_path / "elsewhere")))
    other.add_scene(3)
    assert publish_world(world).digest == publish_world(other).digest


def test_a_verdict_makes_a_patch_with_exactly_that_change(world):
    relabelled, rejected, *_ = world.region_ids()
    publish_world(world)
    before = read_json(world, "v1.0.0", "coco/instances.json")
    was = world.state.decisions[relabelled].category
    new_name = next(name for name in world.config.vocabulary.names if name != was)
    world.judge(relabelled, VerdictAction.RELABEL, category=new_name)
    world.judge(rejected, VerdictAction.REJECT)
    result = publish_world(world)
    assert (result.version, result.new) == ("v1.0.1", True)
    assert result.manifest.parent == "v1.0.0"
    assert result.manifest.reason.startswith("patch: 1 removed, 1 relabelled")
    diff = read_json(world, "v1.0.1", "diff.json")
    (entry,) = diff["relabelled"]
    assert (entry["region_id"], entry["from"], entry["to"]) == (relabelled, was, new_name)
    assert "relabel by a steward on 2026-05-01" in entry["cause"]
    (entry,) = diff["removed"]
    assert entry["region_id"] == rejected and entry["cause"].startswith("reject by a steward")
    assert sum(diff["counts"].values()) == 2
    after = read_json(world, "v1.0.1", "coco/instances.json")
    assert after["images"] == before["images"] and after["categories"] == before["categories"]

    def others(coco):
        gone = {"id", relabelled, rejected}
        return [
            {key: value for key, value in entry.items() if key != "id"}
            for entry in coco["annotations"]
            if entry["region_id"] not in gone
        ]

    assert others(after) == others(before)
    names = {entry["id"]: entry["name"] for entry in after["categories"]}
    ours = [entry for entry in after["annotations"] if entry["region_id"] == relabelled]
    assert ours
    for entry in ours:
        told = (names[entry["category_id"]], entry["source"], entry["score"])
        assert told == (new_name, "steward", 1.0)
    card = world.store.read("releases/v1.0.1/README.md").decode()
    assert "against v1.0.0" in card


def test_a_scene_makes_a_minor_version(world):
    publish_world(world)
    world.add_scene(4)
    result = publish_world(world)
    assert result.version == "v1.1.0"
    assert result.manifest.reason == "minor: 1 scene more, 4 images more"
    assert [release.version for release in list_releases(world.store)] == ["v1.0.0", "v1.1.0"]


def test_a_new_name_makes_a_minor_version_and_keeps_the_numbers(world):
    region_id = world.region_ids()[0]
    publish_world(world)
    world.judge(region_id, VerdictAction.RELABEL, category="windmill")
    second = publish_world(world)
    assert second.version == "v1.1.0"
    assert second.manifest.categories[-1].name == "windmill"
    assert [entry.category_id for entry in second.manifest.categories] == [*range(1, 12)]
    world.judge(region_id, VerdictAction.REJECT)
    third = publish_world(world)
    assert third.version == "v1.1.1"
    assert third.manifest.categories[-1].name == "windmill"


def test_a_name_that_leaves_the_vocabulary_makes_a_major_version(world):
    publish_world(world)
    name = "roundabout"
    for region_id in world.region_ids(name):
        world.decide(region_id, Outcome.REJECT, None)
    vocabulary = (*(each for each in world.config.vocabulary.names if each != name), "silo")
    config = world.config.model_copy(update={"vocabulary": Vocabulary.model_validate(vocabulary)})
    result = publish(lambda: world.state, config, world.store)
    assert result.version == "v2.0.0"
    assert name in result.manifest.reason
    numbers = {entry.name: entry.category_id for entry in result.manifest.categories}
    assert name not in numbers and numbers["silo"] == 11
    assert numbers["airplane"] == 1


def test_what_fails_validation_gets_no_version(world):
    image = next(iter(world.state.tiles.values()))
    world.store.write(image.image_key, b"changed")
    with pytest.raises(ValidationFailedError, match="right checksum"):
        publish_world(world)
    assert not keys(world, "releases/")
    assert len(keys(world, "validation/")) == 6
    with pytest.raises(NoReleaseError, match="no release yet"):
        read_release(world.store)


class DyingStore:
    """A real store whose process dies just before it writes an object of a certain key."""

    def __init__(self, store, key):
        self._store = store
        self._key = key

    def __getattr__(self, name):
        return getattr(self._store, name)

    def write(self, key, data, **condition):
        if key.startswith(self._key):
            raise KeyboardInterrupt
        self._store.write(key, data, **condition)


@pytest.mark.parametrize(
    ("key", "is_committed"),
    [
        ("validation/", False),
        ("files/", False),
        ("releases/v1.0.0/manifest.json", False),
        ("releases/v1.0.0/coco/", True),
        ("releases/v1.0.0/data_docs/", True),
        ("releases/LATEST", True),
    ],
)
def test_a_publisher_may_die_anywhere(key, is_committed, world):
    """A reader sees a whole release or none; the next run does what is left."""
    with pytest.raises(KeyboardInterrupt):
        publish(lambda: world.state, world.config, DyingStore(world.store, key))
    assert bool(list_releases(world.store)) == is_committed
    for release in list_releases(world.store):
        assert_whole(world, release)
    result = publish_world(world)
    assert (result.version, result.new) == ("v1.0.0", not is_committed)
    assert latest_version(world.store) == "v1.0.0"
    assert_whole(world, read_release(world.store))
    not_copied = ("images/", "stac/")
    paths = {file.path for file in result.manifest.files if not file.path.startswith(not_copied)}
    pages = ("index", "images", "scenes", "categories", "annotations", "gates")
    docs = {f"data_docs/{name}.html" for name in pages}
    readable = {found.removeprefix("releases/v1.0.0/") for found in keys(world, "releases/v")}
    assert readable == paths | docs | {"manifest.json"}


def assert_whole(world, release: ReleaseManifest):
    for file in release.files:
        assert world.store.stat(file.key).size_bytes == file.size_bytes


def at_once(*publishers):
    """Runs publishers in threads of their own; their results in order."""
    with ThreadPoolExecutor(len(publishers)) as pool:
        return [each.result() for each in [pool.submit(publisher) for publisher in publishers]]


def test_two_publishers_of_the_same_state(world):
    results = at_once(lambda: publish_world(world), lambda: publish_world(world))
    assert {result.version for result in results} == {"v1.0.0"}
    assert sorted(result.new for result in results) == [False, True]
    assert len(list_releases(world.store)) == 1


class RepeatingStore:
    """A real store behind a network that loses one answer, so that the client writes again."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def write(self, key, data, **condition):
        self._store.write(key, data, **condition)
        if key.endswith("manifest.json"):
            self._store.write(key, data, **condition)


def test_a_write_whose_answer_was_lost_is_our_own(world):
    result = publish(lambda: world.state, world.config, RepeatingStore(world.store))
    assert (result.version, result.new) == ("v1.0.0", True)


def test_who_comes_second_does_not_undo_the_firsts_verdicts(world):
    """The state is read once nobody else publishes, not before."""
    publish_world(world)
    one, other, *_ = world.region_ids()

    def judging(region_id):
        def read_state():
            world.judge(region_id, VerdictAction.REJECT)
            return copy.deepcopy(world.state)

        return lambda: publish(read_state, world.config, world.store)

    results = at_once(judging(one), judging(other))
    assert sorted(result.version for result in results) == ["v1.0.1", "v1.0.2"]
    latest = read_release(world.store)
    coco = json.loads(world.store.read(latest.file("coco/instances.json").key))
    assert latest.version == "v1.0.2"
    assert not {one, other} & {each["region_id"] for each in coco["annotations"]}


def test_what_a_dead_publisher_wrote_and_no_release_has_is_cleared_away(world, monkeypatch):
    monkeypatch.setattr(Claim, "give_back", lambda self, is_done: self._is_given_back.set())
    with pytest.raises(KeyboardInterrupt):
        store = DyingStore(world.store, "releases/v1.0.0/manifest.json")
        publish(lambda: world.state, world.config, store)
    monkeypatch.undo()
    left = keys(world, "files/")
    assert left and keys(world, "publishing/")
    world.judge(world.region_ids()[0], VerdictAction.REJECT)
    time.sleep(3.2)
    with claims.claim(world.store, dead_after_s=3.0):
        assert len(keys(world, "publishing/")) == 1
    assert not keys(world, "files/")
    monkeypatch.undo()
    publish_world(world)
    assert_whole(world, read_release(world.store))


class StandingStill:
    """A real store; before its manifest is written, others take this publisher for dead."""

    def __init__(self, store, meanwhile):
        self._store = store
        self._meanwhile = [meanwhile]

    def __getattr__(self, name):
        return getattr(self._store, name)

    def write(self, key, data, **condition):
        if key.endswith("manifest.json") and self._meanwhile:
            self._meanwhile.pop()()
        self._store.write(key, data, **condition)


def clear_up(world, prefixes):
    for prefix in prefixes:
        for key in keys(world, prefix):
            world.store.delete(key)


def publish_late(world, meanwhile):
    """Publishes, while something happens just before the version is made."""
    state = copy.deepcopy(world.state)
    store = StandingStill(world.store, meanwhile)
    return publish(lambda: state, world.config, store)


def test_who_stood_still_takes_a_version_back_whose_files_were_cleared_away(world):
    def meanwhile():
        clear_up(world, ["publishing/", "files/"])

    result = publish_late(world, meanwhile)
    assert (result.version, result.new) == ("v1.0.0", True)
    assert_whole(world, read_release(world.store))
    assert not keys(world, "publishing/")


def test_who_stood_still_takes_a_version_back_if_another_one_has_its_parent(world):
    publish_world(world)

    def meanwhile():
        clear_up(world, ["publishing/"])
        world.judge(world.region_ids()[0], VerdictAction.RELABEL, category="windmill")
        assert publish_world(world).version == "v1.1.0"

    world.judge(world.region_ids()[1], VerdictAction.REJECT)
    assert publish_late(world, meanwhile).new
    parents = {release.version: release.parent for release in list_releases(world.store)}
    assert parents == {"v1.0.0": None, "v1.1.0": "v1.0.0", "v1.1.1": "v1.1.0"}
    assert keys(world, "releases/v1.0.1/") == set()
    used = {file.key for release in list_releases(world.store) for file in release.files}
    assert keys(world, "files/") <= used


def test_who_stood_still_leaves_a_version_that_is_whole(world):
    result = publish_late(world, lambda: clear_up(world, ["publishing/"]))
    assert (result.version, result.new) == ("v1.0.0", True)
    assert latest_version(world.store) == "v1.0.0"
    assert [release.version for release in list_releases(world.store)] == ["v1.0.0"]
    assert_whole(world, read_release(world.store))


def test_latest_never_goes_back(world):
    publish_world(world)
    world.store.write(LATEST_KEY, b"v3.0.0\n")
    publish_world(world)
    assert latest_version(world.store) == "v3.0.0"


def test_a_manifest_is_never_overwritten(world):
    publish_world(world)
    with pytest.raises(ConflictError):
        world.store.write("releases/v1.0.0/manifest.json", b"{}", if_absent=True)


def test_versions_that_are_not_there(world):
    publish_world(world)
    assert read_release(world.store, "1.0.0").version == "v1.0.0"
    with pytest.raises(NoReleaseError, match=r"no release v9\.0\.0; there are: v1\.0\.0"):
        read_release(world.store, "v9.0.0")
    with pytest.raises(NoReleaseError, match="not a version"):
        read_release(world.store, "newest")


def test_another_licence_makes_a_version_though_the_data_is_the_same(world):
    first = publish_world(world)
    release_settings = world.config.release.model_copy(update={"licence": "CC-BY-4.0"})
    config = world.config.model_copy(update={"release": release_settings})
    second = publish(lambda: world.state, config, world.store)
    assert (second.version, second.digest, second.new) == ("v1.0.1", first.digest, True)
    assert second.manifest.licence == "CC-BY-4.0"
    again = publish(lambda: world.state, config, world.store)
    assert (again.version, again.new) == ("v1.0.1", False)


def test_a_scene_that_was_out_of_one_version_comes_back_to_its_split(world):
    first = publish_world(world)
    (scene_id,) = first.manifest.split_of
    state = copy.deepcopy(world.state)
    world.add_scene(4)
    both = world.state
    gone = [tile_id for tile_id, tile in state.tiles.items() if tile.scene_id == scene_id]
    world.state = copy.deepcopy(both)
    for tile_id in gone:
        del world.state.tiles[tile_id]
    for region_id in state.regions:
        del world.state.regions[region_id], world.state.decisions[region_id]
    config = world.config.model_copy(
        update={"release": world.config.release.model_copy(update={"max_removed": None})}
    )
    second = publish(lambda: world.state, config, world.store)
    assert second.manifest.split_of.keys() > {scene_id}
    third = publish(lambda: both, config, world.store)
    assert third.manifest.split_of == second.manifest.split_of
