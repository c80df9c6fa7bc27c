"""Sample pictures for the card: images of the release with their boxes, masks and names."""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask
from scipy.ndimage import binary_erosion

from lae_tasks.contracts import BoxPx
from lae_tasks.geometry import Mask
from lae_tasks.releases.dataset import Annotation, Dataset, ReleaseImage, annotations_of
from lae_tasks.storage import Storage

_SIDE_PX = 1024
_MASK_WEIGHT = 0.28
#: Colours that stay apart from each other, from soil, water and greenery, and for most eyes.
_COLOURS = (
    (255, 196, 0),
    (0, 200, 255),
    (255, 90, 170),
    (140, 255, 90),
    (255, 120, 40),
    (170, 140, 255),
    (0, 235, 180),
    (255, 80, 80),
    (240, 240, 120),
    (120, 180, 255),
)


def sample_images(dataset: Dataset, n: int = 4) -> list[ReleaseImage]:
    """The images that show the most: each adds the most categories not shown yet, then objects.

    Images with very many objects count like those with a legible number of them.
    """
    counts = dataset.annotations.table.group_by(
        ["image_id", "category"], use_threads=False
    ).aggregate([([], "count_all")])
    shows: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for row in counts.to_pylist():
        shows[row["image_id"]][row["category"]] = row["count_all"]
    left = [image for image in dataset.images if image.image_id in shows]
    seen: set[str] = set()
    chosen: list[ReleaseImage] = []
    while left and len(chosen) < n:
        best = max(left, key=lambda image: _worth(shows[image.image_id], seen))
        left.remove(best)
        chosen.append(best)
        seen |= shows[best.image_id].keys()
    return chosen


def _worth(shown: Mapping[str, int], seen: set[str]) -> tuple[int, int]:
    return len(shown.keys() - seen), min(sum(shown.values()), 25)


def _of_image(dataset: Dataset, image: ReleaseImage) -> list[Annotation]:
    table = dataset.annotations.table
    found = table.filter(pc.equal(table["image_id"], image.image_id))
    return [each for batch in found.to_batches() for each in annotations_of(batch)]


def render(dataset: Dataset, image: ReleaseImage, store: Storage) -> bytes:
    """PNG of an image with everything that is annotated on it, its longer side 1024 px."""
    with Image.open(io.BytesIO(store.read(image.key))) as file:
        rgb = np.asarray(file.convert("RGB"))
    order = {category.name: number for number, category in enumerate(dataset.categories)}
    # Large ones first, so that small ones stay visible.
    annotations = sorted(_of_image(dataset, image), key=lambda a: -a.area_px)
    colours = [_COLOURS[order[each.category] % len(_COLOURS)] for each in annotations]
    masks = [_decode(each, image) for each in annotations]
    tinted = _tint(rgb, masks, colours)
    scale = _SIDE_PX / max(image.width_px, image.height_px)
    size = round(image.width_px * scale), round(image.height_px * scale)
    picture = Image.fromarray(tinted).resize(size, Image.Resampling.LANCZOS)
    _draw(picture, annotations, colours, scale)
    sink = io.BytesIO()
    picture.save(sink, format="PNG", compress_level=4)
    return sink.getvalue()


def _decode(annotation: Annotation, image: ReleaseImage) -> Mask:
    size = [image.height_px, image.width_px]
    rle = {"size": size, "counts": annotation.mask_rle.encode("ascii")}
    return np.asarray(coco_mask.decode(rle), dtype=bool)


def _tint(
    rgb: npt.NDArray[np.uint8], masks: Sequence[Mask], colours: Sequence[tuple[int, int, int]]
) -> npt.NDArray[np.uint8]:
    """The image with each mask's colour laid thinly over it, and its outline."""
    tinted = rgb.astype(np.float32)
    for mask, colour in zip(masks, colours, strict=True):
        tinted[mask] = (1 - _MASK_WEIGHT) * tinted[mask] + _MASK_WEIGHT * np.array(colour)
        tinted[mask & ~binary_erosion(mask)] = colour
    return tinted.astype(np.uint8)


def _draw(
    picture: Image.Image,
    annotations: Sequence[Annotation],
    colours: Sequence[tuple[int, int, int]],
    scale: float,
) -> None:
    """Boxes first, then names where they hide the least."""
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=17)
    boxes = [_scaled(each.bbox_xyxy_px, scale) for each in annotations]
    for box, colour in zip(boxes, colours, strict=True):
        draw.rectangle(box, outline=(0, 0, 0), width=4)
        draw.rectangle(_grown(box, -1), outline=colour, width=2)
    taken: list[BoxPx] = []
    for box, colour, each in zip(boxes, colours, annotations, strict=True):
        width, height = round(draw.textlength(each.category, font)) + 10, 23
        place = _place(box, (width, height), picture.size, taken)
        taken.append(place)
        draw.rectangle(place, fill=colour)
        draw.text((place[0] + 5, place[1] + 1), each.category, (0, 0, 0), font)


def _scaled(box: BoxPx, scale: float) -> BoxPx:
    x0, y0, x1, y1 = (round(edge * scale) for edge in box)
    return _grown((x0, y0, x1 - 1, y1 - 1), 2)


def _grown(box: BoxPx, by_px: int) -> BoxPx:
    x0, y0, x1, y1 = box
    return x0 - by_px, y0 - by_px, max(x1 + by_px, x0), max(y1 + by_px, y0)


def _place(
    box: BoxPx, size: tuple[int, int], limit: tuple[int, int], taken: Sequence[BoxPx]
) -> BoxPx:
    """Where a name goes: above its box, below, beside or inside, clear of other names."""
    (x0, y0, x1, y1), (width, height) = box, size
    corners = ((x0, y0 - height), (x0, y1), (x1, y0), (x0 - width, y0), (x1 - width, y1), (x0, y0))
    candidates = []
    for left, top in corners:
        left = max(0, min(left, limit[0] - width - 1))
        top = max(0, min(top, limit[1] - height - 1))
        candidates.append((left, top, left + width, top + height))
    return min(candidates, key=lambda place: sum(_overlap(place, other) for other in taken))


def _overlap(box: BoxPx, other: BoxPx) -> int:
    across = min(box[2], other[2]) - max(box[0], other[0])
    down = min(box[3], other[3]) - max(box[1], other[1])
    return max(0, across) * max(0, down)
