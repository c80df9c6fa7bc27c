"""The threshold keeps its promise as often as it says, and is as low as the verdicts allow."""

import numpy as np
import pytest

from lae_tasks.trust.risk_control import lowest_threshold, verdicts_needed


def world(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are the probability of being right."""
    generator = np.random.default_rng(seed)
    scores = generator.beta(8, 1, count)
    return scores, generator.random(count) < scores


def true_precision(threshold: float) -> float:
    scores, _ = world(99, 400_000)
    return float(scores[scores >= threshold].mean())


@pytest.mark.parametrize(("target", "confidence"), [(0.95, 0.9), (0.9, 0.95)])
def test_the_promise_is_kept_as_often_as_it_says(target: float, confidence: float) -> None:
    found = [lowest_threshold(*world(seed, 600), target, confidence) for seed in range(400)]
    scores, _ = world(99, 400_000)
    sinking = np.sort(scores)[::-1]
    precision = np.cumsum(sinking) / np.arange(1, len(sinking) + 1)
    scores_that_were_found = [f.score for f in found if f]
    assert len(scores_that_were_found) > 200
    places = np.searchsorted(-sinking, -np.array(scores_that_were_found)) - 1
    broken = np.sum(precision[places] < target)
    # Of 400 trials a share of 1 - confidence may break it; three standard deviations more.
    allowed = 400 * (1 - confidence)
    assert broken <= allowed + 3 * np.sqrt(allowed)


def test_more_verdicts_allow_a_lower_threshold() -> None:
    few, many = (lowest_threshold(*world(1, count), 0.95, 0.9) for count in (600, 6_000))
    assert few and many
    assert many.score < few.score
    assert true_precision(many.score) == pytest.approx(0.95, abs=0.01)


def test_what_it_tells_is_what_it_saw() -> None:
    scores, right = world(2, 1_000)
    found = lowest_threshold(scores, right, 0.9, 0.9)
    assert found
    above = scores >= found.score
    assert (found.verdicts, found.right) == (above.sum(), right[above].sum())


def test_equal_scores_stand_or_fall_together() -> None:
    scores = np.repeat([0.9, 0.8], 150)
    right = np.repeat([True, False], 150)
    found = lowest_threshold(scores, right, 0.95, 0.9)
    assert found and (found.score, found.verdicts) == (0.9, 150)


def test_without_enough_verdicts_or_precision_there_is_none() -> None:
    needed = verdicts_needed(0.95, 0.9)
    assert needed == 105
    assert lowest_threshold(np.ones(needed - 1), np.ones(needed - 1), 0.95, 0.9) is None
    assert lowest_threshold(np.ones(needed), np.ones(needed), 0.95, 0.9)
    assert lowest_threshold(np.linspace(0, 1, 900), np.arange(900) % 5 > 0, 0.95, 0.9) is None
