"""Stewards' mistakes: how many they make, and what that does to a share."""

import numpy as np
import pytest

from lae_tasks.contracts import Purpose, ReviewItem, Verdict, VerdictAction
from lae_tasks.trust.mistakes import error_from, found_right, steward_error, truly_right


def _item(region_id: str, looks: int) -> ReviewItem:
    return ReviewItem(
        region_id=region_id,
        task_key="task",
        tile_id="tile",
        scene_id="scene",
        window_px=(0, 0, 64, 64),
        category="ship",
        bbox_xyxy_px=(0, 0, 8, 8),
        purpose=Purpose.DRAWN,
        looks=looks,
    )


def _said(region_id: str, annotator: str, right: bool) -> Verdict:
    return Verdict(
        verdict_id=f"{region_id} {annotator}",
        region_id=region_id,
        tile_id="tile",
        scene_id="scene",
        task_key="task",
        task_created_at="2026-11-23T05:00:00+00:00",
        annotation_id=1 if annotator == "anna" else 2,
        annotator=annotator,
        decided_at="2026-11-23T08:00:00+00:00",
        bbox_xyxy_px=(0, 0, 8, 8),
        seconds=None,
        action=VerdictAction.ACCEPT if right else VerdictAction.REJECT,
        category="ship" if right else None,
    )


def _both_looked(count: int, error: float, looks: int) -> tuple[list[Verdict], list[ReviewItem]]:
    random = np.random.default_rng(3)
    verdicts, items = [], []
    for number in range(count):
        region_id = f"region-{number}"
        items.append(_item(region_id, looks))
        verdicts += [
            _said(region_id, annotator, bool(random.random() >= error))
            for annotator in ("anna", "ben")
        ]
    return verdicts, items


def test_the_share_of_mistakes_is_found_from_how_often_two_differ() -> None:
    found = steward_error(*_both_looked(4000, 0.05, looks=2))
    assert found == pytest.approx(0.05, abs=0.01)


def test_only_looks_that_were_planned_count() -> None:
    assert steward_error(*_both_looked(100, 0.05, looks=1)) is None


def test_few_second_looks_say_nothing() -> None:
    assert steward_error(*_both_looked(29, 0.05, looks=2)) is None
    assert steward_error(*_both_looked(30, 0.0, looks=2)) == 0


@pytest.mark.parametrize("precision", [0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("error", [None, 0.0, 0.05, 0.2])
def test_what_was_found_tells_what_is_true(precision: float, error: float | None) -> None:
    assert truly_right(found_right(precision, error), error) == pytest.approx(precision)


def test_the_share_found_right_is_that_of_stewards_who_look_again_at_what_contradicts() -> None:
    random = np.random.default_rng(5)
    right = random.random(200_000) < 0.8
    mistaken = random.random((3, len(right))) < 0.1
    first, second, third = right ^ mistaken
    resolved = np.where(first == second, first, third)
    found = np.where(first, True, resolved)
    assert found_right(0.8, 0.1) == pytest.approx(found.mean(), abs=0.003)


@pytest.mark.parametrize(
    ("rejects", "lets_pass", "precision", "stated"),
    [
        (0.05, 0.05, 0.95, 0.95),
        (0.05, 0.2, 0.95, 0.963),
        (0.05, 0.2, 0.9, 0.921),
        (0.05, 0, 0.95, 0.947),
    ],
)
def test_stewards_who_err_one_way_bias_what_is_stated_as_the_docs_say(
    rejects: float, lets_pass: float, precision: float, stated: float
) -> None:
    """Second looks are at regions of which 0.85 are right; of the drawn 0.15 are for two."""
    looks = {}
    for right, error in ((True, rejects), (False, lets_pass)):
        again = found_right(float(right), error, again=1.0, twice=0.15)
        looks[right] = again, 2 * error * (1 - error)
    found = precision * looks[True][0] + (1 - precision) * looks[False][0]
    differ = 0.85 * looks[True][1] + 0.15 * looks[False][1]
    told = truly_right(found, error_from(differ), again=1.0, twice=0.15)
    assert told == pytest.approx(stated, abs=0.001)
