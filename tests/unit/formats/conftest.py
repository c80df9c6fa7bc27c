"""A release with a parent, a few scenes on the ground, one without a place, and some verdicts."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
import torch
from PIL import Image

from lae_tasks.config import Config
from lae_tasks.contracts import Outcome, VerdictAction
from lae_tasks.releases.manifest import ReleaseManifest
from lae_tasks.releases.pull import pull
from lae_tasks.storage import open_storage
from tests.records import make_label, make_scene
from tests.release_world import SCENE_PX, World, publish_world


@pytest.fixture(autouse=True, scope="module")
def what_ultralytics_replaces() -> Iterator[None]:
    """Puts back what ultralytics replaces in other libraries when it is imported."""
    places = [(Image, "open"), (cv2, "imread"), (cv2, "imwrite"), (torch, "save"), (torch, "load")]
    before = [(module, name, getattr(module, name)) for module, name in places]
    yield
    for module, name, value in before:
        setattr(module, name, value)


#: Of each scene its seed, CRS, x and y of its corner, size of its pixels, and time.
PLACES = (
    (3, "EPSG:32632", 500_000, 5_300_000, 0.5, "2026-05-01T10:30:00+00:00"),
    (4, "EPSG:32632", 501_000, 5_301_000, 0.5, None),
    (5, "EPSG:4326", 9.02, 47.87, 5e-6, "2026-05-03"),
    (6, "EPSG:32632", 504_000, 5_302_000, 0.5, None),
)


@dataclass(frozen=True)
class Published:
    """Two releases of one world, the second pulled into a folder."""

    world: World
    manifest: ReleaseManifest
    folder: Path


class SplitWorld(World):
    """A world whose few scenes are shared out among all splits."""

    @property
    def config(self) -> Config:
        """With larger shares of validation and test."""
        config = super().config
        shares = {"val_share": 0.25, "test_share": 0.25, "licence": "CC-BY-4.0"}
        return config.model_copy(update={"release": config.release.model_copy(update=shares)})


def make_world(store: str) -> World:
    """Four scenes with places; nothing is published yet."""
    world = SplitWorld(open_storage(store))
    for seed, crs, x, y, size, acquired_at in PLACES:
        world.add_scene(seed)
        scene_id = [*world.state.night_of][-1]
        world.state.scenes[scene_id] = make_scene(
            scene_id=scene_id,
            raw_key=f"harbour/scene-{seed:03d}.tif",
            width_px=SCENE_PX,
            height_px=SCENE_PX,
            crs=crs,
            transform=(size, 0.0, float(x), 0.0, -size, float(y)),
            gsd_m=0.5,
            acquired_at=acquired_at,
        )
    for region_id in world.state.regions:
        world.state.labels[region_id] = make_label(region_id)
    for number, region_id in enumerate(world.region_ids()):
        decision = world.state.decisions[region_id]
        confidence = round(0.55 + 0.45 * (number * 37 % 100) / 100, 3)
        values = {"confidence": confidence, "drawn": number % 3 == 0}
        if number % 7 == 6:
            values |= {"outcome": Outcome.REVIEW, "rule": "uncertain"}
        if number % 11 == 10:
            values |= {"outcome": Outcome.REJECT, "rule": "likelihood"}
        world.state.decisions[region_id] = decision.model_copy(update=values)
    return world


def publish_twice(world: World, folder: Path) -> Published:
    """Publishes; then stewards judge, a scene comes in without a place, and it does so again."""
    publish_world(world)
    ids = world.region_ids()
    for number, region_id in enumerate(ids[:40]):
        if world.state.decisions[region_id].drawn:
            wrong = number in (3, 9)
            world.judge(region_id, VerdictAction.REJECT if wrong else VerdictAction.ACCEPT)
    world.judge(ids[1], VerdictAction.RELABEL, category="windmill")
    world.judge("drawn-by-hand", VerdictAction.ADD, category="ship", bbox=(5, 5, 30, 25))
    world.add_scene(7)
    manifest = publish_world(world).manifest
    pull(world.store, manifest.version, folder)
    return Published(world, manifest, folder)


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Published:
    """Made once: nobody may change it."""
    root = tmp_path_factory.mktemp("published")
    with warnings.catch_warnings():
        # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
        warnings.filterwarnings("ignore", "module 'sre_", DeprecationWarning)
        return publish_twice(make_world(str(root / "store")), root / "pulled")
