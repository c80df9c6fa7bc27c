"""Write a synthetic world as a data provider would deliver it: GeoTIFF scenes, and the truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pycocotools import mask as coco_mask
from rasterio.transform import from_origin

from demo.scenes.generator import CATEGORIES, SyntheticObject, SyntheticScene, generate_scene

GSD_M = 0.3
"""Ground resolution of every scene in metres per pixel."""

CRS = "EPSG:32632"
_FIRST_EASTING_M = 450_000.0
_FIRST_NORTHING_M = 5_400_000.0
_SCENES_PER_ROW = 20
_GAP_M = 60.0

SEED_BASE = 10_000_000
"""Scene seeds of worlds start here: no world shares a scene with the training data."""

_SCENES_PER_SEED = 10_000


def scene_seed(world_seed: int, index: int) -> int:
    """Seed of the ``index``-th scene of a world, different for every world and index."""
    return SEED_BASE + world_seed * _SCENES_PER_SEED + index


def encode_mask(item: SyntheticObject, height_px: int, width_px: int) -> dict[str, Any]:
    """Encode an object's mask in the frame of its scene.

    Args:
        item: the object.
        height_px: height of the scene.
        width_px: width of the scene.

    Returns:
        COCO's compressed run-length encoding with ``counts`` as str.
    """
    full = np.zeros((height_px, width_px), np.uint8, order="F")
    x0, y0, x1, y1 = item.bbox_xyxy_px
    full[y0:y1, x0:x1] = item.mask
    encoded = coco_mask.encode(full)
    return {"size": [height_px, width_px], "counts": encoded["counts"].decode("ascii")}


def _annotation(
    item: SyntheticObject, annotation_id: int, image_id: int, size_px: int
) -> dict[str, Any]:
    x0, y0, x1, y1 = item.bbox_xyxy_px
    return {
        "id": annotation_id,
        "image_id": image_id,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": item.area_px,
        "segmentation": encode_mask(item, size_px, size_px),
        "iscrowd": 0,
    }


def _write_geotiff(path: Path, scene: SyntheticScene, index: int) -> None:
    """Write one scene; neighbours in the world's grid do not touch."""
    size_px = scene.image.shape[0]
    row, column = divmod(index, _SCENES_PER_ROW)
    pitch_m = size_px * GSD_M + _GAP_M
    transform = from_origin(
        _FIRST_EASTING_M + column * pitch_m, _FIRST_NORTHING_M - row * pitch_m, GSD_M, GSD_M
    )
    profile = {
        "driver": "GTiff",
        "width": size_px,
        "height": size_px,
        "count": 3,
        "dtype": "uint8",
        "crs": CRS,
        "transform": transform,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "photometric": "RGB",
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.moveaxis(scene.image, -1, 0))
        day, minute = index % 28 + 1, index % 60
        file.update_tags(TIFFTAG_DATETIME=f"2026:05:{day:02d} 10:{minute:02d}:00")


def write_world(
    dest: Path,
    n_scenes: int,
    size_px: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Draw a world and write it: ``scene_0000.tif`` and on, and ``truth.json``.

    The scenes are tiled, deflated uint8 RGB GeoTIFFs of 0.3 m ground resolution in UTM zone 32N,
    side by side without touching. The truth is a COCO file: category ids 1..10 in the order of
    ``CATEGORIES``, masks as compressed run-length encoding, ``bbox`` as x, y, width, height in
    pixels. Things without a category are in its extra list ``distractors``, with the same fields
    but ``kind`` in place of ``category_id``. The same arguments give the same bytes.

    Args:
        dest: folder to write to; made if missing.
        n_scenes: number of scenes, 1 to 10,000.
        size_px: side of each scene in pixels.
        seed: non-negative seed of the world.
        progress: called with the number of scenes written so far, after each.

    Returns:
        The path of ``truth.json``.

    Raises:
        ValueError: if ``n_scenes``, ``seed`` or ``size_px`` is out of range.
    """
    if not 1 <= n_scenes <= _SCENES_PER_SEED or seed < 0:
        raise ValueError(
            f"n_scenes={n_scenes}, seed={seed}: a world has 1 to {_SCENES_PER_SEED} scenes and a "
            "non-negative seed"
        )
    dest.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    distractors: list[dict[str, Any]] = []
    for index in range(n_scenes):
        scene = generate_scene(scene_seed(seed, index), size_px)
        name = f"scene_{index:04d}.tif"
        _write_geotiff(dest / name, scene, index)
        image_id = index + 1
        images.append({"id": image_id, "file_name": name, "width": size_px, "height": size_px})
        for item in scene.objects:
            if item.category is None:
                entry = _annotation(item, len(distractors) + 1, image_id, size_px)
                distractors.append({**entry, "kind": item.kind})
            else:
                entry = _annotation(item, len(annotations) + 1, image_id, size_px)
                category_id = CATEGORIES.index(item.category) + 1
                annotations.append({**entry, "category_id": category_id})
        if progress:
            progress(index + 1)
    truth = {
        "info": {
            "description": "Synthetic overhead scenes with exact masks",
            "seed": seed,
            "size_px": size_px,
        },
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": "object"}
            for number, name in enumerate(CATEGORIES, start=1)
        ],
        "distractors": distractors,
    }
    path = dest / "truth.json"
    path.write_text(json.dumps(truth), encoding="utf-8")
    return path
