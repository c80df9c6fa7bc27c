"""Where an annotation comes from: which verdict or rule made it what it is."""

from collections.abc import Callable

from lae_tasks.contracts import Outcome, Verdict, VerdictAction
from lae_tasks.review.verdicts import fold_verdicts
from lae_tasks.state import State


def causes(state: State) -> Callable[[str, bool], str]:
    """Says of a region, and whether it is in a release, what makes it so.

    Args:
        state: What the release was made of.
    """
    held = fold_verdicts(state.verdicts.values())

    def cause(region_id: str, is_in: bool) -> str:
        verdict, decision = held.get(region_id), state.decisions.get(region_id)
        if verdict:
            return of_verdict(verdict)
        if decision is None or region_id not in state.regions:
            return "its region is gone: the night ran again"
        by = f"rule {decision.rule}, {decision.confidence:g} by {decision.calibration}"
        if decision.outcome is Outcome.ACCEPT and not is_in:
            return "a steward's object takes its place"
        return by if decision.outcome is Outcome.ACCEPT else f"{decision.outcome} by {by}"

    return cause


def rejected_by_stewards(state: State) -> set[str]:
    """Ids of the regions that stewards reject."""
    held = fold_verdicts(state.verdicts.values())
    return {key for key, said in held.items() if said.action is VerdictAction.REJECT}


def of_verdict(verdict: Verdict) -> str:
    """A verdict in a few words; not whose: releases may be public. `lae why` tells."""
    when = verdict.decided_at[:16].replace("T", " ")
    return f"{verdict.action} by a steward on {when} (verdict {verdict.verdict_id})"
