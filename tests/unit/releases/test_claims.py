"""Publishers that come at the same time, and publishers that die."""

import json
import os
import threading
import time

import pytest

from lae_tasks.errors import ConflictError, TransientError
from lae_tasks.releases.claims import PREFIX, claim
from lae_tasks.storage import LocalStorage, open_storage


@pytest.fixture
def store(tmp_path):
    return open_storage(str(tmp_path))


def claims(store):
    return [info.key for info in store.list(PREFIX)]


def test_a_claim_ends_with_its_block(store):
    with claim(store) as held:
        assert claims(store) == [held.key]
        held.require_held()
    assert claims(store) == []
    with pytest.raises(RuntimeError), claim(store):
        raise RuntimeError
    assert claims(store) == []


def test_a_second_one_waits_for_the_first(store):
    order = []

    def second():
        with claim(store):
            order.append("second")

    with claim(store):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_who_waits_for_too_long_says_so(store):
    with (
        claim(store),
        pytest.raises(TransientError, match="publish again later"),
        claim(store, wait_s=0.3),
    ):
        pass


def test_of_many_at_once_one_is_at_it(store):
    at_it, most = 0, 0
    lock = threading.Lock()
    start = threading.Barrier(6)

    def publish():
        nonlocal at_it, most
        start.wait()
        with claim(store):
            with lock:
                at_it += 1
                most = max(most, at_it)
            time.sleep(0.01)
            with lock:
                at_it -= 1

    threads = [threading.Thread(target=publish) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert claims(store) == []


def test_a_living_publisher_is_left_alone_however_long_it_takes(store):
    with (
        claim(store, dead_after_s=3) as held,
        pytest.raises(TransientError),
        claim(store, dead_after_s=3, wait_s=5),
    ):
        pass
    assert held.key not in claims(store)


def die(store, files):
    """Leaves a claim and a list as a publisher does that is killed."""
    told = {"by": "worker-1", "parent": None, "files": files}
    at = time.time() - 120
    for name, content in (("dead.json", {"by": "worker-1"}), ("dead.files.json", told)):
        store.write(f"{PREFIX}{name}", json.dumps(content).encode())
        os.utime(store.root / PREFIX / name, (at, at))


def test_what_a_dead_publisher_wrote_is_cleared_away(store, caplog):
    for key in ("files/aa/mine", "files/aa/another"):
        store.write(key, b"x")
    die(store, ["files/aa/mine", "files/aa/never-written"])
    with claim(store) as held:
        assert claims(store) == [held.key]
    assert [info.key for info in store.list("files/")] == ["files/aa/another"]
    assert "a publisher on worker-1 died" in caplog.text


def test_what_is_written_is_listed_once_beside_a_small_claim(store):
    keys = [f"files/aa/{number:05d}" for number in range(20_000)]
    with claim(store) as held:
        held.will_write("v1.0.0", keys)
        held.write()
        (told,) = (key for key in claims(store) if key != held.key)
        listed = json.loads(store.read(told))
        assert (listed["parent"], listed["files"]) == ("v1.0.0", keys)
        assert store.stat(held.key).size_bytes < 200
    assert claims(store) == []


def test_a_list_whose_claim_is_gone_is_cleared_at_once(store):
    store.write("files/aa/mine", b"x")
    die(store, ["files/aa/mine"])
    store.delete(f"{PREFIX}dead.json")
    with claim(store) as held:
        assert claims(store) == [held.key]
    assert not list(store.list("files/"))


def test_what_a_publisher_wrote_that_failed_is_cleared_at_once(store):
    with pytest.raises(RuntimeError), claim(store) as held:
        held.will_write(None, ["files/aa/mine"])
        store.write("files/aa/mine", b"x")
        raise RuntimeError
    assert claims(store) == [held.key.replace(".json", ".files.json")]
    with claim(store) as held:
        assert claims(store) == [held.key]
    assert not list(store.list("files/"))


def test_what_was_written_after_others_cleared_up_is_cleared_too(store):
    with pytest.raises(ConflictError), claim(store) as held:
        held.will_write(None, ["files/aa/mine"])
        for key in claims(store):
            store.delete(key)
        store.write("files/aa/mine", b"x")
        held.require_held()
    with claim(store):
        assert not list(store.list("files/"))


class Dying(LocalStorage):
    """A folder whose user dies just before they delete a certain object."""

    def __init__(self, root, key):
        super().__init__(root)
        self.key = key

    def delete(self, key):
        if key == self.key:
            raise KeyboardInterrupt
        super().delete(key)


@pytest.mark.parametrize(
    "key", ["files/aa/0", "files/aa/2", f"{PREFIX}dead.json", f"{PREFIX}dead.files.json"]
)
def test_who_clears_up_may_die_at_any_point(store, key):
    files = [f"files/aa/{number}" for number in range(3)]
    for each in files:
        store.write(each, b"x")
    die(store, files)
    with pytest.raises(KeyboardInterrupt), claim(Dying(store.root, key)):
        pass
    with claim(store) as held:
        assert claims(store) == [held.key]
    assert not list(store.list("files/"))


def test_who_stood_still_does_not_publish_and_does_not_take_the_claim_again(store, monkeypatch):
    with claim(store, dead_after_s=30) as held:
        held.will_write(None, ["files/aa/mine"])
        began = time.monotonic()
        # As a process that is stopped and goes on a minute later, when another one has cleared up.
        monkeypatch.setattr(time, "monotonic", lambda: began + 60)
        store.delete(held.key)
        held.write()
        assert held.key not in claims(store)
        with pytest.raises(ConflictError, match="stood still"):
            held.require_held()
        monkeypatch.undo()
        with pytest.raises(ConflictError, match="stood still"):
            held.require_held()


def test_whose_claim_was_cleared_away_does_not_publish(store):
    with claim(store) as held:
        store.delete(held.key)
        with pytest.raises(ConflictError, match="cleared away"):
            held.require_held()


def test_a_claim_that_was_cleared_away_is_not_taken_again(store):
    with claim(store, dead_after_s=2) as held:
        store.delete(held.key)
        time.sleep(0.7)
        assert store.stat(held.key) is None
        with pytest.raises(ConflictError, match="cleared away"):
            held.require_held()


def test_who_is_not_alone_clears_nothing_away(store):
    store.write("files/aa/mine", b"x")
    with claim(store):
        die(store, ["files/aa/mine"])
        with pytest.raises(TransientError), claim(store, wait_s=0):
            pass
    assert [info.key for info in store.list("files/")] == ["files/aa/mine"]
