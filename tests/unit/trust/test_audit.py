"""The interval holds the true precision as often as it says."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from lae_tasks.contracts import Decision, VerdictAction
from lae_tasks.trust.audit import Audit, measure, wilson
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
