from lae_tasks.contracts import Outcome, VerdictAction
from lae_tasks.releases.lineage import causes, of_verdict, rejected_by_stewards


def test_the_verdict_that_holds_is_the_cause(world):
    region_id = world.region_ids()[0]
    world.judge(region_id, VerdictAction.REJECT)
    last = world.judge(region_id, VerdictAction.RELABEL, "airplane", day="2026-05-02")
    cause = causes(world.state)(region_id, True)
    assert cause == of_verdict(last)
    assert cause == "relabel by a steward on 2026-05-02 08:00 (verdict verdict-002)"


def test_without_a_verdict_the_rule_is_the_cause(world):
    first, second, third = world.region_ids()[:3]
    world.decide(second, Outcome.REVIEW, "ship")
    world.decide(third, Outcome.REJECT, None)
    told = causes(world.state)
    decision = world.state.decisions[first]
    by = f"rule sure, {decision.confidence:g} by {decision.calibration}"
    assert told(first, True) == by
    assert told(second, False).startswith("review by rule sure, ")
    assert told(third, False).startswith("reject by rule sure, ")


def test_what_is_accepted_and_not_in_has_another_cause(world):
    _, second = world.region_ids()[:2]
    told = causes(world.state)
    assert told(second, False) == "a steward's object takes its place"
    del world.state.regions[second]
    assert told(second, False) == "its region is gone: the night ran again"
    assert told("never there", False) == "its region is gone: the night ran again"


def test_what_a_steward_takes_back_is_not_rejected(world):
    first, second = world.region_ids()[:2]
    for region_id in (first, second):
        world.judge(region_id, VerdictAction.REJECT)
    world.judge(first, VerdictAction.ACCEPT, day="2026-05-02")
    assert rejected_by_stewards(world.state) == {second}
