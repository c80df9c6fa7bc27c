"""The lowest score above which enough is right: a threshold with a guarantee.

Learn then Test (Angelopoulos, Bates, Candès, Jordan, Lei: "Learn then Test: Calibrating Predictive
Algorithms to Achieve Risk Control", arXiv 2110.01052) with fixed sequence testing: thresholds are
tried from the strictest on, each by an exact binomial test that the precision above it is less than
the target, until a test cannot refuse that. The probability that any threshold that passed is worse
than the target is then at most one minus the confidence. Which thresholds are tried depends on the
scores only, never on what was right.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

#: The first test shall pass with so many errors among what it looks at: with none allowed, bad luck
#: would end the sequence before it began.
_ERRORS_AT_START = 2
#: Nor does it look at the very best alone, of which there are few: the sequence begins where this
#: share of all is above.
_START_SHARE = 0.4
#: Scores are tried in steps of so many more verdicts.
_STEP = 5


@dataclass(frozen=True)
class Threshold:
    """A score from which on the target holds.

    Attributes:
        score: Accept what has at least this.
        verdicts: Held-out verdicts at or above it.
        right: Of these.
    """

    score: float
    verdicts: int
    right: int


def verdicts_needed(target: float, confidence: float) -> int:
    """How many held-out verdicts there must be before any threshold can be tried."""
    count = 1
    while binom.cdf(_ERRORS_AT_START, count, 1 - target) > 1 - confidence:
        count += 1
    return count


def lowest_threshold(
    scores: npt.ArrayLike, right: npt.ArrayLike, target: float, confidence: float
) -> Threshold | None:
    """The lowest score at and above which the precision reaches the target.

    Args:
        scores: Of held-out regions that were drawn at random, (n,).
        right: Whether each was right, (n,).
        target: The precision to reach, in (0, 1).
        confidence: With which it shall be reached, in (0, 1).

    Returns:
        None if there are too few verdicts, or not even the best scores reach it.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    order = np.argsort(-scores, kind="stable")
    sorted_scores, rights = scores[order], np.cumsum(right[order])
    found = None
    start = max(verdicts_needed(target, confidence), int(_START_SHARE * len(scores)))
    for count in range(start, len(scores) + 1, _STEP):
        # All of the same score stand or fall together.
        score = float(sorted_scores[count - 1])
        count = int(np.searchsorted(-sorted_scores, -score, side="right"))
        errors = count - int(rights[count - 1])
        # The probability of so few errors, if the precision were just the target.
        if binom.cdf(errors, count, 1 - target) > 1 - confidence:
            break
        found = Threshold(score, count, count - errors)
    return found
