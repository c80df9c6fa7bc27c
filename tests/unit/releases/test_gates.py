"""What a release must reach, and that each refusal says why and what to do."""

from dataclasses import replace
from typing import Any

import pytest

from lae_tasks.config import Config
from lae_tasks.releases.gates import Gate, class_shift, make_gates
from lae_tasks.releases.manifest import (
    AgreementEntry,
    CategoryEntry,
    DriftBaseline,
    PrecisionEntry,
    ReleaseManifest,
    WholeEntry,
)
from lae_tasks.releases.statement import Statement
from lae_tasks.trust.audit import Precision


def gate(
    name: str,
    statement: Statement | None = None,
    mixes: tuple[dict[str, int], dict[str, int]] | None = None,
    parent: ReleaseManifest | None = None,
    target: float = 0.95,
    **settings: Any,
) -> Gate:
    config = settings_with(target, **settings)
    every = make_gates(config, statement or Statement(), mixes, parent)
    return next(each for each in every if each.name == name)


def settings_with(target: float, **release: Any) -> Config:
    return Config(
        preset="demo", raw="raw", store="store", route={"target_precision": target}, release=release
    )


def passes(each: Gate) -> bool:
    return each.passes


def a_parent(objects: dict[str, int], low: float = 0.95) -> ReleaseManifest:
    """As a release of another time, that knew less: only what every manifest has."""
    stated = PrecisionEntry(
        category=None,
        unseen=900,
        audited=300,
        right=291,
        precision=0.97,
        low=low,
        high=0.985,
        confidence=0.95,
    )
    return ReleaseManifest(
        version="v1.0.0",
        digest="d",
        dataset="lae",
        title="t",
        licence="l",
        parent=None,
        created_at="2026-01-01T00:00:00+00:00",
        reason="the first release",
        counts={},
        left_out={},
        categories=tuple(
            CategoryEntry(category_id=number, name=name, objects=count, annotations=count)
            for number, (name, count) in enumerate(objects.items(), start=1)
        ),
        next_category_id=9,
        vocabulary=(),
        nights=(),
        config_sha256={},
        model_revisions={},
        precision=(stated,),
        diff={},
        validation_key="",
        files=(),
    )


def whole(low: float) -> Statement:
    entry = WholeEntry(
        objects=900,
        seen=100,
        seen_precision=1.0,
        precision=min(1.0, low + 0.02),
        low=low,
        high=1.0,
        confidence=0.95,
    )
    return Statement(whole=entry, steward_error=0.05)


def test_as_set_only_shifts_and_drift_are_asked_for() -> None:
    every = make_gates(settings_with(0.95), Statement(), None, None)
    assert all(passes(each) for each in every)
    assert [each.name for each in every if "not asked for" in each.says] == [
        "precision_low",
        "agreement",
    ]


def test_a_minimum_of_precision() -> None:
    assert passes(gate("precision_low", whole(0.95), min_precision_low=0.95))
    refused = gate("precision_low", whole(0.94), min_precision_low=0.95)
    assert not passes(refused)
    assert "0.960 (0.940 to 1.000)" in refused.says and "release.min_precision_low" in refused.says
    untold = gate("precision_low", replace(whole(1.0), steward_error=None), min_precision_low=0.9)
    assert not passes(untold), "stewards who are never looked over are not taken at their word"
    assert "100 of 900 objects are as right as the stewards" in untold.says
    unmeasured = gate("precision_low", min_precision_low=0.95)
    assert not passes(unmeasured) and "not measured yet" in unmeasured.says


def agreed(regions: int, alpha: float | None) -> Statement:
    return Statement(agreement=AgreementEntry(regions=regions, differ=9, open=2, alpha=alpha))


def test_a_minimum_of_agreement() -> None:
    assert passes(gate("agreement", agreed(30, 0.8), min_agreement=0.8))
    refused = gate("agreement", agreed(30, 0.7), min_agreement=0.8)
    assert not passes(refused)
    assert "alpha is 0.700 over 30 regions" in refused.says and "differ on 9" in refused.says
    for few in (agreed(29, 0.1), agreed(40, None), Statement()):
        note = gate("agreement", few, min_agreement=0.8)
        assert passes(note) and "not checked" in note.says


