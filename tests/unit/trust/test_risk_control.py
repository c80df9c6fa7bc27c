"""The threshold keeps its promise as often as it says, and is as low as the verdicts allow."""

import numpy as np
import pytest

from lae_tasks.trust.risk_control import contradicts, lowest_threshold, verdicts_needed


def world(seed: int, count: int, shape: float = 14) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are the probability of being right.

    Of all a share shape / (shape + 1) is right: by default 0.93, and 0.97 of the best 70 %.
    """
    generator = np.random.default_rng(seed)
    scores = generator.beta(shape, 1, count)
    return scores, generator.random(count) < scores


def true_precision(threshold: float) -> float:
    scores, _ = world(99, 400_000)
    return float(scores[scores >= threshold].mean())


@pytest.mark.parametrize(("target", "confidence", "shape"), [(0.95, 0.9, 14), (0.9, 0.95, 7)])
def test_the_promise_is_kept_as_often_as_it_says(
    target: float, confidence: float, shape: float
) -> None:
    found = [lowest_threshold(*world(seed, 600, shape), target, confidence) for seed in range(400)]
    scores, _ = world(99, 400_000, shape)
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
    scores, right = world(2, 1_000, 7)
    found = lowest_threshold(scores, right, 0.9, 0.9)
    assert found
    above = scores >= found.score
    assert (found.verdicts, found.right) == (above.sum(), right[above].sum())


def test_equal_scores_stand_or_fall_together() -> None:
    scores = np.repeat([0.9, 0.8], [220, 80])
    right = np.repeat([True, False], [220, 80])
    found = lowest_threshold(scores, right, 0.95, 0.9)
    assert found and (found.score, found.verdicts) == (0.9, 220)


def test_where_only_the_best_are_right_enough_the_second_start_finds_them() -> None:
    scores = np.repeat([0.9, 0.8], 300)
    right = np.repeat([True, False], 300)
    found = lowest_threshold(scores, right, 0.95, 0.9)
    assert found and (found.score, found.verdicts) == (0.9, 300)


def test_without_enough_verdicts_or_precision_there_is_none() -> None:
    needed = verdicts_needed(0.95, 0.9)
    assert needed == 111
    assert lowest_threshold(np.ones(needed - 1), np.ones(needed - 1), 0.95, 0.9) is None
    assert lowest_threshold(np.ones(needed), np.ones(needed), 0.95, 0.9)
    assert lowest_threshold(np.linspace(0, 1, 900), np.arange(900) % 5 > 0, 0.95, 0.9) is None


def broken(seeds: range, count: int, error: float, told: float | None) -> tuple[int, int]:
    """Of how many thresholds the precision is below 0.95, where stewards are mistaken."""
    scores, _ = world(99, 400_000)
    sinking = np.sort(scores)[::-1]
    precision = np.cumsum(sinking) / np.arange(1, len(sinking) + 1)
    bad = found = 0
    for seed in seeds:
        scores, right = world(seed, count)
        generator = np.random.default_rng([seed, 1])
        first, second, third = generator.random((3, count)) < error
        # Whoever contradicts the engine is followed by a second, and if they differ by a third.
        said_right = right ^ first
        again = (right ^ second) & (right ^ third) | (right ^ second) & said_right
        again |= (right ^ third) & said_right
        said_right = np.where(said_right, True, again)
        threshold = lowest_threshold(scores, said_right, 0.95, 0.9, told)
        if threshold:
            found += 1
            bad += bool(precision[np.searchsorted(-sinking, -threshold.score) - 1] < 0.95)
    return bad, found


@pytest.mark.parametrize("error", [0.05, 0.1])
def test_it_is_kept_where_stewards_are_mistaken_as_often_as_was_told(error: float) -> None:
    bad, found = broken(range(400), 1_500, error, error)
    assert found > 200
    assert bad <= 40 + 3 * np.sqrt(40)


def test_without_mistakes_nothing_changes() -> None:
    scores, right = world(3, 1_000, 7)
    found = lowest_threshold(scores, right, 0.9, 0.9)
    assert found and lowest_threshold(scores, right, 0.9, 0.9, 0.0) == found


def test_the_sequence_begins_with_most_of_all() -> None:
    # The worst of the best half are wrong: tests from the best 40 % on would end there.
    scores, right = np.linspace(1, 0, 1_000), np.ones(1_000, dtype=bool)
    right[450:470] = False
    found = lowest_threshold(scores, right, 0.95, 0.9)
    assert found and found.verdicts > 900


def test_fresh_verdicts_contradict_only_beyond_chance() -> None:
    generator = np.random.default_rng(0)
    errors = generator.binomial(100, 0.05, 2_000)  # just the target
    said = [contradicts(int(each), 100, 0.95, 0.9) for each in errors]
    assert 0.02 < np.mean(said) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / len(said))
    assert contradicts(20, 100, 0.95, 0.9) and not contradicts(3, 100, 0.95, 0.9)
    assert not contradicts(0, 0, 0.95, 0.9), "nothing came in"
    # Who is mistaken in one of five finds eleven of a hundred wrong where five are.
    assert contradicts(12, 100, 0.95, 0.9) and not contradicts(12, 100, 0.95, 0.9, 0.2)
