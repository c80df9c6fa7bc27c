"""A new calibration decides the nights before it, too."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pyarrow.compute as pc

from lae_tasks.accounts import Manifest
from lae_tasks.contracts import Decision, Outcome
from lae_tasks.night import Night, run_stage
from lae_tasks.routing.inputs import whole_nights
from lae_tasks.stages.calibrate import latest
from lae_tasks.storage import Storage
from lae_tasks.tables import read_columns
from lae_tasks.trust.attempts import retired

#: What decisions on imported names say for a calibration: any decides them alike.
_IMPORTED = "imported"


def route_again(night: Night) -> list[tuple[Manifest, Manifest]]:
    """Routes each night that was not decided by the newest calibration of its models.

    Where that is in force no more, and no other one is, the rules decide what it decided.

    By the present settings, as if the night were run again. A night that runs just now is left
    out: its own route comes after this. Where both route the same night, both commit tables of
    their own names, and the manifest that is written last holds; had that looked for calibrations
    before the newest was there, the next call sees it.

    Args:
        night: Settings and storages; its name does not matter.

    Returns:
        The manifests of route before and after, of each night that was routed.

    Raises:
        LaeError: What route raises; nights that were routed stay so.
    """
    changed: list[tuple[Manifest, Manifest]] = []
    # Few models have made many nights.
    newest = cache(lambda revision: latest(night.store, revision, night.config.route))
    over = retired(night.store)
    for before, inputs in list(whole_nights(night.store)):
        calibration = newest(inputs.model_revision)
        names = _decided_by(night.store, before)
        if (names - {calibration.calibration_id, _IMPORTED}) if calibration else (names & over):
            changed.append((before, run_stage(replace(night, night=before.night), "route")))
    return changed


def accepted(manifests: Sequence[Manifest]) -> int:
    """How many regions nights have accepted, by the counters of route."""
    begin = f"{Outcome.ACCEPT.value} "
    counts = (each.counts.items() for each in manifests)
    return sum(n for counted in counts for name, n in counted if name.startswith(begin))


def as_text(changed: Sequence[tuple[Manifest, Manifest]]) -> str:
    """For people, what came of `route_again`."""
    before, after = ([pair[at] for pair in changed] for at in (0, 1))
    nights = "1 night is" if len(changed) == 1 else f"{len(changed)} nights are"
    return f"{nights} decided anew: {accepted(before)} regions were accepted, {accepted(after)} are"


def _decided_by(store: Storage, route: Manifest) -> set[str]:
    """The calibrations that decided a night."""
    table = read_columns(store, route.outputs[0], Decision, ["calibration"])
    return set(pc.unique(table.column("calibration")).to_pylist())
