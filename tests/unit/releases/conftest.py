import pytest

from lae_tasks.storage import open_storage
from tests.release_world import World


@pytest.fixture
def world(tmp_path):
    """A store with one scene of four overlapping tiles."""
    world = World(open_storage(str(tmp_path / "store")))
    world.add_scene(3)
    return world
