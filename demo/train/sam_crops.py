"""Crops that the trained SAM makes: ``python -m demo.train.sam_crops``.

The last stages of the LVLM train on these, because they are what it will be asked about: masks of
the demo preset, some a little too large or too small, some on nothing at all.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from demo.masks import full_rle, make_mask_generator
from demo.scenes import generate_scene
from demo.scenes.world import encode_mask
from demo.train import sam as sam_training
from demo.train.crops import (
    BACKGROUND,
    MARGIN,
    Crops,
    UnsignedArray,
    background_box,
    collect,
    save_crops,
)
from demo.train.data import DEFAULT_CACHE, SCENE_PX, instance_map
from lae_tasks.backends.protocols import MaskGenerator
from lae_tasks.imagery.crops import crop_region

logger = logging.getLogger(__name__)

SEEN_SEED, UNSEEN_SEED = 0, 500_000
_MATCH_IOU, _OFF_IOU = 0.5, 0.1


def scene_crops(generator: MaskGenerator, seed: int) -> Iterator[tuple[UnsignedArray, str]]:
    """Cut the automatic masks of one scene.

    Args:
        generator: the demo preset's.
        seed: of the scene.

    Yields:
        The crop and the kind of the object that the mask matches with IoU >= 0.5, or
        ``BACKGROUND`` for masks that overlap no object by 0.1. Masks in between are left out:
        whether half an object has the object's name is a matter of taste.
    """
    scene = generate_scene(seed, SCENE_PX)
    truth = [encode_mask(item, SCENE_PX, SCENE_PX) for item in scene.objects]
    for proposal in generator.generate(scene.image):
        overlaps = coco_mask.iou([full_rle(proposal, scene.image)], truth, [0] * len(truth))
        best = float(np.max(overlaps)) if len(truth) else 0.0
        if best >= _MATCH_IOU:
            kind = scene.objects[int(np.argmax(overlaps))].kind
        elif best < _OFF_IOU:
            kind = BACKGROUND
        else:
            continue
        yield crop_region(scene.image, proposal.bbox_xyxy_px, MARGIN), kind
    # The generator seldom masks bare ground, so a few such crops are added.
    rng = np.random.default_rng(seed)
    ids = instance_map(scene)
    for box in filter(None, (background_box(rng, ids) for _ in range(2))):
        yield crop_region(scene.image, box, MARGIN), BACKGROUND


def make_crops(generator: MaskGenerator, first_seed: int, scenes: int) -> Crops:
    """Cut the automatic masks of ``scenes`` scenes, see :func:`scene_crops`."""
    seeds = range(first_seed, first_seed + scenes)
    return collect(pair for seed in seeds for pair in scene_crops(generator, seed))


def main() -> None:
    """Make SAM's crops of scenes it was trained on, and of scenes that no model has seen."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--scenes", type=int, default=220)
    parser.add_argument("--unseen-scenes", type=int, default=90)
    parser.add_argument("--sam", type=Path, default=sam_training.OUTPUT)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # A coarser grid than the demo's gives the same masks of fewer objects, so of more scenes in
    # the same time; a lower threshold lets more of the doubtful ones through.
    generator = make_mask_generator(args.sam, points_per_side=12, pred_iou_thresh=0.35)
    for name, seed, scenes in (
        ("unseen_crops", UNSEEN_SEED, args.unseen_scenes),
        ("sam_crops", SEEN_SEED, args.scenes),
    ):
        crops = make_crops(generator, seed, scenes)
        save_crops(args.cache / f"{name}.npz", crops)
        kinds, counts = np.unique(crops.kinds, return_counts=True)
        logger.info("%s: %s", name, dict(zip(kinds.tolist(), counts.tolist(), strict=True)))


if __name__ == "__main__":
    main()
