from collections.abc import Sequence

import pytest

from lae_tasks.review.labels import HOTKEYS, labels
from tests.review_world import make_state, tasks_of

VOCABULARY = tuple(f"kind {letter}" for letter in "abcdefghij")


def offered(
    categories: Sequence[str], candidates: Sequence[str] = (), vocabulary: Sequence[str] = ()
) -> list[dict[str, str]]:
    task = next(tasks_of(make_state(), "s3://lae/store", "2026-11-23"))
    items = [task.items[0].model_copy(update={"category": name}) for name in categories]
    decision = task.decisions[0].model_copy(update={"candidates": tuple(candidates)})
    return labels(items, [decision], vocabulary)


def test_categories_of_the_boxes_come_first_then_the_candidates() -> None:
    found = offered(["ship", "ship", "harbor"], [f"other {n}" for n in range(9)])
    assert {label["value"] for label in found} == {
        "ship",
        "harbor",
        *(f"other {n}" for n in range(7)),
    }
    assert "".join(label["hotkey"] for label in found) == HOTKEYS
    assert len({label["background"] for label in found}) == len(found)


def test_past_nine_a_category_has_no_key() -> None:
    found = offered([f"kind {n}" for n in range(14)])
    assert len(found) == 14
    assert [label.get("hotkey") for label in found] == [*HOTKEYS, *[None] * 5]


@pytest.mark.parametrize("name", VOCABULARY[:9])
def test_a_category_has_the_digit_and_colour_of_its_place_in_the_vocabulary(name: str) -> None:
    alone, among = offered([name], [], VOCABULARY), offered([*VOCABULARY], [], VOCABULARY)
    (one,) = (label for label in alone if label["value"] == name)
    assert one["hotkey"] == HOTKEYS[VOCABULARY.index(name)]
    assert one["background"] == next(x["background"] for x in among if x["value"] == name)


def test_the_vocabulary_fills_the_free_keys_so_that_anything_can_be_drawn() -> None:
    found = offered(["kind j"], ["something new"], VOCABULARY)
    assert {"kind j", "something new"} < {label["value"] for label in found}
    assert "".join(label["hotkey"] for label in found) == HOTKEYS
