"""A quarter of synthetic nights with their truth: made by the engine up to the names, and scored.

Its nights are made once, by `make`, and kept: that takes the models. What is done with the names,
`review_loop.py` compares.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np

from demo.scenes import write_world
from lae_tasks.config import Config
from lae_tasks.contracts import BoxPx
from lae_tasks.errors import ConfigError
from lae_tasks.geometry import box_overlap
from lae_tasks.local import run_night
from lae_tasks.releases.dataset import Dataset
from lae_tasks.runner import iter_manifests, read_manifest
from lae_tasks.state import WHOLE
from lae_tasks.storage import open_storage

FIRST_NIGHT = date(2026, 8, 1)
SIZE_PX = 1024
#: Far from the seeds that the demo's models were trained on.
FIRST_SEED = 500_000

#: So often, in nights, everything is scored.
EVERY = 5

#: Below the folder: how many nights, of how many scenes.
_SIZE = "quarter.json"

#: The usual measure of object detection.
MIN_IOU = 0.5


@dataclass(frozen=True)
class Thing:
    """A true object of a scene, in scene pixels."""

    category: str
    bbox_xyxy_px: BoxPx


@dataclass(frozen=True)
class Said:
    """An object that a data set holds."""

    raw_key: str
    category: str
    bbox_xyxy_px: BoxPx


@dataclass(frozen=True)
class Score:
    """How good a data set is, by the truth.

    Attributes:
        objects: That it holds, with `right` those that are true ones, each counted once.
        things: True objects of its scenes.
    """

    objects: int
    right: int
    things: int

    @property
    def precision(self) -> float:
        """The share of the objects that is right."""
        return self.right / self.objects if self.objects else 1.0

    @property
    def recall(self) -> float:
        """The share of the true objects that is there."""
        return self.right / self.things if self.things else 1.0


@dataclass(frozen=True)
class Quarter:
    """Nights of synthetic scenes below a folder: `raw/<night>/` and `store/`."""

    folder: Path
    count: int
    scenes: int

    @property
    def nights(self) -> list[str]:
        """Their names, `yyyy-mm-dd`."""
        return [(FIRST_NIGHT + timedelta(days=n)).isoformat() for n in range(self.count)]

    @cached_property
    def truth(self) -> dict[str, list[Thing]]:
        """The true objects of each scene by its raw key."""
        found: dict[str, list[Thing]] = {}
        for night in self.nights:
            told = json.loads((self.folder / "raw" / night / "truth.json").read_text())
            names = {each["id"]: each["name"] for each in told["categories"]}
            keys = {each["id"]: f"{night}/{each['file_name']}" for each in told["images"]}
            found |= {key: [] for key in keys.values()}
            for each in told["annotations"]:
                x, y, width, height = each["bbox"]
                box = (int(x), int(y), int(x + width), int(y + height))
                found[keys[each["image_id"]]].append(Thing(names[each["category_id"]], box))
        return found

    @property
    def scored(self) -> list[str]:
        """The nights after which all that there is by then is scored: the last one, too."""
        return sorted({*self.nights[EVERY - 1 :: EVERY], self.nights[-1]})

    def make(self, config: Config, workers: int, tell: Callable[[str], None]) -> None:
        """Draws the scenes and runs the nights, as far as that is not done.

        Raises:
            ConfigError: If the folder has nights with another number of scenes.
        """
        there = read_quarter(self.folder)
        if there and there.scenes != self.scenes:
            raise ConfigError(
                f"{self.folder} has nights of {there.scenes} scenes, not of {self.scenes}; give "
                f"--scenes {there.scenes}, or another folder"
            )
        store = open_storage(config.store)
        for number, night in enumerate(self.nights):
            if read_manifest(store, "route", night, WHOLE):
                continue
            raw = self.folder / "raw" / night
            if not (raw / "truth.json").exists():
                write_world(raw, self.scenes, SIZE_PX, FIRST_SEED + 100 * (number + 1))
            run_night(config, night, workers, lambda *_: None)
            tell(night)
        size = {"nights": max(self.count, there.count if there else 0), "scenes": self.scenes}
        (self.folder / _SIZE).write_text(json.dumps(size))

    def score(self, said: Iterable[Said], until: str) -> Score:
        """Compares with the truth: same category, IoU of 0.5 or more, each true object once.

        Args:
            said: What a data set of the nights until then holds.
            until: The last of these nights.
        """
        by_scene: defaultdict[str, list[Said]] = defaultdict(list)
        for each in said:
            by_scene[each.raw_key].append(each)
        objects = sum(map(len, by_scene.values()))
        things = {key: there for key, there in self.truth.items() if key.split("/")[0] <= until}
        right = sum(_matched(by_scene[key], there) for key, there in things.items())
        return Score(objects, right, sum(map(len, things.values())))


def read_quarter(folder: Path) -> Quarter | None:
    """The nights that a folder has; None if it has none.

    While they are being made, `quarter.json` is not there yet: then those that are done.
    """
    if (folder / _SIZE).exists():
        size = json.loads((folder / _SIZE).read_text())
        return Quarter(folder, size["nights"], size["scenes"])
    store = open_storage(str(folder / "store"))
    done = sum(1 for _ in iter_manifests(store, "route"))
    if not done:
        return None
    first = folder / "raw" / FIRST_NIGHT.isoformat() / "truth.json"
    return Quarter(folder, done, len(json.loads(first.read_text())["images"]))


def said_by(dataset: Dataset) -> list[Said]:
    """The objects of a data set, each once, though several tiles show it."""
    key_of = {image.image_id: image.scene_key for image in dataset.images}
    once = {each.region_id: each for each in dataset.annotations}
    return [
        Said(key_of[each.image_id], each.category, each.bbox_scene_xyxy_px)
        for each in once.values()
    ]


def best_match(box: BoxPx, things: Sequence[Thing]) -> tuple[float, Thing | None]:
    """The true object that a box overlaps most, and by how much (IoU)."""
    if not things:
        return 0.0, None
    overlaps = box_overlap(np.array(box), np.array([each.bbox_xyxy_px for each in things]))
    best = int(np.argmax(overlaps))
    return float(overlaps[best]), things[best]


def _matched(said: Sequence[Said], things: Sequence[Thing]) -> int:
    """How many true objects are there, each taken by the object that overlaps it most."""
    pairs = []
    for number, each in enumerate(said):
        for place, thing in enumerate(things):
            if thing.category == each.category:
                overlap = float(
                    box_overlap(np.array(each.bbox_xyxy_px), np.array([thing.bbox_xyxy_px]))[0]
                )
                if overlap >= MIN_IOU:
                    pairs.append((overlap, number, place))
    taken: set[int] = set()
    used: set[int] = set()
    for _, number, place in sorted(pairs, reverse=True):
        if number not in used and place not in taken:
            used.add(number)
            taken.add(place)
    return len(taken)
