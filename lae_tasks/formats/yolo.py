"""YOLO, as Ultralytics reads it: one set of labels for its tasks detect, segment and obb.

`labels/<tile_id>.txt`, beside `images/` in the release's root, has a line per object: the class,
then the corners x y of its polygon, as shares of the image's width and height. It is there that
Ultralytics looks: it takes the last `/images/` of an image's path for `/labels/`, so images that
are not copied have one place for labels, and one set of them. For detection it takes the boxes of
the polygons, which are those of the masks to the pixel; for oriented boxes the smallest rectangles
about them.

`yolo/data.yaml` is what to give a trainer. It names `train.txt`, `val.txt` and `test.txt`, which
list the images of each split. Classes count from 0 in the order of the categories, without gaps.

A polygon is the outline of the mask along its pixels' edges. YOLO has neither several polygons for
an object nor holes: parts are joined to one polygon by thin lines between their nearest corners, as
`merge_multi_segment` of Ultralytics' converter does, and holes are filled.

See https://docs.ultralytics.com/datasets/segment/ for the format.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import yaml
from scipy.spatial import KDTree

from lae_tasks.formats.outlines import Ints, trace
from lae_tasks.formats.writing import Source
from lae_tasks.releases.dataset import SPLITS, Annotation, ReleaseImage

PATH = "yolo/data.yaml"


class Writer:
    """Writes a file of labels per image, empty for images without objects, and the lists."""

    def __init__(self, source: Source, folder: Path) -> None:
        categories = source.dataset.categories
        self._class_of = {each.category_id: n for n, each in enumerate(categories)}
        self._labels = folder.parent / "labels"
        self._labels.mkdir()
        self._files = ExitStack()
        used = {image.split for image in source.dataset.images}
        # Ultralytics wants both of the first two, and no test that has nothing.
        splits = [split for split in SPLITS if split != "test" or split in used]
        self._lists = {
            split: self._files.enter_context((folder / f"{split}.txt").open("w", newline="\n"))
            for split in splits
        }
        names = {n: each.name for n, each in enumerate(categories)}
        about: dict[str, object] = {split: f"{split}.txt" for split in splits}
        about["names"] = names
        with (folder / "data.yaml").open("w", encoding="utf-8", newline="\n") as file:
            yaml.safe_dump(about, file, sort_keys=False, allow_unicode=True)

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """Writes an image's labels."""
        text = "".join(self._lines(image, annotations))
        (self._labels / f"{image.tile_id}.txt").write_text(text, newline="\n")
        if image.split:
            # What begins with ./ goes by the list's own folder.
            self._lists[image.split].write(f"./../{image.path}\n")

    def close(self) -> None:
        """Ends the lists."""
        self._files.close()

    def _lines(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> list[str]:
        outlines = trace(
            [each.mask_rle for each in annotations],
            [image.height_px] * len(annotations),
            [(0, 0)] * len(annotations),
            range(len(annotations)),
        )
        rings: list[list[Ints]] = [[] for _ in annotations]
        for number, ring in outlines.outer_rings():
            rings[number].append(ring)
        size = (image.width_px, image.height_px)
        lines = []
        for annotation, parts in zip(annotations, rings, strict=True):
            shares = (joined(parts) / size).ravel().tolist()
            corners = " ".join(["%.6g"] * len(shares)) % tuple(shares)
            lines.append(f"{self._class_of[annotation.category_id]} {corners}\n")
        return lines


def joined(rings: Sequence[Ints]) -> Ints:
    """One ring (n, 2) of several: to each a line from the nearest corner of those before, and back.

    Rings and their sum are without the first corner at their end.
    """
    whole = rings[0]
    for ring in rings[1:]:
        distances, nearest = KDTree(whole).query(ring)
        there = int(np.argmin(distances))
        here = int(nearest[there])
        around = np.roll(ring, -there, axis=0)
        whole = np.concatenate([whole[: here + 1], around, around[:1], whole[here:]])
    return whole
