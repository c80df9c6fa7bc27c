"""From what is known of a region to the probability that its category and box are right.

Logistic regression over standardized features, by scikit-learn. What it learned are a few numbers,
so a fitted calibration is a small record that can be read, compared and kept; no pickle.
"""

import hashlib
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from lae_tasks.routing.labelled import Names
from lae_tasks.trust.features import FEATURES, categories_of, category_columns, with_categories
from lae_tasks.trust.records import Calibration
from lae_tasks.trust.risk_control import lowest_threshold, optimism

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

#: Of the cross validation.
FOLDS = 5
#: Verdicts that a category must have to get features of its own.
MIN_OF_CATEGORY = 20
#: Inverse strength of the ridge, as scikit-learn has it: categories with few verdicts stay close to
#: the others.
_C = 0.3
#: Bins of the reliability diagram, of as many held-out verdicts each.
_BINS = 10


def probabilities(
    calibration: Calibration,
    rows: Numbers,
    categories: Names,
    spelled: Callable[[str], str] = str,
) -> Numbers:
    """P(right) of each region, (n,).

    Args:
        calibration: What was fitted.
        rows: The regions' features, (n, len(FEATURES)).
        categories: What they are called after merging, (n,).
        spelled: How the vocabulary spells a name now: a category that was renamed since keeps what
            was learned of it. Of several that are one now, that counts which bore the name before.

    Raises:
        ValueError: If the calibration was fitted on other features.
    """
    named = categories_of(calibration.features)
    if named is None:
        raise ValueError(f"calibration {calibration.calibration_id} was fitted on other features")
    slopes = np.array(calibration.weights) / np.array(calibration.scales)
    logits = rows @ slopes[: len(FEATURES)]
    for place, name in enumerate(named):
        now = spelled(name)
        if now == name or now not in named:
            begin = len(FEATURES) + 3 * place
            columns = category_columns(rows, categories, [now])
            for slope, column in zip(slopes[begin : begin + 3].tolist(), columns, strict=True):
                logits += slope * column
    logits += calibration.intercept - np.dot(slopes, calibration.means)
    return np.asarray(expit(logits))


def fit(
    rows: Numbers,
    categories: Names,
    right: Flags,
    drawn: Flags,
    groups: npt.NDArray[np.int64],
    *,
    night: str,
    model_revision: str,
    target_precision: float,
    confidence: float,
    steward_error: float | None = None,
) -> tuple[Calibration, Numbers] | None:
    """Fits a calibration and chooses the score from which on regions are accepted.

    All verdicts teach it, those of a category with enough of them also what is particular to it:
    how often it is right, and at which sizes. The threshold and the reliability come from those
    alone whose regions were drawn at random, by what is said of them where they were not learned
    from: five-fold cross validation, scenes kept whole.

    Args:
        rows: Features of the regions with a verdict, (n, len(FEATURES)).
        categories: What they are called, (n,).
        right: Whether each was right.
        drawn: Whether each was drawn at random.
        groups: Numbers of their scenes; right and wrong ones must be on more than FOLDS of them,
            so that no fold takes all of either.
        night: `yyyy-mm-dd`, when it is fitted.
        model_revision: Of the models that gave the features.
        target_precision: What the accepted shall reach.
        confidence: With which they shall.
        steward_error: The share of looks in which stewards are mistaken, as `mistakes` tells it;
            None takes them to be right.

    Returns:
        The calibration, and the held-out P(right) of each row; None if no P(right) reaches the
        target.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    named = sorted(n for n, count in categories.counts().items() if count >= MIN_OF_CATEGORY)
    if named:
        rows = np.column_stack([rows, *category_columns(rows, categories, named)])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=_C, max_iter=1000))
    folds = list(GroupKFold(FOLDS).split(rows, right, groups))
    if any(right[learned].all() or not right[learned].any() for learned, _ in folds):
        return None  # one fold took all of either
    held_out: Numbers = cross_val_predict(model, rows, right, cv=folds, method="predict_proba")[
        :, 1
    ]
    threshold = lowest_threshold(
        held_out[drawn], right[drawn], target_precision, confidence, steward_error
    )
    if threshold is None:
        return None
    model.fit(rows, right)
    scaler, regression = model[0], model[1]
    said, were, counts = reliability(held_out[drawn], right[drawn])
    fitted = Calibration(
        calibration_id="",
        night=night,
        model_revision=model_revision,
        features=with_categories(named),
        means=tuple(scaler.mean_.tolist()),
        scales=tuple(scaler.scale_.tolist()),
        weights=tuple(regression.coef_[0].tolist()),
        intercept=float(regression.intercept_[0]),
        verdicts=len(right),
        right=int(right.sum()),
        drawn=int(drawn.sum()),
        target_precision=target_precision,
        confidence=confidence,
        accept_at=math.floor(threshold.score * 1e4) / 1e4,  # decisions have four digits
        above=threshold.verdicts,
        above_right=threshold.right,
        optimism=optimism(
            held_out[drawn], right[drawn], target_precision, confidence, steward_error
        ),
        bins_said=said,
        bins_right=were,
        bins_count=counts,
        calibration_error=calibration_error(said, were, counts),
        steward_error=steward_error,
    )
    digest = hashlib.sha256(fitted.model_dump_json().encode()).hexdigest()[:16]
    return fitted.model_copy(update={"calibration_id": digest}), held_out


def reliability(
    said: Numbers, right: Flags
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...]]:
    """Of bins with equally many rows: the mean of what was said, the share right, the count."""
    order = np.argsort(said, kind="stable")
    bins = [part for part in np.array_split(order, min(_BINS, max(1, len(said)))) if len(part)]
    return (
        tuple(float(said[part].mean()) for part in bins),
        tuple(float(right[part].mean()) for part in bins),
        tuple(len(part) for part in bins),
    )


def calibration_error(
    said: tuple[float, ...], right: tuple[float, ...], counts: tuple[int, ...]
) -> float:
    """Expected calibration error over bins (Naeini, Cooper, Hauskrecht, AAAI 2015)."""
    if not counts:
        return 0.0
    gaps = np.abs(np.subtract(said, right))
    return float(np.average(gaps, weights=counts))
