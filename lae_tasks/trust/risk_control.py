"""The lowest score above which enough is right: a threshold with a guarantee.

Learn then Test (Angelopoulos, Bates, Candès, Jordan, Lei: "Learn then Test: Calibrating Predictive
Algorithms to Achieve Risk Control", arXiv 2110.01052) with fixed sequence testing, their
Algorithm 1: thresholds are tried from a start on downwards, each by an exact binomial test that the
precision above it is less than the target, until a test cannot refuse that. There are two starts,
each with its part of the error that one minus the confidence allows: the probability that any
threshold that passed is worse than the target is at most that. Which thresholds are tried depends
on the scores only, never on what was right.

Stewards are mistaken now and then, and what they find right is a little less than what is. The test
looks at what they find: its target is the share that they would find right where just the target
is (`mistakes.found_right`). That takes their mistakes to be as frequent with every region, whatever
its score, and to fall on what is right and on what is wrong alike, and it takes every drawn region
whose steward contradicts the engine to be looked at again. The share itself is an estimate; that it
may be wrong is not part of the confidence.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from lae_tasks.trust.mistakes import found_right

#: The first test shall pass with so many errors among what it looks at: with none allowed, bad luck
#: would end the sequence before it began.
_ERRORS_AT_START = 2
#: Where the sequences start: with this share of all above, and with this part of the error. With
#: few above, a test fails by bad luck, and ends its sequence; so most goes to the first. Where
#: models are weak, only the second can pass.
_STARTS = ((0.7, 0.8), (0.4, 0.2))
#: Scores are tried in steps of this share of all more verdicts, and so many at least: each test is
#: another chance to stop too early.
_STEP_SHARE, _MIN_STEP = 0.05, 5
#: Samples from the sample that tell its optimism.
_BOOTSTRAPS = 200


@dataclass(frozen=True)
class Threshold:
    """A score from which on the target holds.

    Attributes:
        score: Accept what has at least this.
        verdicts: Held-out verdicts at or above it.
        right: Of these, as stewards found.
    """

    score: float
    verdicts: int
    right: int


def optimism(
    scores: npt.ArrayLike,
    right: npt.ArrayLike,
    target: float,
    confidence: float,
    steward_error: float | None = None,
) -> float:
    """How much more of what is above its own threshold is right in a sample than where it is from.

    A threshold comes out low where the sample is lucky there. By the bootstrap: the gap between
    samples drawn from the sample, above the thresholds found in them, and the sample itself there
    (B. Efron and G. Gong, The American Statistician 37, 1983).

    Args as of `lowest_threshold`; the result is at least 0, and 0 where no sample has a threshold.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    generator = np.random.default_rng(0)
    gaps = []
    for _ in range(_BOOTSTRAPS):
        drawn = generator.integers(len(scores), size=len(scores))
        found = lowest_threshold(scores[drawn], right[drawn], target, confidence, steward_error)
        if found:
            gaps.append(found.right / found.verdicts - right[scores >= found.score].mean())
    return max(0.0, float(np.mean(gaps))) if gaps else 0.0


def contradicts(
    errors: int, count: int, target: float, confidence: float, steward_error: float | None = None
) -> bool:
    """Whether so many errors among fresh verdicts tell that the target is not reached.

    The exact binomial test: were the precision just the target, so many or more would come in a
    share of `1 - confidence` of cases at most.

    Args:
        errors: Of `count` verdicts, those that found the region wrong.
        target: The precision to reach.
        confidence: With which it shall be told.
        steward_error: The share of looks in which stewards are mistaken; None takes them to be
            right.
    """
    found_wrong = 1 - found_right(target, steward_error)
    return bool(binom.sf(errors - 1, count, found_wrong) <= 1 - confidence)


def verdicts_needed(target: float, confidence: float) -> int:
    """How many held-out verdicts there must be before any threshold can be tried."""
    return min(_first_count(target, (1 - confidence) * part) for _, part in _STARTS)


def _first_count(target: float, level: float) -> int:
    count = 1
    while binom.cdf(_ERRORS_AT_START, count, 1 - target) > level:
        count += 1
    return count


def lowest_threshold(
    scores: npt.ArrayLike,
    right: npt.ArrayLike,
    target: float,
    confidence: float,
    steward_error: float | None = None,
) -> Threshold | None:
    """The lowest score at and above which the precision reaches the target.

    Args:
        scores: Of held-out regions that were drawn at random, (n,).
        right: Whether each was found right, (n,).
        target: The precision to reach, in (0, 1).
        confidence: With which it shall be reached, in (0, 1).
        steward_error: The share of looks in which stewards are mistaken; None takes them to be
            right.

    Returns:
        None if there are too few verdicts, or not even the best scores reach it.
    """
    scores, right = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    order = np.argsort(-scores, kind="stable")
    sorted_scores, rights = scores[order], np.cumsum(right[order])
    step = max(_MIN_STEP, int(_STEP_SHARE * len(scores)))
    found_wrong = 1 - found_right(target, steward_error)
    found = []
    for share, part in _STARTS:
        level = (1 - confidence) * part
        start = max(_first_count(target, level), int(share * len(scores)))
        for count in range(start, len(scores) + 1, step):
            # All of the same score stand or fall together.
            score = float(sorted_scores[count - 1])
            count = int(np.searchsorted(-sorted_scores, -score, side="right"))
            errors = count - int(rights[count - 1])
            # The probability of so few errors, if the precision were just the target.
            if binom.cdf(errors, count, found_wrong) > level:
                break
            found.append(Threshold(score, count, count - errors))
    return min(found, key=lambda threshold: threshold.score, default=None)
