"""The box of a COCO RLE that may be damaged.

pycocotools trusts what it gets: a compressed RLE that breaks off makes it write beyond its memory,
and one of another image's size divides by zero. So the runs are decoded and checked before.
"""

from typing import Any

from pycocotools import mask as coco_mask

from lae_tasks.annotations.annotation import AnnotationError, BoxXyxy, short, whole_number


def rle_box(rle: dict[str, Any], size_px: tuple[int, int], place: str) -> BoxXyxy:
    """The box (x0, y0, x1, y1) of an RLE; without area if it is empty.

    Args:
        rle: `size`, [height, width], and `counts`, a list of runs or COCO's compressed text.
        size_px: (width, height) of the image.
        place: File key and annotation, for the error.

    Raises:
        AnnotationError: If it is no RLE of such an image.
    """
    width_px, height_px = size_px
    size = [height_px, width_px]
    if rle.get("size") != size:
        raise AnnotationError(
            place, f"the RLE's size is {short(rle.get('size'))}", f"make it {size}"
        )
    counts = rle.get("counts")
    runs = _decoded(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list):
        raise AnnotationError(place, f"the RLE's counts are {short(counts)}", "encode it again")
    lengths = [whole_number(run, place) for run in runs]
    if any(run < 0 for run in lengths) or sum(lengths) != width_px * height_px:
        raise AnnotationError(
            place, "the RLE's counts do not add up to the image", "encode the mask again"
        )
    checked = coco_mask.frPyObjects({"size": size, "counts": lengths}, height_px, width_px)
    x, y, width, height = (float(each) for each in coco_mask.toBbox(checked))
    return x, y, x + width, y + height


def _decoded(counts: str) -> list[int] | None:
    """The runs of a compressed RLE; None if it is none.

    As `rleFrString` of COCO's maskApi.c has it: each character carries 5 bits, the lowest first,
    and a bit that says that more follow; from the fourth run on, the difference to the run before
    the last is written.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # negative
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs
