import copy
import shutil
from pathlib import Path

import pytest

from lae_tasks.contracts import VerdictAction
from lae_tasks.storage import open_storage
from tests.release_world import World, publish_world


@pytest.fixture
def world(tmp_path):
    """A store with one scene of four overlapping tiles."""
    world = World(open_storage(str(tmp_path / "store")))
    world.add_scene(3)
    return world


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """Four versions. A baseball diamond is rejected in v1.0.1 and back as a ship in v1.0.2, where a
    ship is rejected; v1.1.0 has a scene more. Not to be changed."""
    world = World(open_storage(str(tmp_path_factory.mktemp("published"))))
    world.add_scene(4)
    first, second = (world.region_ids(name)[0] for name in ("baseball diamond", "ship"))
    publish_world(world)
    world.judge(first, VerdictAction.REJECT)
    publish_world(world)
    world.judge(first, VerdictAction.RELABEL, "ship", day="2026-05-02")
    world.judge(second, VerdictAction.REJECT, day="2026-05-02")
    publish_world(world)
    world.add_scene(3)
    publish_world(world)
    return world


@pytest.fixture
def own(published, tmp_path):
    """The same in a folder of the test's own."""
    shutil.copytree(Path(published.store.uri), tmp_path / "own")
    return World(open_storage(str(tmp_path / "own")), copy.deepcopy(published.state))
