"""A store as nights leave it, small: synthetic scenes, their tiles, and what was decided."""

import hashlib
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.scenes.generator import CATEGORIES, SyntheticObject, generate_scene
from lae_tasks.config import Config, ReleaseConfig
from lae_tasks.contracts import (
    Outcome,
    Tile,
    Verdict,
    VerdictAction,
)
from lae_tasks.formats import coco
from lae_tasks.formats.writing import Source, write
from lae_tasks.geometry import encode_mask, mask_in_window, tile_windows
from lae_tasks.releases import read_release
from lae_tasks.releases.dataset import Dataset
from lae_tasks.stages.release import ReleaseResult, publish
from lae_tasks.stages.tile import encode_png, image_key
from lae_tasks.state import State
from lae_tasks.storage import Storage
from tests.records import make_decision, make_region, make_scene, make_tile

SCENE_PX = 448
TILE_PX = 256
OVERLAP_PX = 64


@dataclass
class World:
    """What one store holds. Every object of a scene is a region with its true mask and name."""

    store: Storage
    state: State = field(default_factory=State)

    @property
    def config(self) -> Config:
        return Config(
            preset="demo",
            raw=f"{self.store.uri}/raw",
            store=self.store.uri,
            vocabulary=CATEGORIES,
            release={"formats": ("coco", "odvg")},
        )

    def add_scene(self, seed: int) -> None:
        """One scene more, its tiles stored, its objects accepted by the rule `sure`."""
        scene = generate_scene(seed, SCENE_PX)
        scene_id = hashlib.sha256(scene.image.tobytes()).hexdigest()[:16]
        self.state.night_of[scene_id] = "2026-11-23"
        tiles = []
        for window in tile_windows(SCENE_PX, SCENE_PX, TILE_PX, OVERLAP_PX):
            x, y, width, height = window
            png = encode_png(scene.image[y : y + height, x : x + width])
            digest = hashlib.sha256(png).hexdigest()
            self.store.write(image_key(digest), png)
            tile = make_tile(
                window,
                scene_id=scene_id,
                raw_key=f"harbour/scene-{seed:03d}.tif",
                image_key=image_key(digest),
                image_sha256=digest,
            )
            tiles.append(tile)
            self.state.tiles[tile.tile_id] = tile
        for thing in scene.objects:
            if thing.category:
                self._add_object(thing, thing.category, tiles)

    def _add_object(self, thing: SyntheticObject, category: str, tiles: list[Tile]) -> None:
        def shown(tile: Tile) -> int:
            return int(mask_in_window(thing.mask, thing.bbox_xyxy_px, tile.window_px).sum())

        tile = max(tiles, key=shown)
        region_id = hashlib.sha256(f"{tile.tile_id}{thing.bbox_xyxy_px}".encode()).hexdigest()[:16]
        self.state.regions[region_id] = make_region(
            region_id=region_id,
            tile_id=tile.tile_id,
            scene_id=tile.scene_id,
            bbox_xyxy_px=thing.bbox_xyxy_px,
            mask_rle=encode_mask(thing.mask),
            area_px=thing.area_px,
        )
        self.decide(region_id, Outcome.ACCEPT, category)

    def decide(self, region_id: str, outcome: Outcome, category: str | None) -> None:
        """What the engine decided of a region."""
        region = self.state.regions[region_id]
        self.state.decisions[region_id] = make_decision(region, outcome=outcome, category=category)

    def judge(
        self,
        region_id: str,
        action: VerdictAction,
        category: str | None = None,
        bbox: tuple[int, int, int, int] | None = None,
        day: str = "2026-05-01",
    ) -> Verdict:
        """What a steward decided of a region, on a day."""
        number = len(self.state.verdicts) + 1
        region = self.state.regions.get(region_id) or next(iter(self.state.regions.values()))
        decision = self.state.decisions.get(region_id)
        if category is None and decision and action is not VerdictAction.REJECT:
            category = decision.category
        verdict = Verdict(
            verdict_id=f"verdict-{number:03d}",
            region_id=region_id,
            tile_id=region.tile_id,
            scene_id=region.scene_id,
            task_key="task",
            task_created_at="2026-05-01T07:00:00+00:00",
            annotation_id=number,
            annotator="steward@example.org",
            decided_at=f"{day}T08:{number // 60:02d}:{number % 60:02d}+00:00",
            action=action,
            category=category,
            bbox_xyxy_px=bbox or region.bbox_xyxy_px,
            seconds=3.0,
        )
        self.state.verdicts[verdict.verdict_id] = verdict
        return verdict

    def place(self, crs: str, transform: tuple[float, float, float, float, float, float]) -> None:
        """Registers the scenes with a place on the ground."""
        for tile in self.state.tiles.values():
            self.state.scenes[tile.scene_id] = make_scene(
                scene_id=tile.scene_id,
                raw_key=tile.raw_key,
                width_px=SCENE_PX,
                height_px=SCENE_PX,
                crs=crs,
                transform=transform,
            )

    def region_ids(self, category: str | None = None) -> list[str]:
        """Ids of the regions, of all or of those that the engine named so; largest first."""
        regions = self.state.regions
        ids = [
            region_id
            for region_id in regions
            if category in (None, self.state.decisions[region_id].category)
        ]
        return sorted(ids, key=lambda each: (-regions[each].area_px, each))

    def tiles_of(self, region_id: str) -> list[Tile]:
        """The tiles that show any of a region."""
        region = self.state.regions[region_id]
        x0, y0, x1, y1 = region.bbox_xyxy_px
        return [
            tile
            for tile in self.state.tiles.values()
            if tile.scene_id == region.scene_id
            and x0 < tile.window_px[0] + tile.window_px[2]
            and x1 > tile.window_px[0]
            and y0 < tile.window_px[1] + tile.window_px[3]
            and y1 > tile.window_px[1]
        ]


def publish_world(world: World) -> ReleaseResult:
    """Publishes what the world holds."""
    return publish(lambda: world.state, world.config, world.store)


def read_json(world: World, version: str, path: str) -> Any:
    """A file of a release."""
    return json.loads(world.store.read(read_release(world.store, version).file(path).key))


def coco_of(dataset: Dataset, config: ReleaseConfig) -> Any:
    """The COCO file of a dataset, parsed."""
    with tempfile.TemporaryDirectory() as folder:
        write(Source(dataset, config, lambda image: b""), ["coco"], Path(folder))
        return json.loads((Path(folder) / coco.PATH).read_text("utf-8"))


def keys(world: World, prefix: str = "") -> set[str]:
    """The keys in the world's store."""
    return {info.key for info in world.store.list(prefix)}
