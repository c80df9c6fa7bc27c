"""Crops to train the namers on, cut with the same function that the engine uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from demo.masks import CONFIG as DEMO_CONFIG
from demo.scenes import CATEGORIES
from demo.train.data import SceneSet, load_scenes
from lae_tasks.config_file import load_config
from lae_tasks.imagery.crops import crop_region

CROP_PX = 64
"""Input side of the CLIP and of the LVLM."""

MARGIN = load_config(DEMO_CONFIG).classify.crop_margin
"""Context on every side of the box, as the engine cuts it in the demo."""

BACKGROUND = "background"
"""Kind of a crop that shows no object."""

UnsignedArray = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Crops:
    """Crops with what they show.

    Attributes:
        pixels: uint8 (N, 64, 64, 3).
        kinds: per crop a category, a kind of distractor, or ``BACKGROUND``.
    """

    pixels: UnsignedArray
    kinds: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def recognised(self) -> npt.NDArray[np.bool_]:
        """True where the crop shows one of the ten categories."""
        return np.isin(self.kinds, CATEGORIES)

    @classmethod
    def concatenate(cls, sets: Sequence[Crops]) -> Crops:
        """All sets in a row."""
        return cls(
            np.concatenate([crops.pixels for crops in sets]),
            np.concatenate([crops.kinds for crops in sets]),
        )


def resize_crop(crop: UnsignedArray) -> UnsignedArray:
    """Resize a crop to the namers' input, as their image processors do (bicubic)."""
    size = (CROP_PX, CROP_PX)
    return np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BICUBIC))


def collect(pairs: Iterator[tuple[UnsignedArray, str]]) -> Crops:
    """Gather (crop of any size, kind) into arrays."""
    pixels, kinds = [], []
    for crop, kind in pairs:
        pixels.append(resize_crop(crop))
        kinds.append(kind)
    return Crops(np.stack(pixels), np.array(kinds))


def object_box(ids: UnsignedArray, key: int) -> Box:
    """Tight box of one instance in an instance map: x0, y0, x1, y1, ends exclusive."""
    rows = np.flatnonzero((ids == key).any(1))
    columns = np.flatnonzero((ids == key).any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _jitter(rng: np.random.Generator, box: Box) -> Box:
    """Move each edge a little, as a predicted mask would; every second box stays exact."""
    side = max(box[2] - box[0], box[3] - box[1])
    if rng.random() < 0.5:
        return box
    x0, y0, x1, y1 = np.array(box) + np.clip(rng.normal(0, 0.07 * side, 4), -0.2 * side, 0.2 * side)
    return min(x0, x1 - 4), min(y0, y1 - 4), x1, y1


def background_box(rng: np.random.Generator, ids: UnsignedArray) -> Box | None:
    """Choose a box whose surroundings hold next to nothing of any object, or None."""
    height, width = ids.shape
    for _ in range(8):
        w, h = np.exp(rng.uniform(np.log(14), np.log(150), 2))
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        if (crop_region(ids[..., None], (x, y, x + w, y + h), MARGIN) > 0).mean() < 0.04:
            return x, y, x + w, y + h
    return None


def true_box_crops(scenes: SceneSet, rng: np.random.Generator, backgrounds_per_scene: int) -> Crops:
    """Cut every object by its (slightly moved) true box, and some background.

    Args:
        scenes: the scenes.
        rng: source of randomness.
        backgrounds_per_scene: at most this many crops off every object per scene.

    Returns:
        The crops, in the order of the scenes.
    """

    def pairs() -> Iterator[tuple[UnsignedArray, str]]:
        for index in range(len(scenes)):
            image, ids, kinds = scenes[index]
            for key, kind in enumerate(kinds, start=1):
                box = _jitter(rng, object_box(ids, key))
                yield crop_region(image, box, MARGIN), kind
            for _ in range(backgrounds_per_scene):
                empty = background_box(rng, ids)
                if empty:
                    yield crop_region(image, empty, MARGIN), BACKGROUND

    return collect(pairs())


def save_crops(path: Path, crops: Crops) -> None:
    """Write crops for :func:`load_crops`."""
    np.savez(path, pixels=crops.pixels, kinds=crops.kinds)


def load_crops(path: Path) -> Crops:
    """Load crops that :func:`save_crops` wrote."""
    with np.load(path) as file:
        return Crops(file["pixels"], file["kinds"])


def training_crops(cache: Path, scenes: int) -> Crops:
    """Crops by true boxes of the first training scenes, with four of background per scene.

    Args:
        cache: folder of the scenes; the crops are kept there too.
        scenes: how many scenes.

    Returns:
        The crops, the same for every model.
    """
    path = cache / f"true_box_crops_{scenes}.npz"
    if not path.exists():
        drawn = load_scenes(cache, scenes)
        save_crops(path, true_box_crops(drawn, np.random.default_rng(1), backgrounds_per_scene=4))
    return load_crops(path)


def augment(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Turn, flip and tint a batch and normalise it.

    Args:
        pixels: uint8 (B, 3, H, W), H = W.
        mean: per channel, of values in [0, 1].
        std: per channel.

    Returns:
        float32 (B, 3, H, W).
    """
    turns = int(torch.randint(4, ()))
    pixels = torch.rot90(pixels, turns, (2, 3))
    if torch.rand(()) < 0.5:
        pixels = pixels.flip(3)
    values = normalise(pixels, mean, std)
    count = len(values)
    return values * (1 + 0.1 * torch.randn(count, 1, 1, 1)) + 0.1 * torch.randn(count, 3, 1, 1)


def normalise(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Scale uint8 (B, 3, H, W) to [0, 1] and normalise per channel; float32."""
    values = pixels.float() / 255
    return (values - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
