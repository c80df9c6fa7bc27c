"""What is known of a labelled region before a steward looks at it, as numbers."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt

from lae_tasks.routing.labelled import LabelledRegions, Names

Numbers = npt.NDArray[np.float64]

#: Probabilities of 0 and 1 would be infinitely sure.
_NEVER_SURE = 1e-3


def _logit(column: str) -> Callable[[LabelledRegions], Numbers]:
    def of(rows: LabelledRegions) -> Numbers:
        share = rows.numbers(column).clip(_NEVER_SURE, 1 - _NEVER_SURE)
        return np.asarray(np.log(share / (1 - share)))

    return of


def _sides(rows: LabelledRegions) -> Numbers:
    boxes = rows.boxes_xyxy_px
    return np.asarray(boxes[:, 2:] - boxes[:, :2], dtype=np.float64)


#: Each feature by its name. NaN where it is not known.
_FEATURES: dict[str, Callable[[LabelledRegions], Numbers]] = {
    "likelihood said (logit)": _logit("likelihood_said"),
    "token confidence (logit)": _logit("token_confidence"),
    "CLIP's score of what was said (logit)": _logit("clip_score_said"),
    "CLIP agrees": lambda rows: rows.numbers("clip_agrees"),
    "mask stability": lambda rows: rows.numbers("stability_score"),
    "predicted IoU": lambda rows: rows.numbers("predicted_iou"),
    "area (log px)": lambda rows: np.log(rows.numbers("area_px")),
    "share of the box": lambda rows: rows.numbers("area_px") / _sides(rows).prod(axis=1),
    "aspect (log)": lambda rows: np.abs(np.diff(np.log(_sides(rows)), axis=1))[:, 0],
    "seen in part": lambda rows: rows.numbers("seen_in_part"),
}

#: Columns of labels and regions that they are made of.
READS = (
    *("likelihood_said", "token_confidence", "clip_score_said", "clip_agrees"),
    *("stability_score", "predicted_iou", "area_px", "seen_in_part"),
)

#: The features' names: each, then for each whether it is missing.
FEATURES = (*_FEATURES, *(f"no {name}" for name in _FEATURES))
#: From these two the size of the box is known.
_AREA, _SHARE = FEATURES.index("area (log px)"), FEATURES.index("share of the box")
#: Sizes of boxes are compared with this side.
_SIDE_PX = 32.0


def features(rows: LabelledRegions) -> Numbers:
    """The features of labelled regions, (n, len(FEATURES)); 0 stands for what is not known."""
    columns = [feature(rows) for feature in _FEATURES.values()]
    missing = [np.isnan(column) for column in columns]
    return np.stack([*map(np.nan_to_num, columns), *missing], axis=1).astype(np.float64)


def with_categories(names: Iterable[str]) -> tuple[str, ...]:
    """The names of the features, followed by those of `category_columns` of some categories."""
    begin = (f"category {name}" for name in names)
    three = ((is_it, f"{is_it}: size", f"{is_it}: size²") for is_it in begin)
    return FEATURES + tuple(chain.from_iterable(three))


def categories_of(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The categories among the features' names; None if they are not of `with_categories`."""
    found = tuple(name.removeprefix("category ") for name in names[len(FEATURES) :: 3])
    return found if with_categories(found) == names else None


def category_columns(rows: Numbers, categories: Names, of: Iterable[str]) -> Iterator[Numbers]:
    """Three columns for each category: is it, and where it is, its size and the square of that.

    What is right of a category mostly has its usual size. A column at a time: a night may have
    millions of rows.

    Args:
        rows: The features, (n, len(FEATURES)).
        categories: What the regions are called, (n,).
        of: Those that have columns.

    Yields:
        Columns, (n,), in the order of `with_categories`. The size is the log of the side of a
        square with the area of the box, beside 32 px.
    """
    area_of_box = rows[:, _AREA] - np.log(rows[:, _SHARE])
    size = area_of_box / 2 - np.log(_SIDE_PX)
    for name in of:
        its = categories.where(name.__eq__).astype(np.float64)
        yield from (its, its * size, its * size**2)
