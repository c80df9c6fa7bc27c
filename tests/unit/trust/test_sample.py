"""The random sample is what the engine would accept without what the sample itself has taught."""

import numpy as np
import pytest

from lae_tasks.config import Config, RouteConfig
from lae_tasks.contracts import Outcome, Purpose, VerdictAction
from lae_tasks.routing.labelled import Names
from lae_tasks.trust.audit import Precision, measure
from lae_tasks.trust.calibration import fit, probabilities
from lae_tasks.trust.features import FEATURES
from lae_tasks.trust.sample import NOTHING_LEARNED, HeldOut, by_probability, is_random
from tests.records import make_decision, make_region
from tests.unit.stages.test_calibrate import judge

DRAWN, DOUBT, CHECK = Purpose.DRAWN, Purpose.DOUBT, Purpose.CHECK


def route(*rules: object) -> RouteConfig:
    settings = {"score": "token_confidence", "rules": ["unrecognized", *rules]}
    return Config(preset="demo", raw="r", store="s", route=settings).route


@pytest.mark.parametrize(
    ("drawn", "purposes", "random"),
    [
        (True, set(), True),
        (True, {CHECK}, True),
        (True, {DOUBT}, False),
        (False, {DRAWN}, True),
        (False, {DRAWN, DOUBT}, True),
        (False, {DOUBT}, False),
        (False, set(), False),
    ],
)
def test_what_was_drawn_stays_drawn_and_what_was_worth_a_look_is_not(
    drawn: bool, purposes: set[Purpose], random: bool
) -> None:
    assert is_random(drawn, purposes) is random


def test_a_region_counts_by_what_was_said_before_its_verdict_taught_anything() -> None:
    region = make_region()
    accepted = make_decision(region, rule="confident")
    doubtful = make_decision(region, rule="uncertain", outcome=Outcome.REVIEW)
    rules = by_probability(route({"rule": "uncertain", "at": 0.9}))
    low, high = (HeldOut(0.8, {region.region_id: said}) for said in (0.79, 0.8))
    assert (low.accepts(accepted, rules), high.accepts(doubtful, rules)) == (False, True)
    for nothing in (NOTHING_LEARNED, HeldOut(0.8, {"another": 0.1})):
        assert nothing.accepts(accepted, rules) and not nothing.accepts(doubtful, rules)
    # What another rule takes is not up to the probability.
    duplicate = make_decision(region, rule="duplicate", outcome=Outcome.REJECT)
    assert not high.accepts(duplicate, rules)


def test_rules_that_wait_for_a_calibration_go_by_probability() -> None:
    waits = {"rule": "clip_disagrees", "until_calibrated": True}
    config = route({"rule": "uncertain", "at": 0.9}, waits, "seen_in_part")
    assert by_probability(config) == {"confident", "uncertain", "clip_disagrees"}


def one_release(generator: np.random.Generator) -> tuple[Precision, Precision, float] | None:
    """What is stated by the held-out, and by the decisions themselves, and the truth."""
    audited, everything = 400, 3_000
    rows = np.zeros((everything, len(FEATURES)))
    rows[:] = generator.normal(size=rows.shape)  # they tell nothing
    rows[:, 0] = generator.normal(3.0, 2.0, everything)
    right = generator.random(everything) < 1 / (1 + np.exp(-rows[:, 0]))
    names = Names.of([None] * everything)
    learned = np.arange(everything) < audited
    fitted = fit(
        rows[learned],
        Names(names.distinct, names.index[learned]),
        right[learned],
        np.ones(audited, dtype=bool),
        np.arange(audited) // 8,
        night="2026-01-01",
        model_revision="m",
        target_precision=0.9,
        confidence=0.9,
    )
    if fitted is None:
        return None
    calibration, held_out = fitted
    accepted = probabilities(calibration, rows, names) >= calibration.accept_at
    decisions, verdicts, items, probability = [], {}, {}, {}
    for number, is_right in enumerate(right.tolist()):
        region = make_region(region_id=f"r{number}")
        outcome = Outcome.ACCEPT if accepted[number] else Outcome.REVIEW
        decision = make_decision(region, outcome=outcome, rule="confident", calibration="c")
        decisions.append(decision)
        if learned[number]:
            action = VerdictAction.ACCEPT if is_right else VerdictAction.REJECT
            item, verdicts[region.region_id] = judge(region, decision, action)
            items[item.record_id] = item
            probability[region.region_id] = float(held_out[number])
    unseen = [decision for decision in decisions[audited:] if decision.outcome is Outcome.ACCEPT]
    stated = []
    for known in (HeldOut(calibration.accept_at, probability), NOTHING_LEARNED):
        sample = [each for each in decisions[:audited] if known.accepts(each, {"confident"})]
        found, _ = measure(unseen, sample, verdicts, items, str, {})
        assert found
        stated.append(found)
    return stated[0], stated[1], float(right[audited:][accepted[audited:]].mean())


def test_what_the_sample_taught_does_not_make_it_look_better() -> None:
    generator = np.random.default_rng(0)
    releases = [each for each in (one_release(generator) for _ in range(40)) if each]
    assert len(releases) > 30
    truth = np.array([each for _, _, each in releases])
    by_held_out, by_itself = (
        np.array([each[which].precision for each in releases]) for which in (0, 1)
    )
    held = np.mean([each.low <= true <= each.high for each, _, true in releases])
    assert held >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / len(releases))
    assert abs(np.mean(by_held_out - truth)) < 0.01
    assert np.mean(by_itself - truth) > 0.01, "the test would not see the difference"
