"""Put seeded objects on a seeded background and keep the exact mask of each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from demo.scenes.background import BoolArray, paint_background
from demo.scenes.shapes import CATEGORY_KINDS, DISTRACTOR_KINDS, KINDS, OVERSAMPLING, Canvas

CATEGORIES: tuple[str, ...] = tuple(CATEGORY_KINDS)
"""The ten category names; category id = index + 1."""

DISTRACTORS: tuple[str, ...] = tuple(DISTRACTOR_KINDS)
"""Kinds of things that have a mask but no category."""

_MIN_MASK_AREA_PX = 60
_PLACEMENT_TRIES = 16
_SHADOW_COLOUR = np.array([12, 14, 20], np.float32)


@dataclass(frozen=True)
class SyntheticObject:
    """One drawn object.

    Attributes:
        category: one of ``CATEGORIES``, or None for a distractor.
        kind: what was drawn: the category, or "building", "tree", "rock".
        bbox_xyxy_px: tight box in scene pixels, x1 and y1 exclusive.
        mask: bool array of shape (y1 - y0, x1 - x0), true on the object.
    """

    category: str | None
    kind: str
    bbox_xyxy_px: tuple[int, int, int, int]
    mask: BoolArray

    @property
    def area_px(self) -> int:
        """Number of pixels of the object."""
        return int(self.mask.sum())

    def full_mask(self, size_px: int) -> BoolArray:
        """The mask in the frame of the scene, bool (size_px, size_px)."""
        full = np.zeros((size_px, size_px), np.bool_)
        x0, y0, x1, y1 = self.bbox_xyxy_px
        full[y0:y1, x0:x1] = self.mask
        return full


@dataclass(frozen=True)
class SyntheticScene:
    """A scene and everything drawn on it.

    Attributes:
        image: uint8 RGB array of shape (size_px, size_px, 3).
        objects: categories and distractors; their masks never overlap.
    """

    image: npt.NDArray[np.uint8]
    objects: tuple[SyntheticObject, ...]


class _Painter:
    """The scene while it is being painted."""

    def __init__(self, rng: np.random.Generator, size_px: int) -> None:
        self.rng = rng
        self.size_px = size_px
        background, self.water = paint_background(rng, size_px)
        self.image = np.asarray(background).astype(np.float32)
        self.occupied = np.zeros((size_px, size_px), np.bool_)
        self.objects: list[SyntheticObject] = []
        angle = rng.random() * 2 * math.pi
        self.sun = (math.cos(angle), math.sin(angle))

    def place(self, name: str, length_px: float, beside: tuple[float, float] | None) -> bool:
        """Find room for an object and draw it; false if there is none.

        Args:
            name: kind of the object.
            length_px: its long side.
            beside: centre of the previous one of its group, to stand next to.
        """
        for attempt in range(_PLACEMENT_TRIES):
            near_group = beside if attempt < _PLACEMENT_TRIES // 2 else None
            centre = self._draw_centre(length_px, near_group)
            if self._fits(name, centre, length_px):
                return self._draw(name, centre, length_px)
        return False

    def _draw_centre(
        self, length_px: float, beside: tuple[float, float] | None
    ) -> tuple[float, float]:
        low, high = length_px * 0.35, self.size_px - length_px * 0.35
        if beside is None:
            x, y = self.rng.uniform(low, high, 2)
            return float(x), float(y)
        angle, distance = self.rng.random() * 2 * math.pi, self.rng.uniform(1.1, 2.2) * length_px
        x = beside[0] + math.cos(angle) * distance
        y = beside[1] + math.sin(angle) * distance
        return float(np.clip(x, low, high)), float(np.clip(y, low, high))

    def _fits(self, name: str, centre: tuple[float, float], length_px: float) -> bool:
        (x, y), half = centre, length_px / 2
        rows = slice(max(0, int(y - half)), min(self.size_px, int(y + half) + 1))
        columns = slice(max(0, int(x - half)), min(self.size_px, int(x + half) + 1))
        if self.occupied[rows, columns].any():
            return False
        wet = float(self.water[rows, columns].mean())
        if KINDS[name].on_water:
            return wet > 0.97
        return name == "rock" or wet < 0.02

    def _draw(self, name: str, centre: tuple[float, float], length_px: float) -> bool:
        canvas = Canvas(length_px)
        KINDS[name].draw(canvas, self.rng)
        turned = canvas.image.rotate(
            float(self.rng.random() * 360), Image.Resampling.BICUBIC, expand=True
        )
        side = max(4, turned.width // OVERSAMPLING), max(4, turned.height // OVERSAMPLING)
        sprite = turned.resize(side, Image.Resampling.BOX)
        x0, y0 = int(centre[0] - sprite.width / 2), int(centre[1] - sprite.height / 2)

        rgba = np.asarray(sprite).astype(np.float32)
        alpha = rgba[..., 3] / 255
        window, part = self._overlap(x0, y0, sprite.width, sprite.height)
        mask = alpha[part] > 0.5
        if int(mask.sum()) < _MIN_MASK_AREA_PX or (mask & self.occupied[window]).any():
            return False
        self._cast_shadow(sprite, x0, y0, KINDS[name].shadow_px)
        weight = alpha[part][..., None]
        self.image[window] = self.image[window] * (1 - weight) + rgba[part][..., :3] * weight
        self.occupied[window] |= mask
        self._record(name, window, mask)
        return True

    def _overlap(
        self, x0: int, y0: int, width: int, height: int
    ) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Clip a sprite to the scene: its (rows, columns) in the scene and in the sprite."""
        left, top = max(0, x0), max(0, y0)
        right, bottom = min(self.size_px, x0 + width), min(self.size_px, y0 + height)
        in_scene = slice(top, max(top, bottom)), slice(left, max(left, right))
        in_sprite = (
            slice(top - y0, max(top, bottom) - y0),
            slice(left - x0, max(left, right) - x0),
        )
        return in_scene, in_sprite

    def _cast_shadow(self, sprite: Image.Image, x0: int, y0: int, length_px: float) -> None:
        if not length_px:
            return
        padded = Image.new("L", (sprite.width + 4, sprite.height + 4), 0)
        padded.paste(sprite.getchannel("A"), (2, 2))
        soft = np.asarray(padded.filter(ImageFilter.BoxBlur(1))).astype(np.float32) / 255 * 0.5
        x, y = x0 - 2 + round(length_px * self.sun[0]), y0 - 2 + round(length_px * self.sun[1])
        window, part = self._overlap(x, y, padded.width, padded.height)
        weight = soft[part][..., None]
        self.image[window] = self.image[window] * (1 - weight) + _SHADOW_COLOUR * weight

    def _record(self, name: str, window: tuple[slice, slice], mask: BoolArray) -> None:
        rows, columns = np.where(mask.any(1))[0], np.where(mask.any(0))[0]
        top, left = window[0].start, window[1].start
        box = (
            int(left + columns[0]),
            int(top + rows[0]),
            int(left + columns[-1] + 1),
            int(top + rows[-1] + 1),
        )
        tight = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
        category = name if name in CATEGORY_KINDS else None
        self.objects.append(SyntheticObject(category, name, box, tight))

    def finish(self) -> npt.NDArray[np.uint8]:
        """Apply the sensor: contrast, brightness, blur and noise."""
        rng = self.rng
        image = (self.image - 128) * rng.uniform(0.75, 1.15) + 128 + rng.uniform(-14, 14)
        sigma = rng.uniform(0.2, 0.8)
        image = gaussian_filter(image.astype(np.float32), (sigma, sigma, 0))
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image += noise * np.float32(rng.uniform(1, 5))
        finished: npt.NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
        return finished


