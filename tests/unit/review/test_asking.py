import pyarrow as pa
import pyarrow.compute as pc

from lae_tasks.accounts import Done, Rejection
from lae_tasks.contracts import Outcome, Purpose, ReviewItem, TileCheck
from lae_tasks.review.asking import new_records
from lae_tasks.review.selection import NO_CATEGORY, Chosen
from lae_tasks.state import State
from tests.review_world import make_state

NIGHT = "2026-11-22"


def chosen(state: State, *nameless: str) -> Chosen:
    rows = [
        {"night": NIGHT, "region_id": d.region_id, "tile_id": d.tile_id}
        for d in state.decisions.values()
        if d.in_audit or d.outcome is Outcome.REVIEW
    ]
    names = ("night", "region_id", "tile_id")
    table = pa.table({name: [row[name] for row in rows] for name in names})
    out = pc.is_in(table["region_id"], pa.array(nameless, pa.string()))
    return Chosen(table.filter(pc.invert(out)), table.filter(out), 0)


def records(results: list[Done | Rejection], kind: type) -> list:
    outputs = [record for each in results if isinstance(each, Done) for record in each.outputs]
    return [record for record in outputs if isinstance(record, kind)]


def test_a_tile_has_a_task_of_what_was_drawn_and_one_of_the_others() -> None:
    state = make_state()
    results = new_records(chosen(state), {}, lambda _: 2, lambda _: state)
    items = records(results, ReviewItem)
    drawn = {i for i, decision in state.decisions.items() if decision.drawn}
    tasks = {(item.task_key, item.purpose, item.looks) for item in items}
    assert {(purpose, looks) for _, purpose, looks in tasks} == {
        (Purpose.DOUBT, 1),
        (Purpose.DRAWN, 2),
    }
    assert len(tasks) == 2
    assert {i.region_id for i in items if i.purpose is Purpose.DRAWN} == drawn
    looks = sum(each.counts["looks"] for each in results if isinstance(each, Done))
    assert looks == sum(item.looks for item in items) == len(items) + len(drawn)


def test_each_region_and_tile_is_accounted_for() -> None:
    state = make_state()
    (tile_id,) = state.tiles
    one, other = sorted(d.region_id for d in state.decisions.values() if d.in_audit)[:2]
    del state.regions[other]
    results = new_records(chosen(state, one), {NIGHT: [tile_id]}, lambda _: 1, lambda _: state)
    rejections = {r.rejected_id: r.reason for r in results if isinstance(r, Rejection)}
    assert rejections == {one: NO_CATEGORY, other: "no region"}
    (check,) = records(results, TileCheck)
    in_check = [item for item in records(results, ReviewItem) if item.task_key == check.task_key]
    assert {item.purpose for item in in_check} == {Purpose.CHECK}
    assert {item.region_id for item in in_check} == set(state.regions)
    ids = [each.record_id for each in results if isinstance(each, Done)]
    to_ask = len(chosen(state).table)
    assert len(ids) == len(set(ids)) == to_ask - 2 + 1
