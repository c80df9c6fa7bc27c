"""Numbers that tell of a release, from its columns: a million annotations take a second or two."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lae_tasks.releases.dataset import STEWARD, Dataset

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

_CONFIDENCE_STEP = 0.05
_MOST_BINS = 14


@dataclass(frozen=True)
class Histogram:
    """Counts of values between edges; one edge more than counts."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    median: float


@dataclass(frozen=True)
class Objects:
    """The objects of a dataset, each once, however many images show it, as columns.

    Attributes:
        category: Place of its category among the dataset's; -1 for none of them.
        image: Place of the first image that shows it; -1 for none of them.
        by_steward: Whether a steward decided it.
        score: As its annotations have it.
        side_px: Square root of what its box in the scene covers.
        area_m2: NaN where it is not known.
    """

    category: Codes
    image: Codes
    by_steward: npt.NDArray[np.bool_]
    score: Values
    side_px: Values
    area_m2: Values
    region_id: pa.Array


def objects_of(dataset: Dataset) -> Objects:
    """Takes the first annotation of each object."""
    names = ["region_id", "category", "image_id", "source", "score", "area_m2"]
    table = dataset.annotations.table.select([*names, "bbox_scene_xyxy_px"]).combine_chunks()
    regions = pc.dictionary_encode(_column(table, "region_id")).indices.to_numpy()
    first = np.sort(np.unique(regions, return_index=True)[1])
    rows = table.take(pa.array(first, pa.int64())).combine_chunks()
    categories = pa.array([each.name for each in dataset.categories], pa.string())
    edges = pc.list_flatten(_column(rows, "bbox_scene_xyxy_px")).to_numpy(zero_copy_only=False)
    edges = edges.reshape(-1, 4).astype(np.float64)
    return Objects(
        category=_places(_column(rows, "category"), categories),
        image=image_places(dataset, _column(rows, "image_id")),
        by_steward=pc.equal(_column(rows, "source"), STEWARD).to_numpy(zero_copy_only=False),
        score=_floats(rows, "score"),
        side_px=np.sqrt((edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1])),
        area_m2=_floats(rows, "area_m2"),
        region_id=_column(rows, "region_id"),
    )


def image_places(dataset: Dataset, image_ids: pa.Array) -> Codes:
    """Of each image id the place of the image in the dataset; -1 where there is none."""
    return _places(image_ids, pa.array([each.image_id for each in dataset.images], pa.int64()))


def _places(values: pa.Array, among: pa.Array) -> Codes:
    found = pc.fill_null(pc.index_in(values, value_set=among), -1)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    # Of a table without rows there may be no chunk at all.
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _floats(table: pa.Table, name: str) -> Values:
    values = pc.fill_null(pc.cast(_column(table, name), pa.float64()), np.nan)
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def by_category(
    dataset: Dataset, objects: Objects, group_of_image: Mapping[int, str]
) -> dict[str, dict[str, int]]:
    """Objects of each group of images, such as a split, by category; without those with none.

    Args:
        dataset: Of the objects.
        objects: Of `objects_of`.
        group_of_image: The group of each image, by the image's place in the dataset.
    """
    groups = sorted(set(group_of_image.values()))
    number = {group: place for place, group in enumerate(groups)}
    of_image = np.array(
        [number[group_of_image[place]] for place in range(len(dataset.images))], dtype=np.int64
    )
    known = (objects.image >= 0) & (objects.category >= 0)
    width = len(dataset.categories)
    cells = of_image[objects.image[known]] * width + objects.category[known]
    counts = np.bincount(cells, minlength=len(groups) * width).reshape(len(groups), width)
    return {
        group: {
            category.name: int(n) for category, n in zip(dataset.categories, row, strict=True) if n
        }
        for group, row in zip(groups, counts, strict=True)
    }


def confidence_histogram(objects: Objects) -> Histogram | None:
    """Scores of what the engine accepted, in steps of 0.05; None without any."""
    scores = objects.score[~objects.by_steward]
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return None
    steps = round(1 / _CONFIDENCE_STEP)
    # A hair below an edge is meant to be the edge.
    first = min(int(np.floor(scores.min() * steps + 1e-9)), steps - 1)
    edges = np.arange(first, steps + 1) / steps
    counts, _ = np.histogram(np.minimum(scores + 1e-9, 1.0), edges)
    return _histogram(edges, counts, scores)


def side_histogram(objects: Objects) -> Histogram | None:
    """Sides of boxes in pixels, each bin twice as wide as the one before; None without any."""
    return _between(objects.side_px, np.exp2(np.arange(32, dtype=np.float64)))


def area_histogram(objects: Objects) -> Histogram | None:
    """Areas on the ground in m2, between 1, 3, 10, 30 and so on; None likewise."""
    tens = 10.0 ** np.arange(-4, 14)
    return _between(objects.area_m2, np.sort(np.append(tens, 3 * tens)).astype(np.float64))


def _between(values: Values, edges: Values) -> Histogram | None:
    """Counts between those of the edges that the values reach, at most 14 bins."""
    values = values[np.isfinite(values) & (values >= edges[0]) & (values < edges[-1])]
    if not len(values):
        return None
    first = int(np.searchsorted(edges, values.min(), side="right")) - 1
    last = int(np.searchsorted(edges, values.max(), side="right"))
    step = -(-(last - first) // _MOST_BINS)
    taken = edges[first : last + step : step]
    counts, _ = np.histogram(values, taken)
    return _histogram(taken, counts, values)


def _histogram(edges: Values, counts: npt.NDArray[np.int_], values: Values) -> Histogram:
    return Histogram(
        tuple(float(edge) for edge in edges),
        tuple(int(count) for count in counts),
        float(np.median(values)),
    )
