import re

import pytest

from lae_tasks.contracts import VerdictAction
from lae_tasks.errors import ConfigError, ContractError, TransientError
from lae_tasks.releases import NoReleaseError, read_release
from lae_tasks.releases.manifest import LATEST_KEY, latest_version, list_versions
from lae_tasks.releases.marks import move_latest, read_yanked, roll_back, yank
from lae_tasks.storage import LocalStorage
from tests.release_world import publish_world

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]


@pytest.fixture
def store(published, tmp_path):
    """A store with the manifests of v1.0.0, v1.0.1, v1.0.2 and v1.1.0, the latest."""
    store = LocalStorage(tmp_path / "store")
    for version in list_versions(published.store):
        add(store, published, version)
    return store


def add(store, published, version):
    """Publishes a version that holds nothing, but for LATEST."""
    manifest = read_release(published.store, "v1.0.0").model_copy(update={"version": version})
    store.write(f"releases/{version}/manifest.json", manifest.model_dump_json().encode())
    move_latest(store, version)


def said(store):
    return store.read(LATEST_KEY).decode()


def test_a_yanked_version_stays_and_latest_goes_back(store):
    yanked = yank(store, "1.1.0", "wrong masks")
    assert read_yanked(store, "v1.1.0") == yanked
    assert (yanked.version, yanked.reason) == ("v1.1.0", "wrong masks")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", yanked.at)
    assert read_release(store, "latest").version == "v1.0.2"
    assert read_release(store, "v1.1.0").version == "v1.1.0"
    assert said(store) == "v1.0.2\nrolled back from v1.1.0\n"


def test_latest_stays_when_another_version_is_yanked(store):
    yank(store, "v1.0.1", "wrong masks")
    assert said(store) == "v1.1.0\n"
    yank(store, "latest", "these too")
    yank(store, "latest", "and these")
    assert said(store) == "v1.0.0\nrolled back from v1.1.0\n"
    with pytest.raises(ConfigError, match=r"v1\.0\.0 is the only release that is not yanked"):
        yank(store, "latest", "all of it")
    assert read_yanked(store, "v1.0.0") is None


def test_what_was_rolled_back_from_does_not_come_back_by_a_yank(store):
    roll_back(store, "v1.0.1")
    yank(store, "v1.0.1", "wrong, too")
    assert said(store) == "v1.0.0\nrolled back from v1.1.0\n"


def test_the_oldest_version_is_yanked_after_a_rollback(store):
    roll_back(store, "v1.0.0")
    yank(store, "v1.0.0", "wrong masks")
    assert latest_version(store) == "v1.1.0"


def test_latest_is_rolled_back_until_a_new_version_comes(store, published):
    assert roll_back(store, "v1.0.1") == "v1.1.0"
    assert said(store) == "v1.0.1\nrolled back from v1.1.0\n"
    for version in ("v1.1.0", "v1.0.2", "v1.0.1"):
        move_latest(store, version)
    assert latest_version(store) == "v1.0.1"
    add(store, published, "v1.1.1")
    assert said(store) == "v1.1.1\n"


def test_a_rollback_is_undone_by_rolling_on(store):
    roll_back(store, "v1.0.0")
    assert roll_back(store, "v1.1.0") == "v1.0.0"
    assert said(store) == "v1.1.0\n"


def test_a_rollback_that_cannot_be_is_told(store):
    yank(store, "v1.0.0", "wrong masks")
    with pytest.raises(ConfigError, match=r"v1\.0\.0 is yanked \(wrong masks\); choose"):
        roll_back(store, "v1.0.0")
    with pytest.raises(ConfigError, match=r"v1\.1\.0 is the latest already"):
        roll_back(store, "v1.1.0")
    for mark in (roll_back, lambda *of: yank(*of, "why")):
        with pytest.raises(NoReleaseError, match=r"no release v3\.0\.0; there are: v1\.0\.0, "):
            mark(store, "v3.0.0")


def test_latest_never_moves_to_a_yanked_version(store, published):
    yank(store, "v1.1.0", "wrong masks")
    move_latest(store, "v1.1.0")
    assert latest_version(store) == "v1.0.2"
    store.write("releases/v1.2.0/YANKED.json", b'{"reason": "r", "at": "t"}')
    add(store, published, "v1.2.0")
    assert latest_version(store) == "v1.0.2"


def test_a_mark_that_cannot_be_read_is_told(store):
    store.write("releases/v1.0.0/YANKED.json", b"<html>")
    with pytest.raises(ContractError, match="does not tell of a yanked version"):
        read_yanked(store, "v1.0.0")


def test_publishing_again_after_a_rollback_moves_nothing(own):
    roll_back(own.store, "v1.0.2")
    assert not publish_world(own).new
    assert latest_version(own.store) == "v1.0.2"
    own.judge(own.region_ids()[3], VerdictAction.REJECT, day="2026-05-03")
    result = publish_world(own)
    assert result.new
    assert latest_version(own.store) == result.version == "v1.1.1"


class Interfering(LocalStorage):
    """A folder in which somebody else does something just before an object is written."""

    def __init__(self, root, *others, before=LATEST_KEY):
        super().__init__(root)
        self.others = list(others)
        self.before = before

    def write(self, key, data, **conditions):
        if key == self.before and self.others:
            self.others.pop(0)(LocalStorage(self.root))
        super().write(key, data, **conditions)


def test_a_version_that_is_published_during_a_yank_stays_the_latest(store, published):
    both = Interfering(store.root, lambda other: add(other, published, "v1.2.0"))
    yank(both, "v1.1.0", "wrong masks")
    assert said(store) == "v1.2.0\n"


def test_a_version_that_is_yanked_while_it_is_published_is_not_the_latest(store, published):
    both = Interfering(store.root, lambda other: yank(other, "v1.2.0", "wrong masks"))
    add(both, published, "v1.2.0")
    assert said(store) == "v1.1.0\nrolled back from v1.2.0\n"


def test_two_versions_that_are_published_at_once_leave_the_newer_one(store, published):
    both = Interfering(store.root, lambda other: add(other, published, "v1.3.0"))
    add(both, published, "v1.2.0")
    assert said(store) == "v1.3.0\n"


def test_a_rollback_knows_what_was_published_meanwhile(store, published):
    both = Interfering(store.root, lambda other: add(other, published, "v1.2.0"))
    roll_back(both, "v1.0.0")
    assert said(store) == "v1.0.0\nrolled back from v1.2.0\n"


def test_a_version_that_is_yanked_while_it_is_rolled_back_to_is_not_the_latest(store):
    both = Interfering(store.root, lambda other: yank(other, "v1.0.1", "wrong masks"))
    with pytest.raises(ConfigError, match=r"v1\.0\.1 is yanked \(wrong masks\); choose"):
        roll_back(both, "v1.0.1")
    assert said(store) == "v1.0.0\nrolled back from v1.1.0\n"


def test_a_yank_does_not_leave_to_a_version_that_is_yanked_meanwhile(store):
    def mark(other):
        other.write("releases/v1.0.2/YANKED.json", b'{"reason": "r", "at": "t"}')

    yank(Interfering(store.root, mark), "v1.1.0", "wrong masks")
    assert said(store) == "v1.0.1\nrolled back from v1.1.0\n"


def test_of_the_last_two_versions_one_stays_though_both_are_yanked_at_once(store):
    yank(store, "v1.0.0", "wrong masks")
    yank(store, "v1.0.1", "wrong masks")
    both = Interfering(
        store.root,
        lambda other: yank(other, "v1.1.0", "these too"),
        before="releases/v1.0.2/YANKED.json",
    )
    with pytest.raises(ConfigError, match=r"v1\.0\.2 is not yanked: all others were meanwhile"):
        yank(both, "v1.0.2", "and these")
    assert read_yanked(store, "v1.0.2") is None
    assert said(store) == "v1.0.2\nrolled back from v1.1.0\n"


def test_a_yanked_version_gets_another_reason(store):
    for version in ("v1.0.0", "v1.0.1", "v1.0.2"):
        yank(store, version, "wrong masks")
    yank(store, "v1.0.0", "wrong names")
    assert read_yanked(store, "v1.0.0").reason == "wrong names"


def test_a_latest_that_moves_and_moves_is_given_up(store):
    def touch(other):
        other.write(LATEST_KEY, said(other).encode() + b"\n")

    with pytest.raises(TransientError, match="was moved 20 times"):
        roll_back(Interfering(store.root, *[touch] * 30), "v1.0.0")


def test_the_first_version_is_written_once(tmp_path, published):
    store = LocalStorage(tmp_path / "new")
    both = Interfering(store.root, lambda other: add(other, published, "v1.0.1"))
    add(both, published, "v1.0.0")
    assert said(store) == "v1.0.1\n"