def test_a_shift_of_the_mix() -> None:
    parent = a_parent({"ship": 900, "car": 100})  # it has been decided anew since
    old = {"ship": 500, "car": 500}
    assert passes(gate("class_shift", mixes=(old, {"ship": 140, "car": 100}), parent=parent))
    refused = gate("class_shift", mixes=(old, {"ship": 20, "car": 220}), parent=parent)
    assert not passes(refused)
    assert "'ship' (0.500 to 0.083)" in refused.says and "max_class_shift" in refused.says
    for few in ({"car": 199}, {}):
        assert "it takes 200" in gate("class_shift", mixes=(old, few), parent=parent).says
    nothing = gate("class_shift", parent=parent)
    assert passes(nothing) and nothing.says == "not checked: no scene is new since v1.0.0"
    assert "there is no parent" in gate("class_shift", mixes=(old, {"car": 999})).says
    off = gate("class_shift", mixes=(old, {"car": 999}), parent=parent, max_class_shift=None)
    assert passes(off)


def test_chance_alone_is_no_shift() -> None:
    """A hundred rare names: two samples of one mix differ by a quarter without any shift."""
    import numpy as np

    generator = np.random.default_rng(0)
    names = [f"name {number}" for number in range(100)]
    for _ in range(50):
        mixes = [generator.multinomial(200, [0.01] * 100) for _ in range(2)]
        one, other = (dict(zip(names, mix.tolist(), strict=True)) for mix in mixes)
        assert class_shift(one, other) < 0.1
    assert class_shift({"a": 300}, {"b": 300}) == pytest.approx(0.97, abs=0.02)


@pytest.mark.parametrize(("high", "wanted"), [(0.951, True), (0.949, False)])
@pytest.mark.parametrize(("low", "target"), [(0.95, 0.97), (0.97, 0.95)])
def test_drift_is_below_what_the_parent_states_and_below_the_target_beyond_chance(
    high: float, wanted: bool, low: float, target: float
) -> None:
    found = Statement(fresh=Precision(900, 60, 48, 0.88, 0.8, high))
    parent = a_parent({}, low)
    each = gate("drift", found, parent=parent, target=target)
    assert passes(each) == wanted
    assert "48 of 60" in each.says and f"v1.0.0 states 0.970 ({low:.3f} to 0.985)" in each.says
    assert f"route.target_precision asks for {target:g}" in each.says
    assert passes(gate("drift", found, parent=parent, target=target, refuse_drift=False))


def test_few_looks_are_no_drift() -> None:
    for fresh in (None, Precision(900, 29, 1, 0.03, 0.0, 0.2)):
        each = gate("drift", Statement(fresh=fresh), parent=a_parent({}))
        assert passes(each) and "it takes 30" in each.says
    worse = Statement(fresh=Precision(900, 30, 1, 0.03, 0.0, 0.2))
    assert not passes(gate("drift", worse, parent=a_parent({})))


def test_what_the_parent_was_compared_with_is_carried_on() -> None:
    earlier = DriftBaseline(version="v0.9.0", precision=0.9, low=0.85, high=0.93, known_until="x")
    parent = a_parent({}).model_copy(update={"drift_baseline": earlier})
    found = Statement(fresh=Precision(900, 60, 53, 0.88, 0.8, 0.9))
    assert not passes(gate("drift", found, parent=a_parent({})))
    each = gate("drift", found, parent=parent)
    assert passes(each) and "v0.9.0 states 0.900 (0.850 to 0.930)" in each.says


def test_an_older_manifest_is_read() -> None:
    old = a_parent({"ship": 3}).model_dump(
        mode="json",
        exclude={
            *("whole", "recall", "agreement", "steward_error", "reliability"),
            "drift_baseline",
        },
    )
    assert ReleaseManifest.model_validate(old).whole is None


def test_objects_of_the_parent_that_are_gone() -> None:
    parent = a_parent({}).model_copy(update={"counts": {"objects": 100}})

    def removed(count: int, **settings: Any) -> Gate:
        config = settings_with(0.95, **settings)
        every = make_gates(config, Statement(), None, parent, removed=count)
        return next(each for each in every if each.name == "removed")

    assert passes(removed(50)) and not passes(removed(51))
    assert "51 of 100 objects of v1.0.0 are gone" in removed(51).says
    assert passes(removed(51, max_removed=None))
    assert removed(51, only_warn=["removed"]).only_warns and not removed(51).only_warns
