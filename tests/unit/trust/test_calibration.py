"""A calibration says what was right as often as it was, and is what scikit-learn fitted."""

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lae_tasks.routing.labelled import Names
from lae_tasks.trust.calibration import MIN_OF_CATEGORY, calibration_error, fit, probabilities
from lae_tasks.trust.features import FEATURES, categories_of, features, with_categories
from lae_tasks.trust.records import Calibration
from tests.records import labelled, make_calibration, make_label, make_region


@dataclass
class World:
    """Regions whose first two features tell how likely they are right."""

    rows: np.ndarray
    chance: np.ndarray
    right: np.ndarray
    groups: np.ndarray
    categories: Names


def world(seed: int, count: int) -> World:
    generator = np.random.default_rng(seed)
    rows = np.zeros((count, len(FEATURES)))
    rows[:, :4] = generator.normal(size=(count, 4)) * (3, 1, 10, 0.1)
    chance = 1 / (1 + np.exp(-(4.0 + 0.7 * rows[:, 0] - 1.0 * rows[:, 1])))
    right = generator.random(count) < chance
    return World(rows, chance, right, np.arange(count) // 10, Names.of([None] * count))


def world_of_categories(seed: int, count: int) -> World:
    """Ships are right where they are large, cars where they are small, trees mostly are."""
    generator = np.random.default_rng(seed)
    names = generator.choice(["car", "ship", "tree"], count)
    side = generator.uniform(8, 128, count)
    rows = np.zeros((count, len(FEATURES)))
    rows[:, FEATURES.index("share of the box")] = generator.uniform(0.3, 1, count)
    rows[:, FEATURES.index("area (log px)")] = np.log(
        side**2 * rows[:, FEATURES.index("share of the box")]
    )
    size = np.log(side / 32)
    slope = np.select([names == "car", names == "ship"], [-2.0, 2.0], 0.0)
    chance = 1 / (1 + np.exp(-(slope * size + np.where(names == "tree", 4.0, 2.5))))
    right = generator.random(count) < chance
    return World(rows, chance, right, np.arange(count) // 10, Names.of(names.tolist()))


def fitted(of: World, drawn: np.ndarray | None = None) -> tuple[Calibration, np.ndarray]:
    drawn = np.ones(len(of.right), dtype=bool) if drawn is None else drawn
    found = fit(
        of.rows,
        of.categories,
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
    said = probabilities(calibration, unseen.rows, unseen.categories)
    assert np.abs(said - unseen.chance).mean() < 0.02
    assert np.abs(held_out - seen.chance).mean() < 0.02
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=1000))
    model.fit(seen.rows, seen.right)
    assert said == pytest.approx(model.predict_proba(unseen.rows)[:, 1], abs=1e-9)
    assert calibration.calibration_error < 0.03
    assert sum(calibration.bins_count) == calibration.drawn == 3_000


def test_each_category_is_right_at_its_own_sizes() -> None:
    seen, unseen = world_of_categories(0, 3_000), world_of_categories(1, 3_000)
    calibration, held_out = fitted(seen)
    assert categories_of(calibration.features) == ("car", "ship", "tree")
    assert calibration.features[-2:] == ("category tree: size", "category tree: size²")
    said = probabilities(calibration, unseen.rows, unseen.categories)
    assert np.abs(said - unseen.chance).mean() < 0.03
    assert np.abs(held_out - seen.chance).mean() < 0.03
    # It is the formula of the contract, on columns that are written out here.
    sides = np.exp(unseen.rows[:, FEATURES.index("area (log px)")])
    sides = np.sqrt(sides / unseen.rows[:, FEATURES.index("share of the box")])
    size, columns = np.log(sides / 32), [*unseen.rows.T]
    for name in ("car", "ship", "tree"):
        its = unseen.categories.where(name.__eq__).astype(float)
        columns += [its, its * size, its * size**2]
    standardized = (np.stack(columns, axis=1) - calibration.means) / np.array(calibration.scales)
    logits = standardized @ np.array(calibration.weights) + calibration.intercept
    assert said == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-9)
    # A category of which it has learned nothing is judged by the rest.
    new = Names(("plane",), np.zeros(3_000, dtype=np.int32))
    assert np.isfinite(probabilities(calibration, unseen.rows, new)).all()


