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
from itertools import pairwise
from pathlib import Path

import numpy as np
import shapely
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
            shares = (joined(_outermost(parts)) / size).ravel().tolist()
            corners = " ".join(["%.6g"] * len(shares)) % tuple(shares)
            lines.append(f"{self._class_of[annotation.category_id]} {corners}\n")
        return lines


def _outermost(rings: Sequence[Ints]) -> Sequence[Ints]:
    """Without islands: where holes are filled, they are in what is filled already."""
    if len(rings) == 1:
        return rings
    # A ring begins with its upper corner of those most to the left: at its right is a pixel.
    pixels = shapely.STRtree(shapely.points([ring[0] + 0.5 for ring in rings]))
    polygons = shapely.polygons([shapely.linearrings(ring) for ring in rings])
    around, inside = pixels.query(polygons, predicate="contains")
    islands = {*inside[around != inside].tolist()}
    return [ring for number, ring in enumerate(rings) if number not in islands]


def joined(rings: Sequence[Ints]) -> Ints:
    """One ring (n, 2) of several: to each a line from the nearest corner of those before, and back.

    Rings and their sum are without the first corner at their end.
    """
    if len(rings) == 1:
        return rings[0]
    points = np.concatenate(rings)
    begins = np.cumsum([0, *map(len, rings)])
    following = np.arange(1, len(points) + 1)
    following[begins[1:] - 1] = begins[:-1]
    after: list[int] = following.tolist()
    links = _links(points, begins)
    for there, here in links:
        # To a copy of the corner there, round its ring to that corner itself, and back to a copy of
        # the corner here.
        after += [after[there], after[here]]
        after[here], after[there] = len(after) - 2, len(after) - 1
    order = [0]
    while len(order) < len(after):
        order.append(after[order[-1]])
    return np.asarray(np.concatenate([points, points[np.ravel(links)]])[order])


def _links(points: Ints, begins: Ints) -> list[tuple[int, int]]:
    """Of each ring but the first, the corner that is nearest to those before, and its neighbour.

    A tree of all that is before would be another one for each ring. So it goes by groups of two,
    four, eight … rings: the second half of each looks for neighbours in the first. In one of these
    groups or another, each ring meets each one before it.
    """
    distances = np.full(len(points), np.inf)
    neighbours = np.zeros(len(points), dtype=np.int64)
    rings, half = len(begins) - 1, 1
    while half < rings:
        for first in range(0, rings - half, 2 * half):
            begin, middle = begins[first], begins[first + half]
            second = slice(middle, begins[min(first + 2 * half, rings)])
            found, place = KDTree(points[begin:middle]).query(points[second])
            nearer = found < distances[second]
            distances[second][nearer] = found[nearer]
            neighbours[second][nearer] = begin + place[nearer]
        half *= 2
    theres = [a + int(np.argmin(distances[a:b])) for a, b in pairwise(begins[1:].tolist())]
    return [(there, int(neighbours[there])) for there in theres]
