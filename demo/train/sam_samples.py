"""Training examples for SAM: a window of a scene, prompts on it, and the masks they ask for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import distance_transform_edt

from demo.train.data import SCENE_PX, SceneSet

SNAP_PX = 4.0
"""A point this close outside an object still asks for the object (in pixels of the model's input).

The automatic mask generator lays a coarse grid of points; without this tolerance most of the grid
misses things as small as a vehicle.
"""

_MIN_VISIBLE_PX = 50
_WINDOW_SIDES_PX = tuple(range(256, 512, 32))


@dataclass(frozen=True)
class SamSample:
    """One training image with its prompts; N objects asked for, B background points.

    Attributes:
        image: float32 (3, S, S), RGB in [0, 255].
        points: float32 (N + B, 2), x and y in pixels of ``image``; the last B lie on background.
        boxes: float32 (N, 4), x0 y0 x1 y1, a little off as a person's box would be.
        masks: float32 (N, S / 4, S / 4), the share of each cell that the object covers.
        instances: int64 (S / 4, S / 4), 0 or 1 + index of the object that covers most of a cell.
        centres: float32 (S / 4, S / 4, 2), offset x, y in cells from a cell to its object's centre.
    """

    image: torch.Tensor
    points: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor
    instances: torch.Tensor
    centres: torch.Tensor


def _orient(array: npt.NDArray[np.uint8], turn: int) -> npt.NDArray[np.uint8]:
    turned = np.rot90(array, turn % 4)
    return np.array(turned[:, ::-1] if turn >= 4 else turned)


def _window(
    rng: np.random.Generator, image: npt.NDArray[np.uint8], ids: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Cut a random square and turn or flip it; two of five times it is the whole scene."""
    if rng.random() > 0.4:
        side = int(rng.choice(_WINDOW_SIDES_PX))
        x, y = (int(v) for v in rng.integers(0, SCENE_PX - side + 1, 2))
        image, ids = image[y : y + side, x : x + side], ids[y : y + side, x : x + side]
    turn = int(rng.integers(8))
    return _orient(image, turn), _orient(ids, turn)


def _pick_pixel(
    rng: np.random.Generator, candidates: npt.NDArray[np.bool_]
) -> tuple[float, float] | None:
    """Choose a true pixel at random: its x, y, or None if there is none."""
    flat = np.flatnonzero(candidates)
    if not len(flat):
        return None
    y, x = divmod(int(flat[rng.integers(len(flat))]), candidates.shape[1])
    return float(x), float(y)


def _box_around(
    rng: np.random.Generator, rows: npt.NDArray[np.bool_], columns: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    ys, xs = np.flatnonzero(rows), np.flatnonzero(columns)
    box = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], np.float64)
    side = max(box[2] - box[0], box[3] - box[1])
    return box + np.clip(rng.normal(0, 0.05 * side, 4), -8, 8)


def draw_sample(
    rng: np.random.Generator, scenes: SceneSet, image_px: int, objects: int, background: int
) -> SamSample:
    """Draw a training example from a random scene.

    Args:
        rng: source of randomness.
        scenes: the training scenes.
        image_px: side S of the model's input.
        objects: prompts N on objects, with repetition where a window shows fewer.
        background: points B off every object.

    Returns:
        The example; a scene without a visible object is skipped for another.
    """
    while True:
        image, ids, _ = scenes[int(rng.integers(len(scenes)))]
        image, ids = _window(rng, image, ids)
        counts = np.bincount(ids.ravel(), minlength=2)
        visible = np.flatnonzero(counts >= _MIN_VISIBLE_PX)
        visible = visible[visible > 0]
        if len(visible):
            break
    side = len(ids)
    scale = image_px / side
    cells = image_px // 4

    # Distances on every second pixel: precise enough for a tolerance of several pixels.
    coarse = ids[::2, ::2]
    distance, nearest = distance_transform_edt(coarse == 0, return_indices=True)
    distance *= 2 * scale
    owner = coarse[nearest[0], nearest[1]]
    fringe = (distance > 0) & (distance <= SNAP_PX)

    chosen = rng.choice(len(visible), objects, replace=len(visible) < objects)
    points: list[tuple[float, float]] = []
    boxes = []
    for key in visible[chosen]:
        own = ids == key
        inside = _pick_pixel(rng, own)
        assert inside is not None  # it has _MIN_VISIBLE_PX pixels
        beside = _pick_pixel(rng, fringe & (owner == key)) if rng.random() < 0.25 else None
        points.append((beside[0] * 2, beside[1] * 2) if beside else inside)
        boxes.append(_box_around(rng, own.any(1), own.any(0)) * scale)
    far = distance > SNAP_PX * 1.5
    for _ in range(background):
        x, y = _pick_pixel(rng, far) or (0.0, 0.0)
        points.append((x * 2, y * 2))

    onehot = (ids == visible[:, None, None]).astype(np.float32)
    masks = F.interpolate(torch.from_numpy(onehot)[None], (cells, cells), mode="area")[0]
    resized = Image.fromarray(image).resize((image_px, image_px), Image.Resampling.BILINEAR)
    instances, centres = _dense_targets(masks)
    return SamSample(
        image=torch.from_numpy(np.array(resized)).permute(2, 0, 1).float(),
        points=torch.tensor(points, dtype=torch.float32) * scale,
        boxes=torch.from_numpy(np.stack(boxes)).float(),
        masks=masks[torch.from_numpy(chosen)],
        instances=instances,
        centres=centres,
    )


def _dense_targets(masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which object owns each cell, and how far away that object's centre is."""
    cells = masks.shape[-1]
    cover, owner = masks.max(0)
    axis = torch.arange(cells, dtype=torch.float32)
    area = masks.sum((1, 2)).clamp(min=1e-3)
    centre_x = (masks.sum(1) * axis).sum(1) / area
    centre_y = (masks.sum(2) * axis).sum(1) / area
    offsets = torch.stack(
        [centre_x[owner] - axis[None, :], centre_y[owner] - axis[:, None]], dim=-1
    )
    instances = torch.where(cover > 0.5, owner + 1, 0)
    return instances, offsets
