"""Training scenes, drawn once and kept in a cache folder that is never committed.

``python -m demo.train.data --scenes 3000`` draws them; the training scripts do the same when the
cache is missing. Seeds tell the sets apart and never overlap:

* training: 0 .. 899,999,
* held out for the final figures: 1,000,000 and up (``demo.evaluate_models``),
* held out for choices made while training (early looks, thresholds): 900,000 .. 999,999,
* the demo's own worlds: 10,000,000 and up (``demo.scenes.world``).
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from demo.scenes import SyntheticScene, generate_scene

logger = logging.getLogger(__name__)

SCENE_PX = 512
SHARD_SCENES = 250
VALIDATION_SEED = 900_000
HELD_OUT_SEED = 1_000_000
DEFAULT_CACHE = Path(".cache/train")


def instance_map(scene: SyntheticScene) -> npt.NDArray[np.uint8]:
    """Draw the objects' masks into one map.

    Args:
        scene: a scene with at most 255 objects.

    Returns:
        uint8 (height, width): 0 on the background, k on the k-th object (counted from 1).
    """
    ids = np.zeros(scene.image.shape[:2], np.uint8)
    for index, item in enumerate(scene.objects, start=1):
        x0, y0, x1, y1 = item.bbox_xyxy_px
        ids[y0:y1, x0:x1][item.mask] = index
    return ids


@dataclass(frozen=True)
class SceneSet:
    """Training scenes as memory-mapped arrays.

    Attributes:
        images: per shard, uint8 (n, 512, 512, 3).
        instances: per shard, uint8 (n, 512, 512); see :func:`instance_map`.
        kinds: per scene, the kind of object k at position k - 1.
    """

    images: Sequence[npt.NDArray[np.uint8]]
    instances: Sequence[npt.NDArray[np.uint8]]
    kinds: Sequence[Sequence[str]]

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(
        self, index: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Sequence[str]]:
        shard, row = divmod(index, SHARD_SCENES)
        return self.images[shard][row], self.instances[shard][row], self.kinds[index]


def _shard_paths(cache: Path, shard: int) -> tuple[Path, Path, Path]:
    stem = f"scenes_{shard:03d}"
    return cache / f"{stem}.images.npy", cache / f"{stem}.ids.npy", cache / f"{stem}.json"


def _draw_shard(task: tuple[Path, int]) -> int:
    """Draw one shard unless its last file is there; returns the shard's number."""
    cache, shard = task
    image_path, id_path, kind_path = _shard_paths(cache, shard)
    if kind_path.exists():
        return shard
    first = shard * SHARD_SCENES
    scenes = [generate_scene(seed, SCENE_PX) for seed in range(first, first + SHARD_SCENES)]
    np.save(image_path, np.stack([scene.image for scene in scenes]))
    np.save(id_path, np.stack([instance_map(scene) for scene in scenes]))
    kind_path.write_text(json.dumps([[o.kind for o in scene.objects] for scene in scenes]))
    return shard


def load_scenes(cache: Path, scenes: int, processes: int = 1) -> SceneSet:
    """Open the first ``scenes`` training scenes, drawing those that the cache lacks.

    Args:
        cache: folder for the arrays; made if missing. About 1 MiB per scene.
        scenes: how many, rounded up to whole shards of 250.
        processes: how many processes draw.

    Returns:
        The scenes with seeds 0 .. ``scenes`` - 1.
    """
    cache.mkdir(parents=True, exist_ok=True)
    shards = range(-(-scenes // SHARD_SCENES))
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for shard in pool.imap_unordered(_draw_shard, [(cache, s) for s in shards]):
            logger.info("shard %d of %d is there", shard, len(shards))
    paths = [_shard_paths(cache, shard) for shard in shards]
    return SceneSet(
        images=[np.load(image_path, mmap_mode="r") for image_path, _, _ in paths],
        instances=[np.load(id_path, mmap_mode="r") for _, id_path, _ in paths],
        kinds=[kinds for _, _, path in paths for kinds in json.loads(path.read_text())],
    )


def main() -> None:
    """Draw the training scenes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--scenes", type=int, default=3000)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    load_scenes(args.cache, args.scenes, args.processes)


if __name__ == "__main__":
    main()
