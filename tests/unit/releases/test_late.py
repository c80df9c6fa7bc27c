"""Versions that were made too late: which stay, and what is left of those that don't."""

import pytest

from lae_tasks.contracts import VerdictAction
from lae_tasks.errors import ContractError
from lae_tasks.releases import late
from lae_tasks.releases.manifest import LATEST_KEY, latest_version, list_versions, read_release
from tests.release_world import keys, publish_world


def made(world, version, parent):
    """A version more, of the same files as the newest one."""
    newest = read_release(world.store, list_versions(world.store)[-1])
    manifest = newest.model_copy(update={"version": version, "parent": parent})
    world.store.write(manifest.key, manifest.encode())
    return manifest


@pytest.fixture
def one(own):
    """The newest of the versions, made late: LATEST does not name it yet."""
    own.store.write(LATEST_KEY, b"v1.0.2\n")
    return read_release(own.store, "v1.1.0")


def test_one_that_is_whole_and_has_no_rival_stays(own, one):
    assert late.stays(own.store, one)
    assert read_release(own.store, "v1.1.0") == one


def test_one_that_is_not_whole_goes_with_all_its_copies(own, one):
    own.store.delete(one.file("coco/instances.json").key)
    assert not late.stays(own.store, one)
    assert keys(own, "releases/v1.1.0/") == set()


def test_one_with_a_rival_goes(own, one):
    made(own, "v1.0.3", one.parent)
    assert not late.stays(own.store, one)
    assert list_versions(own.store)[-1] == "v1.0.3"


def test_one_that_was_announced_stays_though_it_has_a_rival(own, one):
    made(own, "v1.0.3", one.parent)
    own.store.write(LATEST_KEY, b"v1.0.2\nrolled back from v1.1.0\n")
    assert late.stays(own.store, one)


def test_one_that_others_follow_stays_though_it_has_a_rival(own, one):
    made(own, "v1.0.3", one.parent)
    made(own, "v1.1.1", one.version)
    assert late.stays(own.store, one)


def test_a_rival_of_the_same_number_is_left_alone(own, one):
    rival = made(own, "v1.1.0", "v1.0.1")
    assert not late.stays(own.store, one)
    assert read_release(own.store, "v1.1.0") == rival
    own.store.delete(rival.key)
    assert not late.stays(own.store, one)


def test_one_that_its_publisher_could_not_take_back_stops_nobody(own, one):
    """Its publisher died: the next one finds a version whose files others cleared away."""
    own.store.delete(one.file("tables/annotations.parquet").key)
    own.judge(own.region_ids("ship")[0], VerdictAction.RELABEL, "windmill", day="2026-05-03")
    result = publish_world(own)
    assert (result.version, result.manifest.parent) == ("v1.1.0", "v1.0.2")
    assert latest_version(own.store) == "v1.1.0"
    card = read_release(own.store).file("README.md")
    copy = own.store.read("releases/v1.1.0/README.md")
    assert copy == own.store.read(card.key)


def test_a_version_that_was_announced_and_is_damaged_stays_and_is_told(own):
    """It is no work of a late publisher: somebody has to restore it."""
    newest = read_release(own.store)
    own.store.delete(newest.file("tables/annotations.parquet").key)
    with pytest.raises(ContractError, match="restore it from a backup"):
        publish_world(own)
    assert read_release(own.store) == newest
