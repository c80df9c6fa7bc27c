"""DOTA: oriented boxes, a text file per image.

`dota/labelTxt/<tile_id>.txt` has a line per object, `x1 y1 x2 y2 x3 y3 x4 y4 category difficult`:
the corners of the smallest rectangle about the mask, clockwise as seen on the image, in its pixels.
Where a corner lies beyond the image it is moved to the border, as DOTA's own splitting does, since
trainers refuse others. An image without objects has an empty file.

Categories have no spaces in DOTA: `storage tank` is `storage-tank`, and `categories.json` tells the
name of each. `difficult` is 0: nobody has judged it. `train.txt`, `val.txt` and `test.txt` list the
images of each split by their `tile_id`; `images/<tile_id>.png` is the image.

See https://captain-whu.github.io/DOTA/dataset.html for the format; `lae_tasks.annotations.dota`
reads it.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from lae_tasks.formats.outlines import Ints, trace
from lae_tasks.formats.writing import Source
from lae_tasks.releases.dataset import Annotation, ReleaseImage

PATH = "dota/labelTxt"


class Writer:
    """Writes a file per image, and the lists."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._name_of = dota_names(each.name for each in source.dataset.categories)
        names = {dota: name for name, dota in self._name_of.items()}
        told = json.dumps(names, indent=1, ensure_ascii=False)
        (folder / "categories.json").write_text(f"{told}\n", encoding="utf-8", newline="\n")
        self._labels = folder / "labelTxt"
        self._labels.mkdir()
        self._files = ExitStack()
        self._lists = {
            split: self._files.enter_context((folder / f"{split}.txt").open("w", newline="\n"))
            for split in sorted({image.split for image in source.dataset.images if image.split})
        }

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """Writes an image's file."""
        corners = self._corners(image, annotations)
        lines = []
        for annotation, points in zip(annotations, corners, strict=True):
            numbers = " ".join(["%.6g"] * 8) % tuple(points.ravel().tolist())
            lines.append(f"{numbers} {self._name_of[annotation.category]} 0\n")
        path = self._labels / f"{image.tile_id}.txt"
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
        if image.split:
            self._lists[image.split].write(f"{image.tile_id}\n")

    def close(self) -> None:
        """Ends the lists."""
        self._files.close()

    def _corners(
        self, image: ReleaseImage, annotations: Sequence[Annotation]
    ) -> list[npt.NDArray[np.float64]]:
        """The box of each annotation, (4, 2)."""
        outlines = trace(
            [each.mask_rle for each in annotations],
            [image.height_px] * len(annotations),
            [(0, 0)] * len(annotations),
            range(len(annotations)),
        )
        points: list[list[Ints]] = [[] for _ in annotations]
        for number, ring in outlines.outer_rings():
            points[number].append(ring)
        size = (image.width_px, image.height_px)
        return [np.clip(smallest_box(np.concatenate(each)), (0, 0), size) for each in points]


def smallest_box(points: Ints) -> npt.NDArray[np.float64]:
    """The smallest rectangle about points (n, 2): its corners (4, 2), clockwise on the image.

    They are rounded to hundredths of a pixel, and begin with the one that is nearest to the image's
    upper left.
    """
    found = cv2.boxPoints(cv2.minAreaRect(points.astype(np.float32))).astype(np.float64)
    corners = found.round(2) + 0.0  # no minus before 0
    first = int(np.lexsort([corners[:, 1], corners.sum(axis=1)])[0])
    return np.roll(corners, -first, axis=0)


def dota_names(names: Iterable[str]) -> dict[str, str]:
    """Names as DOTA can have them: without spaces, and as different as before."""
    found: dict[str, str] = {}
    for name in names:
        plain = "-".join(name.split()) or "-"
        number, dota = 1, plain
        while dota in found.values():
            number += 1
            dota = f"{plain}-{number}"
        found[name] = dota
    return found
