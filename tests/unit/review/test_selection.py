from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from lae_tasks.contracts import Decision, Outcome, Purpose, ReviewItem
from lae_tasks.review.selection import (
    NO_CATEGORY,
    Chosen,
    choose,
    looks_at,
    looks_spent,
    rank,
    read_candidates,
    tiles_to_check,
)
from lae_tasks.state import iter_nights
from lae_tasks.storage import LocalStorage
from tests.review_world import commit_night, make_state

NIGHT = "2026-11-22"


def table(*rows: tuple[str, bool, float], named: bool = True) -> pa.Table:
    """Candidates by id, whether they were drawn, and priority; each on a tile of its own."""
    return pa.table(
        {
            "region_id": pa.array([row[0] for row in rows], pa.string()),
            "tile_id": pa.array([f"tile-{row[0]}" for row in rows], pa.string()),
            "night": pa.array([NIGHT] * len(rows), pa.string()),
            "drawn": pa.array([row[1] for row in rows], pa.bool_()),
            "priority": pa.array([row[2] for row in rows], pa.float64()),
            "named": pa.array([named] * len(rows), pa.bool_()),
        }
    )


MANY = [(f"d{n:03d}", True, n / 100) for n in range(100)]
DOUBTS = [("b", False, 0.5), ("c", False, 0.9), ("a", False, 0.5)]


def chosen(
    candidates: pa.Table,
    budget: int | None = None,
    done: tuple[str, ...] = (),
    unshown: dict[str, str] | None = None,
    looks: int = 1,
) -> Chosen:
    return choose(candidates, done, unshown or {}, lambda _: looks, budget)


def ids(found: Chosen) -> list[str]:
    return found.table["region_id"].to_pylist()


def test_the_drawn_come_first_then_what_is_worth_most() -> None:
    found = ids(chosen(table(*DOUBTS, *MANY)))
    assert set(found[:100]) == {row[0] for row in MANY}
    assert found[100:] == ["c", "a", "b"]


def test_the_order_of_the_drawn_is_random_and_the_same_each_time() -> None:
    found = ids(chosen(table(*MANY)))
    assert found == ids(chosen(table(*MANY[::-1]))) != sorted(found)
    upper = sum(int(region_id[1:]) >= 50 for region_id in found[:40])
    assert 8 < upper < 32, "the priority has no say"


@pytest.mark.parametrize(("budget", "count"), [(0, 0), (-3, 0), (2, 2), (3, 3), (9, 3), (None, 3)])
def test_what_is_over_the_budget_waits(budget: int | None, count: int) -> None:
    found = chosen(table(*DOUBTS), budget)
    assert (len(found.table), found.waiting) == (count, 3 - count)


def test_a_region_for_two_stewards_costs_two() -> None:
    found = chosen(table(*MANY), 7, looks=2)
    assert (len(found.table), found.waiting) == (3, 97)


def test_nights_go_on_where_the_one_before_ended_and_nothing_is_asked_twice() -> None:
    candidates, done = table(*DOUBTS, *MANY), []
    for _ in range(12):
        done += ids(chosen(candidates, 9, tuple(done)))
    assert Counter(done) == Counter(row[0] for row in (*DOUBTS, *MANY))
    assert done == ids(chosen(candidates))


def test_what_has_no_name_is_told_of_once_and_costs_nothing() -> None:
    nameless = table(("n", False, 0.9), named=False)
    candidates = pa.concat_tables([table(*DOUBTS), nameless])
    first = chosen(candidates, 3)
    assert (len(first.table), first.waiting) == (3, 0)
    assert first.nameless["region_id"].to_pylist() == ["n"]
    told = chosen(candidates, 3, unshown={"n": NO_CATEGORY})
    assert (len(told.table), len(told.nameless)) == (3, 0)
    assert ids(chosen(table(("n", False, 0.9)), unshown={"n": NO_CATEGORY})) == ["n"]
    assert ids(chosen(table(("n", False, 0.9)), unshown={"n": "no tile"})) == []


def test_about_the_share_of_tiles_gets_two_stewards() -> None:
    twos = sum(looks_at(f"tile-{n}", NIGHT, 0.15) == 2 for n in range(2000))
    assert 230 < twos < 370
    assert {looks_at(f"tile-{n}", NIGHT, 0.0) for n in range(100)} == {1}
    assert {looks_at(f"tile-{n}", NIGHT, 1.0) for n in range(100)} == {2}


def test_checked_boxes_spend_no_look() -> None:
    def item(purpose: Purpose, looks: int) -> ReviewItem:
        return ReviewItem(
            region_id="r", task_key="k", tile_id="t", scene_id="s", window_px=(0, 0, 9, 9),
            category="ship", bbox_xyxy_px=(0, 0, 1, 1), purpose=purpose, looks=looks,
        )  # fmt: skip

    filed = [item(Purpose.DOUBT, 1), item(Purpose.DRAWN, 2), item(Purpose.CHECK, 1)]
    assert looks_spent(filed) == 3


def test_candidates_of_whole_nights_are_read_as_columns(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)
    state = make_state()
    (first, *_) = (i for i, d in state.decisions.items() if d.outcome is Outcome.REVIEW)
    without = state.decisions[first].model_copy(update={"category": None, "candidates": ()})
    state.decisions[first] = without
    commit_night(store, state, NIGHT)
    found = read_candidates(store, iter_nights(store))
    rows = {row["region_id"]: row for row in found.table.to_pylist()}

    def asked(decision: Decision) -> bool:
        return decision.outcome is Outcome.REVIEW or decision.in_audit

    assert set(rows) == {i for i, d in state.decisions.items() if asked(d)}
    assert {i for i, row in rows.items() if not row["named"]} == {first}
    for region_id, row in rows.items():
        decision = state.decisions[region_id]
        assert (row["drawn"], row["priority"], row["tile_id"], row["night"]) == (
            decision.drawn,
            decision.priority,
            decision.tile_id,
            NIGHT,
        )
    named = {n for d in state.decisions.values() for n in (d.category, *d.candidates) if n}
    assert found.names == named


def test_tiles_to_check_are_a_share_at_least_one_and_each_once(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)
    state = make_state()
    (tile,) = state.tiles.values()
    for number in range(59):
        other = tile.model_copy(update={"tile_id": f"{tile.tile_id}-{number}"})
        state.tiles[other.tile_id] = other
    commit_night(store, state, NIGHT)
    (routed,) = iter_nights(store)
    (only,) = tiles_to_check(store, routed, 0.001, [])
    assert only == min(state.tiles, key=rank)
    assert len(tiles_to_check(store, routed, 0.05, [])) == 3
    assert tiles_to_check(store, routed, 0.0, []) == []
    assert tiles_to_check(store, routed, 0.001, [only]) == []
    two = tiles_to_check(store, routed, 0.05, [only])
    assert len(two) == 2 and only not in two
