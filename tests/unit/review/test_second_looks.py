import pytest

from lae_tasks.contracts import Purpose, ReviewItem, Verdict, VerdictAction
from lae_tasks.review.annotation import TaskProgress, version_id
from lae_tasks.review.second_looks import lookers, stewards_wanted
from lae_tasks.state import State

ACCEPT, RELABEL, ADJUST, REJECT, ADD, CHECK, UNDECIDED, WITHDRAW = VerdictAction
BOX = (0, 0, 10, 10)


def item(region_id: str = "r", **values: object) -> ReviewItem:
    defaults = {
        "region_id": region_id,
        "task_key": "k",
        "tile_id": "t",
        "scene_id": "s",
        "window_px": (0, 0, 100, 100),
        "category": "ship",
        "bbox_xyxy_px": BOX,
        "purpose": Purpose.DRAWN,
    }
    return ReviewItem.model_validate(defaults | values)


def says(
    who: str, action: VerdictAction, category: str | None = "ship", **values: object
) -> Verdict:
    defaults = {
        "verdict_id": f"{who}-{action}-{values.get('region_id', 'r')}",
        "region_id": "r",
        "tile_id": "t",
        "scene_id": "s",
        "task_key": "k",
        "task_created_at": "2026-11-23T04:00:00.000000+00:00",
        "annotation_id": sum(map(ord, who)),
        "annotator": who,
        "decided_at": "2026-11-23T05:00:00.000000+00:00",
        "action": action,
        "category": None if action is REJECT else category,
        "bbox_xyxy_px": BOX,
        "seconds": None,
    }
    return Verdict.model_validate(defaults | values)


def wanted(*verdicts: Verdict, looked: int, items: tuple[ReviewItem, ...] = (item(),)) -> int:
    of_ids = {each.record_id: each for each in items}
    return stewards_wanted(of_ids, verdicts, {"k": [*map(str, range(looked))]}, str)["k"]


def test_what_was_planned_is_wanted() -> None:
    assert wanted(looked=0) == 1
    assert wanted(looked=0, items=(item(looks=2),)) == 2
    assert wanted(says("ada", ACCEPT), looked=1) == 1
    assert wanted(says("ada", ACCEPT), looked=1, items=(item(looks=2),)) == 2


@pytest.mark.parametrize(
    "contradiction",
    [
        says("ada", REJECT),
        says("ada", RELABEL, "harbor"),
        says("ada", ADJUST, bbox_xyxy_px=(8, 8, 30, 30)),
    ],
)
def test_who_alone_contradicts_the_engine_is_not_taken_at_their_word(
    contradiction: Verdict,
) -> None:
    assert wanted(contradiction, looked=1) == 2
    assert wanted(contradiction, looked=2) == 3, "the second one was not sure"
    assert wanted(contradiction, looked=3) == 3
    doubt = item(purpose=Purpose.DOUBT)
    assert wanted(contradiction, looked=1, items=(doubt,)) == 1, "nobody counts on that one"


def test_a_box_that_was_moved_a_little_contradicts_nobody() -> None:
    assert wanted(says("ada", ADJUST, bbox_xyxy_px=(0, 0, 10, 11)), looked=1) == 1


def test_where_two_are_tied_a_third_looks() -> None:
    tied = says("ada", ACCEPT), says("bob", REJECT)
    assert wanted(*tied, looked=2) == 3
    assert wanted(says("ada", REJECT), says("bob", REJECT), looked=2) == 1
    assert wanted(*tied, says("eve", REJECT), looked=3) == 1
    assert wanted(*tied, says("eve", RELABEL, "harbor"), looked=3) == 3, "never a fourth"


def test_one_region_is_enough_and_the_others_say_nothing() -> None:
    items = item("r"), item("q")
    assert (
        wanted(says("ada", ACCEPT), says("ada", REJECT, region_id="q"), looked=1, items=items) == 2
    )


def test_what_was_taken_back_or_is_of_a_tile_asks_for_nobody() -> None:
    later = {"decided_at": "2026-11-23T06:00:00.000000+00:00"}
    taken_back = says("ada", WITHDRAW, None, **later)
    assert wanted(says("ada", REJECT), taken_back, looked=1) == 1
    assert wanted(says("ada", CHECK, None, region_id="t"), looked=1) == 1


def test_what_a_steward_cannot_tell_another_is_asked() -> None:
    puzzled = says("ada", UNDECIDED, None)
    assert wanted(puzzled, looked=1) == 2
    assert wanted(puzzled, says("bob", ACCEPT), looked=2) == 1, "that will do"
    assert wanted(puzzled, says("bob", REJECT), looked=2) == 3, "bob alone contradicts the engine"
    assert wanted(puzzled, says("bob", UNDECIDED, None), looked=2) == 3
    doubt, check = item(purpose=Purpose.DOUBT), item(purpose=Purpose.CHECK)
    assert wanted(puzzled, looked=1, items=(doubt,)) == 2, "else it would wait for ever"
    assert wanted(puzzled, says("bob", REJECT), looked=2, items=(doubt,)) == 1
    assert wanted(puzzled, looked=1, items=(check,)) == 1, "it is asked about in another task"


def test_who_has_looked() -> None:
    later = "2026-11-23T06:00:00.000000+00:00"
    reviews = State()
    for verdict in (
        says("ada", UNDECIDED, None),
        says("bob", ACCEPT),
        says("bob", WITHDRAW, None, decided_at=later),
        says("eve", REJECT, task_key="lost"),
    ):
        reviews.verdicts[verdict.verdict_id] = verdict
    taken_back = version_id(reviews.verdicts["bob-withdraw-r"].annotation_id, later)
    reviews.refused.add(version_id(7, later))

    def looked(**by: str) -> dict[str, set[str]]:
        return lookers(reviews, {"k": TaskProgress(1, 1, len(by), by, is_served=False)})

    assert looked() == {"k": {"ada"}, "lost": {"eve"}}
    assert looked(**{version_id(7, later): "joe", taken_back: "bob"})["k"] == {"ada"}
    unread = {version_id(7, "2026-11-23T07:00:00.000000+00:00"): "joe"}
    assert looked(**unread)["k"] == {"ada", "joe"}
