"""What is known of a labelled region before a steward looks at it, as numbers."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lae_tasks.routing.labelled import LabelledRegions

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


def features(rows: LabelledRegions) -> Numbers:
    """The features of labelled regions, (n, len(FEATURES)); 0 stands for what is not known."""
    columns = [feature(rows) for feature in _FEATURES.values()]
    missing = [np.isnan(column) for column in columns]
    return np.stack([*map(np.nan_to_num, columns), *missing], axis=1).astype(np.float64)
