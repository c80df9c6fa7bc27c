"""A calibration says what was right as often as it was, and is what scikit-learn fitted."""

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lae_tasks.contracts import Calibration
from lae_tasks.trust.calibration import calibration_error, fit, probabilities
from lae_tasks.trust.features import FEATURES, features
from tests.records import labelled, make_calibration, make_label, make_region


@dataclass
class World:
    """Regions whose first two features tell how likely they are right."""

    rows: np.ndarray
    chance: np.ndarray
    right: np.ndarray
    groups: np.ndarray


def world(seed: int, count: int) -> World:
    generator = np.random.default_rng(seed)
    rows = np.zeros((count, len(FEATURES)))
    rows[:, :4] = generator.normal(size=(count, 4)) * (3, 1, 10, 0.1)
    chance = 1 / (1 + np.exp(-(2.5 + 0.7 * rows[:, 0] - 1.0 * rows[:, 1])))
    return World(rows, chance, generator.random(count) < chance, np.arange(count) // 10)


def fitted(of: World, drawn: np.ndarray | None = None) -> tuple[Calibration, np.ndarray]:
    drawn = np.ones(len(of.right), dtype=bool) if drawn is None else drawn
    found = fit(
        of.rows,
        of.right,
        drawn,
        of.groups,
        night="2026-01-02",
        model_revision="m",
        target_precision=0.95,
        confidence=0.9,
    )
    assert found
    return found


def test_probabilities_are_those_of_the_world_and_of_scikit_learn() -> None:
    seen, unseen = world(0, 3_000), world(1, 3_000)
    calibration, held_out = fitted(seen)
    said = probabilities(calibration, unseen.rows)
    assert np.abs(said - unseen.chance).mean() < 0.02
    assert np.abs(held_out - seen.chance).mean() < 0.02
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(seen.rows, seen.right)
    assert said == pytest.approx(model.predict_proba(unseen.rows)[:, 1], abs=1e-9)
    assert calibration.calibration_error < 0.03
    assert sum(calibration.bins_count) == calibration.drawn == 3_000


def test_what_it_accepts_reaches_the_target() -> None:
    calibration, _ = fitted(world(2, 2_000))
    unseen = world(3, 50_000)
    accepted = probabilities(calibration, unseen.rows) >= calibration.accept_at
    assert unseen.right[accepted].mean() >= 0.95
    assert accepted.mean() > 0.3


def test_only_the_drawn_choose_the_threshold() -> None:
    of = world(4, 2_000)
    chosen = np.arange(2_000) >= 1_000
    # Those that were chosen for a look are mostly wrong; the threshold does not mind.
    spoiled = World(of.rows, of.chance, of.right & ~(chosen & (of.chance < 0.9)), of.groups)
    calibration, held_out = fitted(spoiled, ~chosen)
    above = held_out[:1_000] >= calibration.accept_at
    assert (calibration.above, calibration.drawn) == (above.sum(), 1_000)
    assert calibration.above_right == of.right[:1_000][above].sum()


def test_without_a_threshold_there_is_no_calibration() -> None:
    of = world(4, 500)
    settings = {"night": "2026-01-02", "model_revision": "m", "confidence": 0.9}
    everything = np.ones(500, dtype=bool)
    for target, drawn in ((0.9999, everything), (0.95, np.arange(500) < 50)):
        assert not fit(of.rows, of.right, drawn, of.groups, target_precision=target, **settings)


def test_the_same_verdicts_give_the_same_calibration() -> None:
    once, again = fitted(world(5, 500))[0], fitted(world(5, 500))[0]
    assert once == again
    other = fitted(world(6, 500))[0]
    assert once.calibration_id != other.calibration_id
    assert Calibration.model_validate_json(once.model_dump_json()) == once


def test_another_set_of_features_is_not_mistaken() -> None:
    calibration = make_calibration(features=("a",))
    with pytest.raises(ValueError, match="other features"):
        probabilities(calibration, np.zeros((1, len(FEATURES))))


def test_the_error_is_the_mean_gap() -> None:
    assert calibration_error((0.2, 0.8), (0.4, 0.8), (1, 3)) == pytest.approx(0.05)
    assert calibration_error((), (), ()) == 0.0


def test_features_tell_what_is_missing() -> None:
    labels = [
        make_label("r1", likelihood_said=0.5, token_confidence=1.0, clip_agrees=True),
        make_label("r2", token_confidence=None, clip_agrees=None, clip_score_said=None),
    ]
    regions = [
        make_region(region_id="r1", bbox_xyxy_px=(0, 0, 20, 10), area_px=100),
        make_region(region_id="r2", bbox_xyxy_px=(0, 0, 5, 10), area_px=50, seen_in_part=True),
    ]
    first, second = (
        dict(zip(FEATURES, row, strict=True)) for row in features(labelled(labels, regions))
    )
    assert first["likelihood said (logit)"] == 0
    assert first["token confidence (logit)"] == pytest.approx(np.log(999))
    assert first["aspect (log)"] == pytest.approx(np.log(2))
    assert second["aspect (log)"] == pytest.approx(np.log(2))
    assert (first["share of the box"], second["share of the box"]) == (0.5, 1.0)
    assert (first["CLIP agrees"], first["no CLIP agrees"]) == (1, 0)
    assert (second["CLIP agrees"], second["no CLIP agrees"]) == (0, 1)
    assert second["no token confidence (logit)"] == second["seen in part"] == 1
