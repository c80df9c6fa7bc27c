"""A small dataset with all that formats find awkward, and the release's folder made of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from lae_tasks.config import ReleaseConfig
from lae_tasks.formats.writing import Source, write, written
from lae_tasks.geometry import Mask, encode_mask, mask_bbox, mask_in_window
from lae_tasks.imagery.georeference import Georeference
from lae_tasks.releases.dataset import (
    Annotation,
    Annotations,
    Category,
    Dataset,
    ReleaseImage,
    Split,
)

#: Half a metre per pixel, turned a little; in UTM zone 32 N.
PLACE = Georeference("EPSG:32632", (0.49, 0.1, 400_000.0, 0.1, -0.49, 5_300_000.0))
NAMES = ("storage tank", 'Häfen "Süd" | ports', "plane", "yes", "it's: #1, {x}")
SCENE_PX = (112, 64)
WINDOWS = ((0, 0, 64, 64), (48, 0, 64, 64))

#: Objects of the first scene: region id, category, and boxes (x0, y0, x1, y1) that are added to the
#: mask, or taken from it where x0 is negative.
Boxes = Sequence[tuple[int, int, int, int]]
OBJECTS: Sequence[tuple[str, int, Boxes]] = (
    ("whole", 0, [(4, 4, 14, 9)]),
    ("over-two", 1, [(40, 20, 80, 30), (60, 25, 70, 50)]),
    ("in-both", 2, [(50, 5, 60, 12)]),
    ("of-parts", 4, [(5, 30, 12, 36), (20, 30, 30, 44), (12, 50, 15, 53)]),
    ("with-hole", 0, [(80, 2, 100, 18), (-85, 6, 95, 12)]),
    ("corners-meet", 2, [(90, 40, 94, 44), (94, 44, 98, 48)]),
    ("one-pixel", 1, [(3, 60, 4, 61)]),
    ("at-the-edge", 2, [(0, 40, 3, 48)]),
)


def mask_of(boxes: Boxes, size: tuple[int, int] = SCENE_PX) -> Mask:
    """The mask of an object in its scene: bool (height, width)."""
    mask = np.zeros(size[::-1], dtype=bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, abs(x0) : x1] = x0 >= 0
    return mask


class DatasetMaker:
    """Puts a dataset together, scene by scene."""

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        # A number that is not used any more leaves a gap.
        numbers = [n + 1 + (n > 1) for n in range(len(names))]
        self.categories = tuple(Category(*each) for each in zip(numbers, names, strict=True))
        self.images: list[ReleaseImage] = []
        self.annotations: list[Annotation] = []

    def add_scene(
        self,
        name: str,
        objects: Mapping[str, tuple[int, Mask]],
        split: Split | None,
        place: Georeference | None = None,
        windows: Sequence[tuple[int, int, int, int]] = WINDOWS,
    ) -> None:
        """One scene more.

        Args:
            name: Its id.
            objects: Of each region its category, from 0, and its mask in the scene.
            split: Of all its images.
            place: Where it lies.
            windows: Of its tiles.
        """
        for window in windows:
            image = ReleaseImage(
                image_id=len(self.images) + 1,
                tile_id=f"{name}-{window[0]}",
                scene_id=name,
                scene_key=f"{name}.tif",
                window_px=window,
                key=f"{name}-{window[0]}",
                sha256="d",
                place=place.window(*window[:2]) if place else None,
                split=split,
            )
            self.images.append(image)
            for region_id, (category, mask) in objects.items():
                self._add(region_id, category, mask, image)

    def _add(self, region_id: str, category: int, mask: Mask, image: ReleaseImage) -> None:
        x0, y0, x1, y1 = box = mask_bbox(mask)
        shown = mask_in_window(mask[y0:y1, x0:x1], box, image.window_px)
        if not shown.any():
            return
        annotation = Annotation(
            annotation_id=len(self.annotations) + 1,
            image_id=image.image_id,
            region_id=region_id,
            category_id=self.categories[category].category_id,
            category=self.categories[category].name,
            bbox_xyxy_px=mask_bbox(shown),
            mask_rle=encode_mask(shown),
            area_px=int(shown.sum()),
            bbox_scene_xyxy_px=box,
            score=0.75,
            source="engine:sure",
            area_m2=round(float(mask.sum()) * 0.2501, 2) if image.place else None,
            lon_lat=(7.6, 47.8) if image.place else None,
        )
        self.annotations.append(annotation)

    @property
    def dataset(self) -> Dataset:
        return Dataset(tuple(self.images), Annotations.of(self.annotations), self.categories)


def awkward_dataset() -> Dataset:
    """Scenes of each split and of none, with a place and without, with objects and without."""
    maker = DatasetMaker()
    objects = {name: (category, mask_of(boxes)) for name, category, boxes in OBJECTS}
    maker.add_scene("harbour", objects, "train", PLACE)
    maker.add_scene("empty", {}, "train", PLACE)
    maker.add_scene("no-place", {"somewhere": (3, mask_of([(1, 1, 9, 9)]))}, "val")
    maker.add_scene("last", {"tested": (0, mask_of([(10, 10, 90, 20)]))}, "test", PLACE)
    apart = {"aside": (1, mask_of([(2, 2, 9, 30)]))}
    maker.add_scene("in-none", apart, None, PLACE, WINDOWS[:1])
    return maker.dataset


def empty_dataset() -> Dataset:
    """Nothing at all."""
    return Dataset((), Annotations.of(()), ())


def png(image: ReleaseImage) -> bytes:
    """A picture of an image, that differs from others'."""
    random = np.random.default_rng(image.image_id)
    pixels = random.integers(0, 256, (image.height_px, image.width_px, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1])


def pulled(dataset: Dataset, name: str, root: Path) -> Path:
    """Writes a format and the images to a folder, as a pull brings them; gives the folder."""
    (root / "images").mkdir(parents=True)
    for image in dataset.images:
        (root / image.path).write_bytes(png(image))
    write(Source(dataset, ReleaseConfig(title="Häfen | ports"), png), [name], root)
    return root


def files(root: Path) -> dict[str, bytes]:
    """What the files below a folder hold, by their paths."""
    return {path.as_posix(): (root / path).read_bytes() for path in written(root)}


def drawn(annotation: Annotation, image: ReleaseImage) -> Mask:
    """An annotation's mask on its image."""
    rle = {"size": [image.height_px, image.width_px], "counts": annotation.mask_rle.encode()}
    return np.asarray(coco_mask.decode(rle), dtype=bool)


def iou(one: Mask, other: Mask) -> float:
    """Intersection over union of two masks."""
    return float((one & other).sum() / (one | other).sum())
