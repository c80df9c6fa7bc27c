"""Route: what is drawn at random, what a look is worth, and what a calibration accepts."""

from collections import Counter
from typing import Any

import pytest

from lae_tasks.contracts import Label
from lae_tasks.trust.features import FEATURES
from lae_tasks.trust.records import Calibration
from tests.records import make_calibration, make_label
from tests.unit.stages.test_route import decide, region


def test_a_sample_of_each_category_and_of_what_is_in_doubt_is_drawn_the_same_way_each_time() -> (
    None
):
    sizes = {"ship": 200, "barge": 150, "buoy": 3}
    named = [(name, f"{name}{i}") for name, size in sizes.items() for i in range(size)]
    labels = [make_label(key, category_said=name) for name, key in named]
    labels += [make_label(f"doubt{i}", token_confidence=0.5) for i in range(40)]
    labels += [make_label(f"wrong{i}", token_confidence=0.1) for i in range(40)]
    regions = [
        region(label.region_id, bbox_xyxy_px=(i, i % 7, i + 1, i % 7 + 1))
        for i, label in enumerate(labels)
    ]

    def drawn(rows: list[Label], **values: Any) -> set[str]:
        return {k for k, v in decide(rows, regions, **values).items() if v.drawn}

    first = drawn(labels, audit_share=0.1)
    counts = Counter(key.rstrip("0123456789") for key in first)
    assert counts == {"ship": 20, "barge": 15, "buoy": 1, "doubt": 4}
    assert drawn(labels[::-1], audit_share=0.1) == first
    assert drawn(labels, audit_share=0.1, audit_seed=1) != first
    assert drawn(labels, audit_share=0.0) == set()
    assert drawn(labels, audit_share=0.05, learn_share=0.1) == first  # there is no calibration
    assert len(drawn(labels, audit_share=1.0)) == 393
    audit = [v for v in decide(labels, regions, audit_share=0.1).values() if v.in_audit]
    assert {v.region_id for v in audit} == {key for key in first if not key.startswith("doubt")}


def test_a_look_is_worth_most_where_it_is_likely_to_change_the_release() -> None:
    labels = [
        *(make_label(f"sure{i}", token_confidence=0.99) for i in range(30)),
        make_label("likely", token_confidence=0.8),  # in doubt: it would enter
        make_label("unlikely", token_confidence=0.35),
        make_label("weaker", token_confidence=0.91),  # accepted: it would leave
        make_label("rare", category_said="buoy", token_confidence=0.99),
        make_label("contested", token_confidence=0.99, clip_agrees=False),
    ]
    regions = [
        region(label.region_id, bbox_xyxy_px=(20 * i, 0, 20 * i + 10, 10))
        for i, label in enumerate(labels)
    ]
    found = decide(labels, regions)
    ranks = sorted(found, key=lambda key: -found[key].priority)
    assert ranks[:5] == ["likely", "unlikely", "rare", "contested", "weaker"]
    assert found["weaker"].priority - found["sure0"].priority == pytest.approx(0.7 * 0.08)
    new = decide(labels, regions, ["ship"])
    assert new["rare"].priority > found["rare"].priority


def made_up(accept_at: float) -> Calibration:
    """Which looks at nothing but the token confidence, and takes it as it is."""
    weights = [0.0] * len(FEATURES)
    weights[FEATURES.index("token confidence (logit)")] = 1.0
    zeros, ones = (0.0,) * len(FEATURES), (1.0,) * len(FEATURES)
    return make_calibration(weights=tuple(weights), means=zeros, scales=ones, accept_at=accept_at)


def test_a_calibration_decides_from_which_probability_on_regions_are_accepted() -> None:
    shares = {"r1": 0.55, "r2": 0.65, "r3": 0.97}
    labels = [make_label(key, token_confidence=share) for key, share in shares.items()]
    labels.append(make_label("r4", token_confidence=None))
    regions = [
        region(key, bbox_xyxy_px=(20 * i, 0, 20 * i + 10, 10))
        for i, key in enumerate((*shares, "r4"))
    ]
    regions.append(region("r5", bbox_xyxy_px=(200, 0, 210, 10), prompt_category="ship"))
    labels.append(make_label("r5", token_confidence=None))
    rules = ["unrecognized", "imported", "uncertain"]

    def outcomes(calibration: Calibration | None) -> dict[str, str]:
        found = decide(labels, regions, rules=rules, calibration=calibration)
        names = {v.calibration for v in found.values()}
        assert names == {
            calibration.calibration_id if calibration else "none:token_confidence",
            "imported",
        }
        return {key: v.outcome.value for key, v in found.items()}

    assert outcomes(made_up(0.6)) == {
        "r1": "review",
        "r2": "accept",
        "r3": "accept",
        "r4": "review",
        "r5": "accept",
    }
    # Too few verdicts: the paper's rule.
    assert [outcomes(None)[key] for key in ("r2", "r3")] == ["review", "accept"]