def _plan(rng: np.random.Generator, size_px: int, all_water: bool) -> list[list[str]]:
    """Choose the groups of objects to draw, largest kinds first."""
    tiles = (size_px / 512) ** 2
    wanted = round(int(rng.integers(5, 16)) * tiles) if tiles < 4 else round(9 * tiles)
    distractors = round(int(rng.integers(2, 9)) * tiles) if tiles < 4 else round(5 * tiles)
    groups: list[list[str]] = []
    while sum(map(len, groups)) < wanted:
        name = "ship" if all_water else CATEGORIES[int(rng.integers(len(CATEGORIES)))]
        groups.append([name] * int(rng.integers(1, KINDS[name].max_group + 1)))
    for _ in range(distractors):
        name = "rock" if all_water else DISTRACTORS[int(rng.integers(len(DISTRACTORS)))]
        groups.append([name])
    # Large kinds find no room once the small ones are scattered.
    return sorted(groups, key=lambda group: -KINDS[group[0]].length_px[1])


def generate_scene(seed: int, size_px: int = 512) -> SyntheticScene:
    """Generate one overhead scene with exact truth.

    The same seed and size give the same bytes. Object sizes in pixels do not depend on the size
    of the scene; their number grows with its area (about 9 objects and 5 distractors per
    512 x 512 px).

    Args:
        seed: non-negative seed.
        size_px: side of the square scene, 256 to 8192 pixels.

    Returns:
        The scene.

    Raises:
        ValueError: if ``size_px`` is out of range.
    """
    if not 256 <= size_px <= 8192:
        raise ValueError(f"size_px={size_px}: a synthetic scene has a side of 256 to 8192 px")
    rng = np.random.default_rng(seed)
    painter = _Painter(rng, size_px)
    for group in _plan(rng, size_px, bool(painter.water.all())):
        low, high = KINDS[group[0]].length_px
        length_px = rng.uniform(low, high)
        beside: tuple[float, float] | None = None
        for name in group:
            own_px = float(np.clip(length_px * rng.uniform(0.9, 1.1), low, high))
            if painter.place(name, own_px, beside):
                x0, y0, x1, y1 = painter.objects[-1].bbox_xyxy_px
                beside = (x0 + x1) / 2, (y0 + y1) / 2
    return SyntheticScene(painter.finish(), tuple(painter.objects))
