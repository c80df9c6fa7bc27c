"""The demo's automatic masks, made as the engine makes them: its backend, its `demo` preset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lae_tasks.backends.masks import load_mask_generator
from lae_tasks.backends.protocols import Image, MaskGenerator, MaskProposal
from lae_tasks.config import SegmentConfig
from lae_tasks.config_file import load_config
from lae_tasks.geometry import mask_in_window

CONFIG = Path(__file__).parent / "lae.yaml"


def mask_settings(checkpoint: Path, **changes: Any) -> SegmentConfig:
    """The demo preset's settings for a checkpoint of the small SAM, with changes."""
    settings = load_config(CONFIG).segment
    return settings.model_copy(update={"checkpoint": checkpoint, "device": "cpu", **changes})


def make_mask_generator(checkpoint: Path, **changes: Any) -> MaskGenerator:
    """The generator of the demo preset, on one thread."""
    return load_mask_generator(mask_settings(checkpoint, **changes), threads=1)


def full_rle(proposal: MaskProposal, image: Image) -> dict[str, Any]:
    """A mask as COCO's compressed run-length encoding of the image's size, counts as str."""
    height_px, width_px = image.shape[:2]
    window = (0, 0, width_px, height_px)
    placed = mask_in_window(proposal.mask, proposal.bbox_xyxy_px, window)
    rle = coco_mask.encode(np.asfortranarray(placed, dtype=np.uint8))
    return {"size": [height_px, width_px], "counts": rle["counts"].decode("ascii")}
