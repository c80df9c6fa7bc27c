import pytest

from lae_tasks.contracts import Purpose, TileCheck, Verdict, VerdictAction
from lae_tasks.review.lost import lost_tasks
from lae_tasks.state import State
from tests.unit.review.test_second_looks import item as make_item
from tests.unit.review.test_second_looks import says

ACCEPT, _, _, REJECT, _, CHECK, UNDECIDED, WITHDRAW = VerdictAction


def reviews(
    tasks: dict[str, str], checks: dict[str, str], *verdicts: Verdict, **values: object
) -> State:
    """What was filed, in its order.

    Args:
        tasks: By key the regions, a letter each.
        checks: By key of a task that checks a tile, the tile.
        verdicts: What came back.
        values: What else the items are.
    """
    state = State()
    for key, regions in tasks.items():
        for region_id in regions:
            purpose = Purpose.CHECK if key in checks else Purpose.DOUBT
            item = make_item(region_id, **{"task_key": key, "purpose": purpose} | values)
            state.review_items[item.record_id] = item
    for key, tile_id in checks.items():
        state.tile_checks[key] = TileCheck(
            task_key=key, tile_id=tile_id, scene_id="s", window_px=(0, 0, 100, 100)
        )
    state.verdicts.update((verdict.verdict_id, verdict) for verdict in verdicts)
    return state


def lost(state: State, *there: str) -> dict[str, str]:
    """By key of each task that is to be sent, its regions."""
    items, checks = lost_tasks(state, set(there), str)
    found = {check.task_key: "" for check in checks}
    for item in items:
        found[item.task_key] = found.get(item.task_key, "") + item.region_id
    assert not found.keys() & set(there)
    return found


def says_of(
    region_id: str, key: str, action: VerdictAction = ACCEPT, hour: int = 5, who: str = "ada"
) -> Verdict:
    at = f"2026-11-23T{hour:02d}:00:00.000000+00:00"
    verdict_id = f"{key}-{region_id}-{hour}-{who}"
    return says(
        who, action, region_id=region_id, task_key=key, decided_at=at, verdict_id=verdict_id
    )


def test_what_is_not_there_is_lost() -> None:
    state = reviews({"k": "ab", "l": "c"}, {})
    assert lost(state) == {"k": "ab", "l": "c"}
    assert lost(state, "k", "of somebody else") == {"l": "c"}
    assert lost(state, "k", "l") == {}


def test_a_task_that_has_had_its_look_is_not_sent_again_until_that_is_taken_back() -> None:
    tasks = {"k": "ab", "l": "c"}
    said = says_of("a", "k")
    assert lost(reviews(tasks, {}, said)) == {"l": "c"}, "b was gone when a was decided"
    taken_back = says_of("a", "k", WITHDRAW, hour=6)
    assert lost(reviews(tasks, {}, said, taken_back)) == {"k": "ab", "l": "c"}


def test_what_was_left_undecided_is_asked_again() -> None:
    said = says_of("a", "k"), says_of("b", "k", UNDECIDED)
    tasks = {"k": "ab", "l": "c"}
    assert lost(reviews(tasks, {}, *said)) == {"k": "ab", "l": "c"}
    assert lost(reviews(tasks, {}, *said, says_of("b", "k", who="bob"))) == {"l": "c"}
    nobody_can = [says_of("b", "k", UNDECIDED, who=who) for who in ("bob", "eve")]
    assert lost(reviews(tasks, {}, *said, *nobody_can)) == {"l": "c"}, "three are enough"


def test_a_second_look_that_was_planned_or_called_for_is_still_asked_for() -> None:
    tasks, said = {"k": "ab"}, (says_of("a", "k"), says_of("b", "k"))
    second = says_of("a", "k", who="bob"), says_of("b", "k", who="bob")
    assert lost(reviews(tasks, {}, *said, looks=2)) == {"k": "ab"}
    assert lost(reviews(tasks, {}, *said, *second, looks=2)) == {}
    contradicts = says_of("a", "k", REJECT), says_of("b", "k")
    assert lost(reviews(tasks, {}, *contradicts, purpose=Purpose.DRAWN)) == {"k": "ab"}
    assert lost(reviews(tasks, {}, *contradicts)) == {}, "in doubt, the only one is believed"


@pytest.mark.parametrize(
    ("there", "expected"),
    [((), {"new": "ab"}), (("new",), {}), (("old",), {}), (("old", "new"), {})],
)
def test_of_two_tasks_of_the_same_regions_the_newer_is_sent(
    there: tuple[str, ...], expected: dict[str, str]
) -> None:
    assert lost(reviews({"old": "ab", "new": "ab"}, {}), *there) == expected


def test_a_region_that_is_in_no_other_task_is_sent_with_its_task() -> None:
    tasks = {"old": "ab", "new": "bc"}
    assert lost(reviews(tasks, {})) == {"old": "ab", "new": "bc"}
    assert lost(reviews(tasks, {}), "new") == {"old": "ab"}
    assert lost(reviews(tasks, {}, says_of("b", "new"))) == {"old": "ab"}
    assert lost(reviews(tasks, {}, says_of("a", "x"), says_of("b", "x"))) == {"new": "bc"}


def test_a_check_that_was_done_is_not_sent_again() -> None:
    tasks, checks = {"k": "ab", "check": "abc"}, {"check": "t", "bare": "u"}
    assert lost(reviews(tasks, checks)) == {"k": "ab", "check": "abc", "bare": ""}
    assert lost(reviews(tasks, checks), "check") == {"k": "ab", "bare": ""}
    done = says_of("t", "check", CHECK)
    assert lost(reviews(tasks, checks, done)) == {"k": "ab", "bare": ""}
    only_boxes = says_of("a", "check")
    assert "check" in lost(reviews(tasks, checks, only_boxes)), "the tile was not looked over"
    taken_back = says_of("t", "check", WITHDRAW, hour=6)
    assert "check" in lost(reviews(tasks, checks, done, taken_back))


def test_checks_and_ordinary_tasks_do_not_keep_each_other_away() -> None:
    tasks, checks = {"k": "ab", "check": "ab"}, {"check": "t"}
    by_check = says_of("a", "check"), says_of("b", "check"), says_of("t", "check", CHECK)
    assert lost(reviews(tasks, checks, *by_check)) == {"k": "ab"}
    assert lost(reviews(tasks, checks), "check") == {"k": "ab"}
    assert lost(reviews(tasks, checks, says_of("a", "k"))) == {"check": "ab"}


def test_of_two_checks_of_a_tile_the_newer_is_sent() -> None:
    state = reviews({"old": "ab", "new": "a"}, {"old": "t", "new": "t"})
    assert lost(state) == {"new": "a"}
    assert lost(state, "old") == {}
