"""What cutting a scene into tiles does to the regions of its objects.

A scene of 512 px is segmented whole, cut in four windows that overlap as the demo's tiles do, and
moved by some pixels without a cut. Windows are padded to 512 px, so that the model sees one scale.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from rich.progress import track

from demo.scenes import SyntheticObject, SyntheticScene
from lae_tasks.accounts import Done
from lae_tasks.backends.protocols import Floats, Image, MaskGenerator, MaskProposal
from lae_tasks.config import SegmentConfig
from lae_tasks.contracts import Scene, Tile, WindowPx
from lae_tasks.geometry import Mask, decode_mask, mask_bbox, mask_in_window
from lae_tasks.stages import segment
from lae_tasks.stages.tile import encode_png, image_key
from lae_tasks.storage import Storage

SIDE_PX = 512
OFFSETS_PX = (160, 224, 288, 352)
"""Where scenes are cut, in both directions: the middle of the overlap."""

_SHIFT_PX = 64
"""A scene is moved by its second window's corner modulo this: few objects leave it so."""
_MEAN_RGB = (124, 116, 104)
_MATCH_IOU = 0.5


@dataclass(frozen=True)
class Cutting:
    """Segments scenes whole, cut and moved."""

    generator: MaskGenerator
    config: SegmentConfig
    store: Storage
    overlap_px: int

    def figures(self, scenes: Sequence[SyntheticScene]) -> dict[str, object]:
        """How often an object that crosses a border has as many regions as in the whole scene.

        Only objects that some region of the whole scene matches (IoU >= 0.5); a region is on an
        object if more than half of it lies there. The shift is what the model does by itself.
        """
        cut: Counter[tuple[int, int]] = Counter()
        shifted: Counter[tuple[int, int]] = Counter()
        for scene in track(scenes, "Cutting scenes"):
            whole = self._masks(scene.image, [(0, 0, SIDE_PX, SIDE_PX)])
            found = [item for item in scene.objects if is_found(item, whole)]
            for offset in OFFSETS_PX:
                crossing = [item for item in found if self._crosses(item, offset)]
                pieces = self._masks(scene.image, self._windows(offset))
                move = (offset - self.overlap_px // 2) % _SHIFT_PX or _SHIFT_PX // 2
                moved = self._masks(shift(scene.image, move), [(0, 0, SIDE_PX, SIDE_PX)])
                for item in crossing:
                    before = regions_on(item, whole)
                    cut[before, regions_on(item, pieces)] += 1
                    if max(item.bbox_xyxy_px) + move < SIDE_PX:
                        shifted[before, regions_on(item, moved, move)] += 1
        return {
            "scenes": len(scenes),
            "offsets_px": OFFSETS_PX,
            "overlap_px": self.overlap_px,
            "cut": _summary(cut),
            "shifted": _summary(shifted),
        }

    def _windows(self, offset: int) -> list[WindowPx]:
        half = self.overlap_px // 2
        spans = ((0, offset + half), (offset - half, SIDE_PX - offset + half))
        return [(x, y, width, height) for y, height in spans for x, width in spans]

    def _crosses(self, item: SyntheticObject, offset: int) -> bool:
        x0, y0, x1, y1 = item.bbox_xyxy_px
        borders = offset - self.overlap_px // 2, offset + self.overlap_px // 2
        return any(low < b < high for low, high in ((x0, x1), (y0, y1)) for b in borders)

    def _masks(self, image: Image, windows: Sequence[WindowPx]) -> list[Mask]:
        """The regions of a scene's tiles, each of the scene's size, by the segment stage."""
        tiles = [self._tile(image, window) for window in windows]
        padded = Padded(self.generator)
        scenes = {"scene": _scene()}
        window = (0, 0, SIDE_PX, SIDE_PX)
        return [
            mask_in_window(
                decode_mask(region.mask_rle, region.bbox_xyxy_px), region.bbox_xyxy_px, window
            )
            for done in segment.run(tiles, scenes, [], self.store, padded, self.config)
            if isinstance(done, Done)
            for region in done.outputs
        ]

    def _tile(self, image: Image, window_px: WindowPx) -> Tile:
        x, y, width, height = window_px
        data = encode_png(image[y : y + height, x : x + width])
        digest = hashlib.sha256(data).hexdigest()
        self.store.write(image_key(digest), data)
        return Tile(
            tile_id=f"scene-{x}-{y}-{width}x{height}",
            scene_id="scene",
            raw_key="scene.png",
            window_px=window_px,
            image_key=image_key(digest),
            image_sha256=digest,
            valid_fraction=1,
        )


class Padded:
    """A MaskGenerator that pads images to 512 px, and drops masks that lie in the padding."""

    def __init__(self, generator: MaskGenerator) -> None:
        self.revision, self._generator = generator.revision, generator

    def generate(self, image: Image) -> list[MaskProposal]:
        """All masks of an RGB image (height, width, 3)."""
        height, width = image.shape[:2]
        canvas = _canvas()
        canvas[:height, :width] = image
        kept = []
        for mask in self._generator.generate(canvas):
            x0, y0, _, _ = mask.bbox_xyxy_px
            inside = mask.mask[: max(0, height - y0), : max(0, width - x0)]
            if inside.sum() > mask.mask.sum() / 2:
                left, top, right, bottom = mask_bbox(inside)
                bbox = (x0 + left, y0 + top, x0 + right, y0 + bottom)
                kept.append(replace(mask, bbox_xyxy_px=bbox, mask=inside[top:bottom, left:right]))
        return kept

    def answer(self, image: Image, prompts_xyxy_px: Floats) -> list[MaskProposal | None]:
        """Synthetic scenes come without prompts."""
        raise NotImplementedError


def shift(image: Image, pixels: int) -> Image:
    """An image of 512 px moved right and down; what enters is of one colour."""
    moved = _canvas()
    moved[pixels:, pixels:] = image[: SIDE_PX - pixels, : SIDE_PX - pixels]
    return moved


def regions_on(item: SyntheticObject, masks: Sequence[Mask], shift_px: int = 0) -> int:
    """How many masks lie on an object that was moved: by more than half of their area."""
    truth = _truth(item, shift_px)
    return sum(bool((mask & truth).sum() > mask.sum() / 2) for mask in masks)


def is_found(item: SyntheticObject, masks: Sequence[Mask]) -> bool:
    """Whether some mask has an IoU of 0.5 or more with an object."""
    truth = _truth(item)
    return any((mask & truth).sum() >= _MATCH_IOU * (mask | truth).sum() for mask in masks)


def _truth(item: SyntheticObject, shift_px: int = 0) -> Mask:
    moved = item.full_mask(SIDE_PX)
    return np.roll(moved, (shift_px, shift_px), axis=(0, 1)) if shift_px else moved


def _canvas() -> npt.NDArray[np.uint8]:
    return np.full((SIDE_PX, SIDE_PX, 3), _MEAN_RGB, dtype=np.uint8)


def _scene() -> Scene:
    return Scene(
        scene_id="scene",
        raw_key="scene.png",
        etag="",
        size_bytes=0,
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        bands=3,
        dtype="uint8",
        crs=None,
        transform=None,
        gsd_m=None,
        acquired_at=None,
    )


def _summary(changes: Counter[tuple[int, int]]) -> dict[str, object]:
    """Shares of objects, by the number of their regions before and after."""
    total = sum(changes.values())
    same = sum(count for (before, after), count in changes.items() if before == after)
    fewer = sum(count for (before, after), count in changes.items() if after < before)
    return {
        "objects": total,
        "same": same / max(1, total),
        "fewer": fewer / max(1, total),
        "more": (total - same - fewer) / max(1, total),
    }
