"""Whether the engine has become worse: what is looked at now, beside what was stated before.

One release after another brings few looks. So they are gathered over releases, beside what one of
them stated, and replace it only when they are many. Simulated with 5 and with 20 looks a release:
where nothing changes, 2 to 4 of 100 series of 400 looks are refused once; where the precision falls
from 0.96 to 0.88, 77 to 81 of 100 are, within 200 looks.
"""

from datetime import datetime

from lae_tasks.releases.manifest import DriftBaseline, ReleaseManifest
from lae_tasks.releases.statement import Statement
from lae_tasks.state import State

#: Before so many objects were drawn and looked at, one that is wrong would say too much.
FEWEST = 30
#: Then the release that they were tested for takes the place of the one they were compared with.
_MANY = 200


def baseline_of(parent: ReleaseManifest | None) -> DriftBaseline | None:
    """What the child of a release is compared with; None if nothing was stated yet."""
    if parent is None or parent.drift_baseline:
        return parent.drift_baseline if parent else None
    stated = next((each for each in parent.precision if each.category is None), None)
    if stated is None:
        return None
    # A manifest of an older engine does not say which looks it knew.
    return DriftBaseline(
        version=parent.version,
        precision=stated.precision,
        low=stated.low,
        high=stated.high,
        known_until=parent.created_at,
    )


def fresh_regions(parent: ReleaseManifest | None, state: State) -> set[str]:
    """Regions that nobody had looked at when the baseline was stated."""
    baseline = baseline_of(parent)
    if baseline is None:
        return set(state.decisions)
    until = datetime.fromisoformat(baseline.known_until)
    return state.decisions.keys() - {
        verdict.region_id
        for verdict in state.verdicts.values()
        if datetime.fromisoformat(verdict.decided_at) <= until
    }


def next_baseline(
    version: str, parent: ReleaseManifest | None, statement: Statement, state: State
) -> DriftBaseline | None:
    """What the children of a release are compared with."""
    before, fresh = baseline_of(parent), statement.fresh
    if before and (fresh is None or fresh.audited < _MANY):
        return before
    stated = next((each for each in statement.precision if each.category is None), None)
    if stated is None:
        return before
    # The newest look by the clock of those who look: collect goes by it, too, so what was decided
    # before it is in, and what is in of later comes.
    newest = max((v.decided_at for v in state.verdicts.values()), key=datetime.fromisoformat)
    return DriftBaseline(
        version=version,
        precision=stated.precision,
        low=stated.low,
        high=stated.high,
        known_until=newest,
    )
