"""Records with sensible values, for tests that care for a few of them only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lae_tasks.contracts import Decision, Label, Record, Region, Scene, Tile, WindowPx
from lae_tasks.geometry import encode_mask
from lae_tasks.routing.labelled import LabelledRegions, join
from lae_tasks.schema import arrow_schema
from lae_tasks.trust.features import FEATURES
from lae_tasks.trust.records import Calibration


def make_scene(**values: Any) -> Scene:
    """A scene of 200 x 100 px without a place on the ground."""
    defaults = {
        "scene_id": "s1",
        "raw_key": "a.tif",
        "etag": "etag",
        "size_bytes": 1,
        "width_px": 200,
        "height_px": 100,
        "bands": 3,
        "dtype": "uint8",
        "crs": None,
        "transform": None,
        "gsd_m": None,
        "acquired_at": None,
    }
    return Scene.model_validate(defaults | values)


def make_tile(window_px: WindowPx = (0, 0, 100, 100), **values: Any) -> Tile:
    """A tile of a scene, by its window."""
    x, y, width, height = window_px
    scene_id = values.get("scene_id", "s1")
    defaults = {
        "tile_id": f"{scene_id}-{x}-{y}-{width}x{height}",
        "scene_id": scene_id,
        "raw_key": "a.tif",
        "window_px": window_px,
        "image_key": "image.png",
        "image_sha256": "d",
        "valid_fraction": 1.0,
    }
    return Tile.model_validate(defaults | values)


def make_region(**values: Any) -> Region:
    """A region that fills its box, if no mask is given."""
    x0, y0, x1, y1 = values.get("bbox_xyxy_px", (1, 2, 5, 6))
    defaults = {
        "region_id": "r1",
        "tile_id": "t1",
        "scene_id": "s1",
        "bbox_xyxy_px": (x0, y0, x1, y1),
        "mask_rle": encode_mask(np.ones((y1 - y0, x1 - x0), dtype=bool)),
        "area_px": (x1 - x0) * (y1 - y0),
        "predicted_iou": 0.9,
        "stability_score": 0.95,
        "prompt_type": "grid",
    }
    return Region.model_validate(defaults | values)


def make_label(region_id: str = "r1", **values: Any) -> Label:
    """A ship, by both models."""
    defaults = {
        "region_id": region_id,
        "model_revision": "m",
        "prompt_sha256": "p",
        "category_said": "Ship",
        "likelihood_said": 0.5,
        "token_confidence": 0.95,
        "clip_categories": ("ship",),
        "clip_scores": (0.9,),
        "clip_score_said": 0.9,
        "clip_agrees": True,
        "crop_std": 30.0,
        "reply": "",
    }
    return Label.model_validate(defaults | values)


def make_decision(region: Region, **values: Any) -> Decision:
    """A region that was accepted as a ship."""
    defaults = {
        "region_id": region.region_id,
        "tile_id": region.tile_id,
        "scene_id": region.scene_id,
        "outcome": "accept",
        "rule": "sure",
        "reason": "sure",
        "category": "ship",
        "confidence": 0.95,
        "calibration": "none",
        "candidates": (),
        "drawn": False,
        "priority": 0.0,
    }
    return Decision.model_validate(defaults | values)


def columns_of(records: Sequence[Record], kind: type[Record]) -> pa.Table:
    """Records as a table of their contract."""
    rows = [record.model_dump(mode="json") for record in records]
    return pa.Table.from_pylist(rows, schema=arrow_schema(kind))


def labelled(
    labels: Sequence[Label],
    regions: Sequence[Region],
    window_area_px: int = 10_000,
    scenes: Sequence[Scene] = (),
) -> LabelledRegions:
    """Labels with their regions, whose tiles' windows all have the same area."""
    table = join(columns_of(labels, Label), columns_of(regions, Region), "here")
    windows = {region.tile_id: window_area_px for region in regions}
    return LabelledRegions(table, windows, lambda: scenes)


def make_calibration(**values: Any) -> Calibration:
    """One that knows nothing: every region is as likely right as wrong."""
    zeros = (0.0,) * len(FEATURES)
    defaults = {
        "calibration_id": "c1",
        "night": "2026-01-01",
        "model_revision": "model",
        "features": FEATURES,
        "means": zeros,
        "scales": (1.0,) * len(FEATURES),
        "weights": zeros,
        "intercept": 0.0,
        "verdicts": 200,
        "right": 180,
        "drawn": 150,
        "target_precision": 0.95,
        "confidence": 0.9,
        "accept_at": 0.5,
        "above": 140,
        "above_right": 138,
        "bins_said": (0.5,),
        "bins_right": (0.9,),
        "bins_count": (150,),
        "calibration_error": 0.4,
    }
    return Calibration.model_validate(defaults | values)
