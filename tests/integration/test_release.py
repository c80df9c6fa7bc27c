"""A release on a real S3 server: published, published again, pulled, damaged, mended."""

import uuid

import pytest

from lae_tasks.contracts import VerdictAction
from lae_tasks.releases import list_releases, pull, read_release, verify
from lae_tasks.releases.manifest import latest_version
from lae_tasks.stages.release import publish
from lae_tasks.storage import open_storage
from tests.release_world import World

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def world(s3):
    bucket = f"lae-{uuid.uuid4().hex[:8]}"
    client = s3.client()
    client.create_bucket(Bucket=bucket)
    world = World(open_storage(f"s3://{bucket}/demo", client))
    world.add_scene(3)
    return world


def test_a_release_on_s3(world, tmp_path):
    first = publish(lambda: world.state, world.config, world.store)
    assert (first.version, first.new) == ("v1.0.0", True)
    again = publish(lambda: world.state, world.config, world.store)
    assert (again.digest, again.new) == (first.digest, False)

    world.judge(world.region_ids()[0], VerdictAction.REJECT)
    second = publish(lambda: world.state, world.config, world.store)
    assert (second.version, second.manifest.diff["removed"]) == ("v1.0.1", 1)
    assert latest_version(world.store) == "v1.0.1"
    assert [release.version for release in list_releases(world.store)] == ["v1.0.0", "v1.0.1"]
    page = world.store.read("releases/v1.0.1/data_docs/index.html")
    assert b"Validation passed" in page

    pulled = pull(world.store, "latest", tmp_path)
    assert pulled.manifest == read_release(world.store, "v1.0.1")
    assert verify(tmp_path) == []
    image = sorted(tmp_path.glob("images/*.png"))[0]
    data = image.read_bytes()
    image.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert [problem.kind for problem in verify(tmp_path)] == ["changed"]
    assert pull(world.store, "latest", tmp_path).fetched == 1
    assert verify(tmp_path) == []


def test_the_digest_is_the_same_on_s3_and_on_disk(world, tmp_path):
    local = World(open_storage(str(tmp_path)))
    local.add_scene(3)
    assert publish(lambda: local.state, local.config, local.store).digest == (
        read_release(world.store, "v1.0.0").digest
    )