def test_a_category_that_was_renamed_keeps_what_was_learned_of_it() -> None:
    seen, unseen = world_of_categories(0, 3_000), world_of_categories(1, 3_000)
    calibration, _ = fitted(seen)
    before = probabilities(calibration, unseen.rows, unseen.categories)
    vessels = unseen.categories.mapped(lambda name: "vessel" if name == "ship" else name)
    vessel = {"ship": "vessel"}
    now = probabilities(calibration, unseen.rows, vessels, lambda name: vessel.get(name, name))
    assert now == pytest.approx(before)
    assert probabilities(calibration, unseen.rows, vessels) != pytest.approx(before, abs=0.1)
    # Of two that are one now, that counts which bore the name before.
    trees = unseen.categories.mapped(lambda name: "tree")
    tree = {"ship": "tree"}
    merged = probabilities(calibration, unseen.rows, trees, lambda name: tree.get(name, name))
    assert merged == pytest.approx(probabilities(calibration, unseen.rows, trees))


def test_a_category_with_few_verdicts_has_no_features_of_its_own() -> None:
    of = world(2, 1_000)
    of.rows[:, FEATURES.index("share of the box")] = 1.0
    few = MIN_OF_CATEGORY - 1
    names: list[str | None] = ["rare"] * few + ["common"] * (MIN_OF_CATEGORY + 1)
    of.categories = Names.of(names + [None] * (1_000 - len(names)))
    calibration, _ = fitted(of)
    assert categories_of(calibration.features) == ("common",)


def test_the_names_of_features_tell_their_categories() -> None:
    for names in ((), ("ship",), ("ship", "ship: size", "category")):
        assert categories_of(with_categories(names)) == names
    assert categories_of(FEATURES[1:]) is None
    assert categories_of((*FEATURES, "category ship")) is None
    assert categories_of((*FEATURES, "a", "b", "c")) is None


def test_what_it_accepts_reaches_the_target() -> None:
    calibration, _ = fitted(world(2, 2_000))
    unseen = world(3, 50_000)
    said = probabilities(calibration, unseen.rows, unseen.categories)
    accepted = said >= calibration.accept_at
    assert unseen.right[accepted].mean() >= 0.95
    assert accepted.mean() > 0.3


def test_only_the_drawn_choose_the_threshold() -> None:
    of = world(4, 2_000)
    chosen = np.arange(2_000) >= 1_000
    # Those that were chosen for a look are mostly wrong; the threshold does not mind.
    right = of.right & ~(chosen & (of.chance < 0.9))
    spoiled = World(of.rows, of.chance, right, of.groups, of.categories)
    calibration, held_out = fitted(spoiled, ~chosen)
    above = held_out[:1_000] >= calibration.accept_at
    assert (calibration.above, calibration.drawn) == (above.sum(), 1_000)
    assert calibration.above_right == of.right[:1_000][above].sum()


def test_without_a_threshold_there_is_no_calibration() -> None:
    of = world(4, 500)
    settings = {"night": "2026-01-02", "model_revision": "m", "confidence": 0.9}
    everything = np.ones(500, dtype=bool)
    for target, drawn in ((0.9999, everything), (0.95, np.arange(500) < 50)):
        assert not fit(
            of.rows,
            of.categories,
            of.right,
            drawn,
            of.groups,
            target_precision=target,
            **settings,
        )


def test_the_same_verdicts_give_the_same_calibration() -> None:
    once, again = fitted(world(5, 500))[0], fitted(world(5, 500))[0]
    assert once == again
    other = fitted(world(6, 500))[0]
    assert once.calibration_id != other.calibration_id
    assert Calibration.model_validate_json(once.model_dump_json()) == once


def test_another_set_of_features_is_not_mistaken() -> None:
    calibration = make_calibration(features=("a",))
    with pytest.raises(ValueError, match="other features"):
        probabilities(calibration, np.zeros((1, len(FEATURES))), Names.of([None]))


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
