"""Land, water, coastlines and roads: what lies under the objects of a scene.

All wavelengths are in pixels and do not depend on the size of the scene, so that a 512 px window of
a large scene looks like a 512 px scene.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_LAND_COLOURS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "grass": ((86, 110, 62), (60, 88, 48)),
    "desert": ((176, 152, 114), (150, 126, 92)),
    "concrete": ((150, 150, 146), (126, 126, 122)),
    "urban": ((122, 118, 112), (96, 96, 94)),
    "forest": ((52, 74, 42), (34, 54, 30)),
    "soil": ((124, 98, 74), (100, 80, 60)),
}
_WATER_COLOURS = ((38, 70, 92), (24, 50, 70))
_GRAIN = {"water": 3.0, "forest": 9.0}
_TEXTURE_OCTAVES = ((128.0, 1.0), (32.0, 0.6), (8.0, 0.35), (2.0, 0.2))
_COAST_OCTAVES = ((700.0, 1.0), (64.0, 0.07), (16.0, 0.015))
_PATCH_OCTAVES = ((360.0, 1.0), (60.0, 0.12))


def smooth_noise(
    rng: np.random.Generator, size_px: int, octaves: Sequence[tuple[float, float]]
) -> FloatArray:
    """Sum noise of several wavelengths.

    Args:
        rng: source of randomness.
        size_px: side of the square field.
        octaves: pairs of wavelength in pixels and amplitude.

    Returns:
        A float32 field of shape (size_px, size_px), centred on about 0.
    """
    field = np.zeros((size_px, size_px), np.float32)
    for wavelength_px, amplitude in octaves:
        cells = max(2, math.ceil(size_px / wavelength_px) + 1)
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        # The grid may reach past the scene: its cells keep their size whatever the scene's is.
        extent = size_px / wavelength_px + 1
        enlarged = Image.fromarray(grid).resize(
            (size_px, size_px), Image.Resampling.BICUBIC, box=(0, 0, extent, extent)
        )
        field += amplitude * np.asarray(enlarged)
    return field


def _texture(rng: np.random.Generator, kind: str, size_px: int) -> FloatArray:
    """Paint ground of one kind, float32 (size_px, size_px, 3) in [0, 255]."""
    colours = _WATER_COLOURS if kind == "water" else _LAND_COLOURS[kind]
    light, dark = (np.array(c, np.float32) + rng.normal(0, 8, 3) for c in colours)
    noise = smooth_noise(rng, size_px, _TEXTURE_OCTAVES)
    blend = np.clip(noise / 4 + 0.5, 0, 1)[..., None]
    ground = (light * blend + dark * (1 - blend)).astype(np.float32)
    grain = rng.standard_normal(ground.shape, dtype=np.float32)
    return ground + grain * np.float32(_GRAIN.get(kind, 5.0))


def _water_mask(rng: np.random.Generator, size_px: int) -> BoolArray:
    """Choose where water is: nowhere, everywhere (small scenes), or beyond a coastline."""
    draw = rng.random()
    if draw < 0.1 and size_px <= 512:
        return np.ones((size_px, size_px), np.bool_)
    if draw < 0.6 and size_px <= 512:
        return np.zeros((size_px, size_px), np.bool_)
    field = smooth_noise(rng, size_px, _COAST_OCTAVES)
    level = np.quantile(field, 1 - rng.uniform(0.15, 0.6))
    return np.asarray(field > level, np.bool_)


def _land(rng: np.random.Generator, size_px: int) -> FloatArray:
    """Paint the land: patches of one to three kinds of ground with soft borders."""
    names = list(_LAND_COLOURS)
    # A large scene shows more kinds of ground than a single tile does.
    count = int(rng.integers(1, 3)) if size_px <= 512 else int(rng.integers(3, 6))
    kinds = [names[i] for i in rng.permutation(len(names))[:count]]
    land = _texture(rng, kinds[0], size_px)
    for kind in kinds[1:]:
        field = smooth_noise(rng, size_px, _PATCH_OCTAVES)
        patch = (field > np.quantile(field, rng.uniform(0.4, 0.8))).astype(np.float32)
        weight = gaussian_filter(patch, 1.5)[..., None]
        land = land * (1 - weight) + _texture(rng, kind, size_px) * weight
    return land


def _draw_roads(rng: np.random.Generator, image: Image.Image, water: BoolArray) -> Image.Image:
    """Draw straight roads across the land, some with a centre line."""
    size_px = image.width
    before = image.copy()
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 4)) * max(1, size_px // 512)):
        x, y = rng.uniform(0, size_px, 2)
        angle = rng.random() * 2 * math.pi
        dx, dy = math.cos(angle) * size_px * 1.5, math.sin(angle) * size_px * 1.5
        ends = [(x - dx, y - dy), (x + dx, y + dy)]
        asphalt = int(rng.integers(70, 130))
        pen.line(ends, fill=(asphalt,) * 3, width=int(rng.integers(8, 26)))
        if rng.random() < 0.6:
            pen.line(ends, fill=(200, 200, 190), width=1)
    on_land = Image.fromarray((~water).astype(np.uint8) * 255)
    return Image.composite(image, before, on_land)


def paint_background(rng: np.random.Generator, size_px: int) -> tuple[Image.Image, BoolArray]:
    """Paint a scene without objects.

    Args:
        rng: source of randomness.
        size_px: side of the scene in pixels.

    Returns:
        The RGB image and a bool mask of shape (size_px, size_px) that is true on water.
    """
    water = _water_mask(rng, size_px)
    if water.all():
        ground = _texture(rng, "water", size_px)
    else:
        ground = _land(rng, size_px)
        if water.any():
            weight = gaussian_filter(water.astype(np.float32), 1.0)[..., None]
            ground = ground * (1 - weight) + _texture(rng, "water", size_px) * weight
    image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    if not water.all():
        image = _draw_roads(rng, image, water)
    return image, water
