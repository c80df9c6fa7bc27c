"""A new calibration decides all nights of its models, once."""

from pathlib import Path

import pytest

from lae_tasks.contracts import Decision, Merge
from lae_tasks.night import Night, labelled, run_stage
from lae_tasks.routing.again import accepted, as_text, route_again
from lae_tasks.routing.inputs import route_inputs
from lae_tasks.runner import Columns, Work, read_manifest, run_columns
from lae_tasks.stages import route
from lae_tasks.stages.calibrate import calibrate
from lae_tasks.state import load_state
from lae_tasks.storage import LocalStorage, Storage
from tests.unit.stages.test_calibrate import a_night, make_up, review

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return LocalStorage(tmp_path / "store")


def made_up(store: Storage) -> list[Night]:
    """Three nights, the first by other models; the last one is reviewed."""
    nights = [a_night(store, day) for day in DAYS]
    for number, night in enumerate(nights):
        make_up(night, number, "m1" if number else "m0")
        run_stage(night, "route")
    review(nights[2], 2)
    return nights


def decided_by(store: Storage, night: str) -> set[str]:
    return {d.calibration for d in load_state(store, night).decisions.values()}


def test_nights_of_the_same_models_are_decided_anew_once(store: Storage) -> None:
    nights = made_up(store)
    assert route_again(nights[0]) == []  # there is no calibration
    found = calibrate(store, nights[0].config, DAYS[1]).calibration
    assert found
    old = {day: read_manifest(store, "route", day, "all") for day in DAYS}
    changed = route_again(nights[0])
    assert [before for before, _ in changed] == [old[DAYS[1]], old[DAYS[2]]]
    assert [decided_by(store, day) for day in DAYS] == [
        {"none:token_confidence"},
        {found.calibration_id},
        {found.calibration_id},
    ]
    state = load_state(store)
    now = {d: read_manifest(store, "route", d, "all") for d in DAYS}
    assert accepted([m for m in now.values() if m]) == sum(
        d.outcome == "accept" for d in state.decisions.values()
    )
    counts = [accepted([pair[at] for pair in changed]) for at in (0, 1)]
    assert counts[0] != counts[1]
    assert as_text(changed) == (
        f"2 nights are decided anew: {counts[0]} regions were accepted, {counts[1]} are"
    )
    keys = {info.key for info in store.list()}
    assert route_again(nights[0]) == []
    assert {info.key for info in store.list()} == keys


def test_a_night_that_is_not_whole_is_left_to_its_own_route(store: Storage) -> None:
    nights = made_up(store)
    assert calibrate(store, nights[0].config, DAYS[2]).calibration
    store.delete(f"runs/classify/{DAYS[1]}/0000.json")
    assert [after.night for _, after in route_again(nights[0])] == [DAYS[2]]
    assert decided_by(store, DAYS[2]) != {"none:token_confidence"}


def test_two_routes_of_a_night_at_the_same_time_do_no_harm(store: Storage) -> None:
    nights = made_up(store)
    night, inputs = nights[2], route_inputs(store, DAYS[2])
    found = calibrate(store, night.config, DAYS[2]).calibration
    assert found
    changed = []

    def slow() -> Columns:
        """A route that read the calibrations before there was the newest, and ends after it."""
        changed.extend(route_again(night))
        other = night.config.route.model_copy(update={"audit_share": 1.0})
        rows, _ = labelled(night)
        return route.run(rows, None, night.config.vocabulary, other)

    work = Work("route", DAYS[2], "all", (Decision, Merge), "other", inputs.digests)
    late = run_columns(store, work, slow)
    assert len(changed) == 2
    # What was written last holds, whole, and nothing else is named by a manifest.
    assert read_manifest(store, "route", DAYS[2], "all") == late
    assert decided_by(store, DAYS[2]) == {"none:token_confidence"}
    assert [after.night for _, after in route_again(night)] == [DAYS[2]]
    assert decided_by(store, DAYS[2]) == {found.calibration_id}
    tables = {i.key for i in store.list(f"runs/route/{DAYS[2]}/") if i.key.endswith(".parquet")}
    held = read_manifest(store, "route", DAYS[2], "all")
    assert held and tables == {output.key for output in held.outputs}
