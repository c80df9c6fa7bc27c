import hashlib
import json
import tracemalloc

import pytest

from lae_tasks.errors import ConfigError, ContractError
from lae_tasks.releases import NoReleaseError, read_release
from lae_tasks.releases.comparing import compare
from lae_tasks.releases.diff import DIFF_PATH
from lae_tasks.storage import LocalStorage

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]


def test_each_difference_has_the_verdict_or_rule_that_caused_it(published):
    first, second = (published.state.verdicts[f"verdict-00{n}"].region_id for n in (1, 3))
    found = compare(published.store, "v1.0.0", "latest")
    assert (found.old.version, found.new.version) == ("v1.0.0", "v1.1.0")
    # Rejected in v1.0.1, and back in v1.0.2: the last word counts.
    (entry,) = (each for each in found.diff.relabelled if each["region_id"] == first)
    assert entry["to"] == "ship"
    assert entry["cause"].startswith("relabel by a steward on 2026-05-02")
    (entry,) = (each for each in found.diff.removed if each["region_id"] == second)
    assert entry["cause"].startswith("reject by a steward on 2026-05-02")
    assert len(found.diff.scenes_added) == 1
    assert found.diff.added
    assert {each["cause"].split(",")[0] for each in found.diff.added} == {"rule sure"}
    counts = found.diff.by_category()
    assert sum(each.get("added", 0) for each in counts.values()) == len(found.diff.added)


def test_an_older_version_is_compared_with_a_newer_one_the_other_way(published):
    first = published.state.verdicts["verdict-001"].region_id
    forth = compare(published.store, "v1.0.1", "v1.0.2").diff
    back = compare(published.store, "v1.0.2", "v1.0.1").diff
    assert [each["region_id"] for each in forth.added] == [first]
    assert [each["region_id"] for each in back.removed] == [first]
    assert back.removed.first(1)[0]["cause"] == forth.added.first(1)[0]["cause"]


def test_a_version_is_like_itself(published):
    assert not any(compare(published.store, "v1.0.2", "v1.0.2").diff.counts().values())


def test_versions_of_a_mirror_are_compared(published):
    class Mirror(LocalStorage):
        def list(self, prefix=""):
            raise ConfigError("cannot be listed")

    mirror = Mirror(published.store.root)
    assert compare(mirror, "v1.0.0", "v1.1.0") == compare(published.store, "v1.0.0", "v1.1.0")


def change_diff(world, version, data):
    """Gives a version another diff to the one before; None for none, as of an older engine."""
    manifest = read_release(world.store, version)
    file = manifest.file(DIFF_PATH)
    others = tuple(each for each in manifest.files if each != file)
    if data:
        world.store.write("files/diff", data)
        values = {"key": "files/diff", "sha256": hashlib.sha256(data).hexdigest()}
        others += (file.model_copy(update=values),)
    changed = manifest.model_copy(update={"files": others})
    world.store.write(f"releases/{version}/manifest.json", changed.model_dump_json().encode())


def test_a_version_that_does_not_say_why_it_differs_is_compared_without_causes(own):
    change_diff(own, "v1.0.2", None)
    first, second = (own.state.verdicts[f"verdict-00{n}"].region_id for n in (1, 3))
    diff = compare(own.store, "v1.0.0", "v1.0.2").diff
    causes = {each["region_id"]: each["cause"] for each in (*diff.relabelled, *diff.removed)}
    assert causes[first].startswith("reject by a steward on 2026-05-01")  # as v1.0.1 said
    assert causes[second] == ""


def test_a_damaged_diff_is_told(own):
    own.store.write(read_release(own.store, "v1.0.2").file(DIFF_PATH).key, b"{}")
    with pytest.raises(ContractError, match=r"is damaged, diff\.json had another digest"):
        compare(own.store, "v1.0.0", "v1.0.2")


def test_a_diff_of_many_objects_is_never_all_in_memory(own):
    entry = {"region_id": "r", "category": "ship", "bbox_scene": [0, 0, 9, 9], "cause": "a rule"}
    data = json.dumps({"counts": {}, "added": [entry] * 50_000, "removed": []}).encode()
    change_diff(own, "v1.0.2", data)
    compare(own.store, "v1.0.0", "v1.0.2")  # what stays once it was used
    tracemalloc.start()
    try:
        compare(own.store, "v1.0.0", "v1.0.2")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(data) > 4e6
    assert most < 2e6


def test_what_cannot_be_compared_is_told(own):
    with pytest.raises(NoReleaseError, match=r"no release v7\.0\.0"):
        compare(own.store, "v1.0.0", "v7.0.0")
    manifest = read_release(own.store, "v1.0.1")
    files = [file for file in manifest.files if not file.path.startswith("tables/")]
    old = manifest.model_copy(update={"files": tuple(files)})
    own.store.write("releases/v1.0.1/manifest.json", old.model_dump_json().encode())
    with pytest.raises(ContractError, match=r"v1\.0\.1 of .* has no tables: an older engine"):
        compare(own.store, "v1.0.0", "v1.0.1")
