"""Annotations of tiles, brought back into the frame of the scene that the tiles were cut from."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lae_tasks.regions.rle import rle_in_frame


class ImageMatcher:
    """Finds the truth's image of a predicted one: same name, or the only one that ends alike."""

    def __init__(self, images: Sequence[Mapping[str, Any]]) -> None:
        self.images = {image["id"]: image for image in images}
        self._by_name: defaultdict[str, list[int]] = defaultdict(list)
        for image in images:
            for name in {image["file_name"], PurePosixPath(image["file_name"]).name}:
                self._by_name[name].append(image["id"])

    def find(self, image: Mapping[str, Any]) -> int | None:
        """The id of the truth's image; None if there is none, or several."""
        name = str(image.get("scene_key", image["file_name"]))
        for candidate in (name, PurePosixPath(name).name):
            ids = self._by_name.get(candidate, [])
            if len(ids) == 1:
                return ids[0]
        return None


def in_frame(
    parts: Sequence[tuple[Mapping[str, Any], Sequence[int] | None]], width_px: int, height_px: int
) -> dict[str, Any]:
    """Box, area and mask of one object in a frame, from its parts.

    Args:
        parts: Annotations, each with the window (x, y, width, height) of its image in the frame;
            None where the image is the frame itself.
        width_px: Width of the frame.
        height_px: Height of the frame.
    """
    first = parts[0][0]
    boxes = np.array([_shifted(entry["bbox"], window) for entry, window in parts])
    low = boxes[:, :2].min(axis=0)
    high = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    box = first.get("bbox_scene") or [*low.tolist(), *(high - low).tolist()]
    placed: dict[str, Any] = {"bbox": box, "area": box[2] * box[3]}
    if all(_is_rle(entry.get("segmentation")) for entry, _ in parts):
        counts = _union(parts, width_px, height_px)
        placed["segmentation"] = {"size": [height_px, width_px], "counts": counts}
    elif len(parts) == 1 and parts[0][1] is None and first.get("segmentation"):
        placed["segmentation"] = first["segmentation"]
    return placed


def _shifted(box: Sequence[float], window: Sequence[int] | None) -> list[float]:
    x, y = (window or (0, 0))[:2]
    return [box[0] + x, box[1] + y, box[2], box[3]]


def _is_rle(segmentation: Any) -> bool:
    return isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), str)


def _union(
    parts: Sequence[tuple[Mapping[str, Any], Sequence[int] | None]], width_px: int, height_px: int
) -> str:
    """RLE counts, in the frame, of the union of masks that lie in windows of it."""
    placed = []
    for entry, window in parts:
        mask = np.asarray(coco_mask.decode(entry["segmentation"]), dtype=bool)
        rows, columns = np.nonzero(mask)
        x, y = (window or (0, 0))[:2]
        placed.append((rows + y, columns + x))
    rows, columns = (np.concatenate(axis) for axis in zip(*placed, strict=True))
    if not len(rows):
        return rle_in_frame(np.zeros((1, 1), dtype=bool), 0, 0, width_px, height_px)
    top, left = int(rows.min()), int(columns.min())
    canvas = np.zeros((int(rows.max()) + 1 - top, int(columns.max()) + 1 - left), dtype=bool)
    canvas[rows - top, columns - left] = True
    return rle_in_frame(canvas, left, top, width_px, height_px)
