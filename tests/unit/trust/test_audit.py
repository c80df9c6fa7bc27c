"""The interval holds the true precision as often as it says."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from lae_tasks.contracts import Decision, VerdictAction
from lae_tasks.trust.audit import Audit, measure, wilson
from lae_tasks.trust.sample import HeldOut
from tests.records import make_decision, make_region
from tests.unit.stages.test_calibrate import judge


@pytest.mark.parametrize(("right", "count"), [(0, 5), (5, 5), (97, 100), (450, 500)])
def test_the_interval_is_wilsons(right: int, count: int) -> None:
    wanted = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert wilson(right / count, count) == pytest.approx((wanted.low, wanted.high))


#: Of each stratum its objects, the share that is right, and the share that is drawn.
NIGHTS = [
    [("a", 3_000, 0.97, 0.1)],
    [("none", 600, 0.9, 0.15), ("a", 2_000, 0.97, 0.1)],
    [("none", 400, 0.85, 0.3), ("a", 900, 0.96, 0.05), ("b", 1_500, 0.98, 0.1)],
]


@pytest.mark.parametrize("strata", NIGHTS)
def test_it_holds_the_truth_in_at_least_95_of_100_releases(
    strata: list[tuple[str, int, float, float]],
) -> None:
    generator = np.random.default_rng(0)
    held = 0
    releases = 1_000
    for _ in range(releases):
        audit = Audit()
        unseen: list[bool] = []
        for name, size, share, drawn in strata:
            right = generator.random(size) < share
            chosen = generator.random(size) < drawn
            for its in right[chosen]:
                audit.add_audited(name, "night", bool(its))
            for _each in right[~chosen]:
                audit.add_unseen(name, "night")
            unseen += right[~chosen].tolist()
        found = audit.precision()
        assert found and found.unseen == len(unseen)
        held += found.low <= np.mean(unseen) <= found.high
    # 95 %, less three standard deviations of so many trials.
    assert held / releases > 0.95 - 3 * np.sqrt(0.95 * 0.05 / releases)


def test_a_stratum_counts_by_what_nobody_has_looked_at() -> None:
    audit = Audit()
    for _ in range(50):
        audit.add_audited("small", "night", False)
        audit.add_audited("large", "night", True)
    for _ in range(900):
        audit.add_unseen("large", "night")
    for _ in range(100):
        audit.add_unseen("small", "night")
    found = audit.precision()
    assert found and (found.unseen, found.audited, found.right) == (1_000, 100, 50)
    assert found.precision == pytest.approx(0.9)
    assert found.low < 0.9 < found.high


def test_optimism_counts_as_much_as_what_it_is_of() -> None:
    audit = Audit()
    for number in range(100):
        audit.add_audited("large", "night", number < 90, optimism=0.01)
        audit.add_audited("small", "night", number < 90, optimism=0.05)
    for number in range(1_000):
        audit.add_unseen("large" if number < 900 else "small", "night")
    found = audit.precision()
    assert found and found.precision == pytest.approx(0.9 - 0.9 * 0.01 - 0.1 * 0.05)


def test_the_order_of_the_sample_says_nothing() -> None:
    decisions, verdicts, items = [], {}, {}
    held_out = {name: HeldOut(0.5, {}, 0.01 / n) for n, name in enumerate("cde", start=3)}
    for number in range(200):
        region = make_region(region_id=f"r{number}")
        its = make_decision(region, drawn=True, calibration="cde"[number % 3])
        decisions.append(its)
        held_out[its.calibration].probability[its.region_id] = 0.9  # type: ignore[index]
        action = VerdictAction.ACCEPT if number % 9 else VerdictAction.REJECT
        item, verdicts[region.region_id] = judge(region, its, action)
        items[item.record_id] = item
    unseen = [
        make_decision(make_region(region_id=f"u{n}"), calibration="cde"[n % 3]) for n in range(500)
    ]
    said = {
        measure(unseen, sample, verdicts, items, str, {}, held_out=held_out)[0]
        for sample in (decisions, decisions[::-1], decisions[50:] + decisions[:50])
    }
    assert len(said) == 1


def test_what_was_in_doubt_before_the_threshold_sank_does_not_weigh_on_the_rest() -> None:
    """Ten nights; stewards look at a random tenth, and at all that is in doubt until the last.

    Without bands 24 of the 40 intervals hold.
    """
    trials, held, bias = 40, 0, 0.0
    for seed in range(trials):
        generator = np.random.default_rng(seed)
        chance, night = generator.beta(6, 0.6, 2_500).round(4), np.arange(2_500) % 10
        right, drawn = generator.random(2_500) < chance, generator.random(2_500) < 0.1
        unseen = (chance >= 0.965) & ~drawn
        decisions, verdicts, items = {}, {}, {}
        for n in np.flatnonzero(unseen | (drawn & (chance >= 0.9))).tolist():
            region = make_region(region_id=f"{n:04d}", scene_id=str(night[n]))
            decisions[n] = make_decision(region, calibration="c", confidence=chance[n])
            action = VerdictAction.ACCEPT if right[n] else VerdictAction.REJECT
            item, verdicts[region.region_id] = judge(region, decisions[n], action)
            items[item.record_id] = item
        nights = {str(each): str(each) for each in range(10)}
        found, _ = measure(
            [each for n, each in decisions.items() if unseen[n]],
            [each for n, each in decisions.items() if drawn[n]],
            verdicts,
            items,
            str,
            nights,
        )
        truth = float(right[unseen].mean())
        assert found
        held += found.low <= truth <= found.high
        bias += found.precision - truth
    assert held / trials > 0.95 - 3 * np.sqrt(0.95 * 0.05 / trials)
    assert abs(bias / trials) < 0.006


def test_without_a_sample_nothing_is_said() -> None:
    audit = Audit()
    assert audit.precision() is None
    audit.add_unseen("a", "night")
    assert audit.precision() is None
    audit.add_audited("b", "night", True)  # of another stratum: better than nothing
    found = audit.precision()
    assert found and found.precision == 1.0


def test_of_the_sample_those_that_were_looked_at_count() -> None:
    regions = [make_region(region_id=f"r{n}") for n in range(60)]
    decisions: list[Decision] = []
    verdicts, items = {}, {}
    for number, region in enumerate(regions):
        decision = make_decision(region, drawn=True, calibration="c")
        decisions.append(decision)
        action = VerdictAction.REJECT if number % 10 == 0 else VerdictAction.ACCEPT
        item, verdicts[region.region_id] = judge(region, decision, action)
        items[item.record_id] = item
    unseen = [make_decision(make_region(region_id=f"u{n}"), calibration="c") for n in range(500)]
    overall, by_category = measure(unseen, [*decisions, *unseen], verdicts, items, str, {})
    assert overall and (overall.audited, overall.right, overall.unseen) == (60, 54, 500)
    assert by_category == {"ship": overall}
    puzzled, _ = measure(
        unseen, [*decisions, *unseen], verdicts, items, str, {}, undecided=["u1", "r1", "elsewhere"]
    )
    assert puzzled == replace(overall, undecided=1)
    few = {key: verdicts[key] for key in sorted(verdicts)[:3]}
    assert measure(unseen, decisions, few, items, str, {})[1] == {}


def test_rare_names_that_are_all_drawn_say_nothing_of_the_others() -> None:
    decisions: list[Decision] = []
    verdicts, items = {}, {}
    # One of each rare name, all drawn; ninety of a thousand ships.
    names = [f"rare{n}" for n in range(60)] + ["ship"] * 90
    for number, name in enumerate(names):
        region = make_region(region_id=f"r{number}")
        decision = make_decision(region, drawn=True, calibration="c", category=name)
        wrong = (name != "ship" and number % 2) or number == 100
        action = VerdictAction.REJECT if wrong else VerdictAction.ACCEPT
        item, verdicts[region.region_id] = judge(region, decision, action)
        items[item.record_id] = item
        decisions.append(decision)
    unseen = [make_decision(make_region(region_id=f"u{n}"), calibration="c") for n in range(910)]
    overall, _ = measure(unseen, [*decisions, *unseen], verdicts, items, str, {})
    assert overall and overall.precision == pytest.approx(89 / 90)
