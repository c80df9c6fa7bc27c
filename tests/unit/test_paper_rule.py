"""What the engine is compared with in `benchmarks/review_loop.py`."""

from pathlib import Path

import pytest

from benchmarks.paper_rule import Arm, by_chance, by_likelihood, paper_route, reviewed
from benchmarks.quarter import Quarter, Thing, said_by
from benchmarks.simulated_stewards import SimulatedDesk, Steward
from lae_tasks.config import Config
from lae_tasks.contracts import Decision, Outcome
from lae_tasks.naming.vocabulary import OPEN
from lae_tasks.releases.assemble import assemble
from lae_tasks.routing.rules import ScoreName
from lae_tasks.stages import route
from lae_tasks.state import State
from tests.records import (
    labelled,
    make_decision,
    make_label,
    make_region,
    make_scene,
    make_tile,
)

CONFIG = Config(preset="default", raw="raw", store="store")
SHIP = Thing("ship", (10, 10, 50, 50))


def _two_parts_of_a_ship() -> State:
    """Its upper and its lower part, each accepted: neither is right, nor are they duplicates."""
    tile = make_tile(tile_id="t1")
    state = State(scenes={"s1": make_scene()}, tiles={"t1": tile})
    for name, box in {"upper": (10, 10, 50, 27), "lower": (10, 33, 50, 50)}.items():
        region = make_region(region_id=name, bbox_xyxy_px=box)
        state.regions[name] = region
        state.decisions[name] = make_decision(region)
    return state


def test_a_thing_that_two_boxes_were_put_right_to_counts_once() -> None:
    state = _two_parts_of_a_ship()
    desk = SimulatedDesk([Steward("anna", error=0.0)], {"a.tif": [SHIP]})
    after = reviewed(state, list(state.decisions.values()), CONFIG, desk, "2026-08-01")
    assert [verdict.bbox_xyxy_px for verdict in after.verdicts.values()] == [(10, 10, 50, 50)] * 2
    (said,) = said_by(assemble(after, CONFIG))
    assert (said.raw_key, said.category, said.bbox_xyxy_px) == ("a.tif", "ship", (10, 10, 50, 50))
    assert desk.looks == 2


def test_what_nobody_looks_at_stays_as_the_rule_has_it() -> None:
    state = _two_parts_of_a_ship()
    desk = SimulatedDesk([Steward("anna", error=0.0)], {"a.tif": [SHIP]})
    after = reviewed(state, [], CONFIG, desk, "2026-08-01")
    assert len(said_by(assemble(after, CONFIG))) == 2
    assert desk.looks == 0


def _decisions() -> list[Decision]:
    told = {
        "sure": (0.99, Outcome.ACCEPT, "confident"),
        "close": (0.91, Outcome.ACCEPT, "confident"),
        "unlikely": (0.4, Outcome.REJECT, "likelihood_below"),
        "nameless": (0.0, Outcome.REJECT, "unrecognized"),
    }
    return [
        make_decision(make_region(region_id=name), confidence=score, outcome=outcome, rule=rule)
        for name, (score, outcome, rule) in told.items()
    ]


@pytest.mark.parametrize(
    ("accepted_only", "expected"),
    [(True, ["close", "sure"]), (False, ["unlikely", "close", "sure"])],
)
def test_the_least_likely_first_and_nothing_without_a_name(
    accepted_only: bool, expected: list[str]
) -> None:
    arm = Arm("any", by_likelihood, "likelihood_said", accepted_only)
    assert [each.region_id for each in arm.chosen(_decisions(), 10)] == expected
    assert [each.region_id for each in arm.chosen(_decisions(), 1)] == expected[:1]


def test_without_an_order_nobody_looks() -> None:
    assert Arm("any", None, "likelihood_said").chosen(_decisions(), 10) == []
    assert len(Arm("any", by_chance, "likelihood_said").chosen(_decisions(), 10)) == 2


@pytest.mark.parametrize(
    ("score", "accepted"), [("likelihood_said", "said"), ("token_confidence", "tokens")]
)
def test_the_rule_goes_by_its_likelihood_alone(score: ScoreName, accepted: str) -> None:
    regions = [
        make_region(region_id="said"),
        make_region(region_id="tokens", bbox_xyxy_px=(20, 20, 30, 30)),
    ]
    labels = [
        make_label("said", likelihood_said=0.98, token_confidence=0.5),
        make_label("tokens", likelihood_said=0.5, token_confidence=0.98),
    ]
    made = route.run(labelled(labels, regions), None, OPEN, paper_route(score))
    decisions = [Decision.model_validate(row) for row in made.tables[0].to_pylist()]
    found = {each.region_id: (each.outcome, each.confidence) for each in decisions}
    other = ({"said", "tokens"} - {accepted}).pop()
    assert found == {accepted: (Outcome.ACCEPT, 0.98), other: (Outcome.REJECT, 0.5)}


def test_nights_are_scored_every_fifth_and_at_the_end() -> None:
    assert Quarter(Path(), 3, 8).scored == ["2026-08-03"]
    assert Quarter(Path(), 11, 8).scored == ["2026-08-05", "2026-08-10", "2026-08-11"]
