"""Credentials that may only read, on a real S3 server: pulling works, and writing is refused."""

import uuid

import pytest
from botocore.exceptions import ClientError

from lae_tasks.contracts import VerdictAction
from lae_tasks.errors import ConfigError
from lae_tasks.releases import pull, verify
from lae_tasks.releases.comparing import compare
from lae_tasks.releases.marks import roll_back, yank
from lae_tasks.storage import open_storage
from tests.release_world import World, publish_world

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]


class ReadOnly:
    """A client whose policy allows to get and to list, answering as AWS does."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        if name not in ("put_object", "delete_object"):
            return getattr(self._client, name)

        def refuse(**arguments):
            told = {"Code": "AccessDenied", "Message": "Access Denied"}
            raise ClientError({"Error": told}, name)

        return refuse


@pytest.fixture(scope="module")
def worlds(s3):
    """A store with two versions, as its owner and as a reader see it."""
    bucket = f"lae-{uuid.uuid4().hex[:8]}"
    s3.client().create_bucket(Bucket=bucket)
    owner = World(open_storage(f"s3://{bucket}/demo", s3.client()))
    owner.add_scene(3)
    publish_world(owner)
    owner.judge(owner.region_ids()[0], VerdictAction.REJECT)
    publish_world(owner)
    reader = World(open_storage(f"s3://{bucket}/demo", ReadOnly(s3.client())), owner.state)
    return owner, reader


def test_who_may_only_read_pulls_and_compares(worlds, tmp_path):
    _, reader = worlds
    assert pull(reader.store, "latest", tmp_path).manifest.version == "v1.0.1"
    assert verify(tmp_path) == []
    assert len(compare(reader.store, "v1.0.0", "latest").diff.removed) == 1


def test_who_may_only_read_is_told_so_when_writing(worlds):
    owner, reader = worlds
    before = {info.key for info in owner.store.list()}
    told = "put_object .*AccessDenied; check the credentials and the bucket's policy"
    for write in (
        lambda: publish_world(reader),
        lambda: yank(reader.store, "v1.0.0", "wrong masks"),
        lambda: roll_back(reader.store, "v1.0.0"),
    ):
        with pytest.raises(ConfigError, match=told):
            write()
    assert {info.key for info in owner.store.list()} == before
