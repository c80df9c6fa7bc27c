"""What holds of many verdicts: edited, taken back, deleted, of several stewards."""

from lae_tasks.contracts import Verdict, VerdictAction
from lae_tasks.review.annotation import ChangedTask
from lae_tasks.review.verdicts import (
    current_verdicts,
    deleted_annotations,
    fold_verdicts,
    withdrawn,
)
from tests.unit.review.conftest import Steward, draw, read, read_all

ACCEPT, RELABEL, ADJUST, REJECT, ADD, CHECK, UNDECIDED, WITHDRAW = VerdictAction


def test_the_same_annotation_has_the_same_ids_and_an_edit_has_others(steward: Steward) -> None:
    steward.rest("rest-accept")
    ids = {v.verdict_id for v in read(steward)}
    assert ids == {v.verdict_id for v in read(steward)}
    assert not ids & {v.verdict_id for v in read(steward, minute=1)}


def test_fold_keeps_the_latest_in_any_order(steward: Steward) -> None:
    steward.rest("rest-accept")
    early = read(steward, minute=1)
    steward.choose(0, "reject")
    late = read(steward, number=2, minute=2, annotator="bob@example.org")
    folded = fold_verdicts([*late, *early])
    assert folded == fold_verdicts([*early, *late])
    assert folded[steward.task.items[0].region_id].action is REJECT
    assert len(folded) == len(steward.task.items)
    assert list(folded) == sorted(folded)


def test_of_several_stewards_most_have_the_say(steward: Steward) -> None:
    steward.choose(0, "reject")
    one = read(steward)[0]
    accepted = one.model_copy(update={"action": VerdictAction.ACCEPT, "category": "ship"})

    def said(verdict: Verdict, who: str, at: int) -> Verdict:
        return verdict.model_copy(
            update={
                "verdict_id": f"{who}{at}",
                "annotator": who,
                "annotation_id": ord(who[0]),
                "decided_at": f"2026-01-01T00:00:{at:02d}Z",
            }
        )

    history = [said(accepted, "anna", 1), said(accepted, "bo", 2), said(one, "cy", 3)]
    assert fold_verdicts(history)[one.region_id].verdict_id == "bo2"
    # As many say one thing as another: the latest holds.
    assert fold_verdicts(history[1:])[one.region_id].verdict_id == "cy3"
    # Bo has thought again; only the last word of each counts.
    again = [*history, said(one, "bo", 4)]
    assert fold_verdicts(again)[one.region_id].verdict_id == "bo4"
    assert fold_verdicts(again[::-1]) == fold_verdicts(again)


def test_an_edited_annotation_replaces_its_former_version_whole(steward: Steward) -> None:
    draw(steward, "new-1", (400, 400, 440, 430), "ship")
    steward.choose(0, "reject")
    before = read(steward, minute=1)
    steward.results = [r for r in steward.results if r["id"] != "new-1"]
    draw(steward, "new-1", (400, 400, 450, 430), "ship")
    after = read(steward, minute=2)
    added = [v for v in fold_verdicts([*before, *after]).values() if v.action is ADD]
    assert [v.bbox_xyxy_px for v in added] == [(400, 400, 450, 430)]


def test_a_verdict_that_is_taken_back_holds_no_longer(steward: Steward) -> None:
    steward.rest("rest-accept")
    draw(steward, "new-1", (400, 400, 440, 430), "ship")
    first = read(steward, minute=1)
    steward.results = [r for r in steward.results if r["id"] != "new-1"]
    second = read(steward, minute=2)
    added = first[-1].region_id
    back = withdrawn(first, {v.region_id for v in second}, second[0].decided_at)
    assert [(v.region_id, v.action, v.category) for v in back] == [(added, WITHDRAW, None)]
    history = [*first, *second, *back]
    assert added not in fold_verdicts(history)
    assert len(fold_verdicts(history)) == len(first) - 1
    other = read(steward, number=2, minute=0)
    assert set(fold_verdicts([*other, *back, *first])) == {v.region_id for v in other}


def test_who_is_undecided_after_all_has_no_say(steward: Steward) -> None:
    steward.rest("rest-accept")
    region_id = steward.task.items[0].region_id
    first = read_all(steward, minute=1)
    steward.choose(0, "unsure")
    assert region_id not in fold_verdicts([*first, *read_all(steward, minute=2)])
    elsewhere = read_all(steward, number=2, minute=2)
    assert region_id not in fold_verdicts([*first, *elsewhere]), "it is the same steward"
    other = read_all(steward, number=2, minute=2, annotator="bob@example.org")
    assert fold_verdicts([*first, *other])[region_id].action is ACCEPT


def test_what_a_deleted_annotation_decided_is_gone(steward: Steward) -> None:
    steward.rest("rest-accept")
    held = [*read(steward, minute=1), *read(steward, number=2, minute=2)]
    left = steward.submit(number=2, minute=2)

    def task(updated_at: str) -> ChangedTask:
        return ChangedTask(1, steward.task.key, left.task_created_at, updated_at, (left,))

    gone = deleted_annotations(task("2026-11-23T06:00:00.000000+00:00"), held)
    assert set(gone) == {1} and len(gone[1]) == len(steward.task.items)
    back = withdrawn(gone[1], (), "2026-11-23T06:00:00.000000+00:00")
    assert {v.annotation_id for v in current_verdicts([*held, *back])} == {2}
    # A server that was set back has not deleted anything.
    assert deleted_annotations(task("2026-11-23T05:00:30.000000+00:00"), held) == {}


def test_annotations_of_the_same_number_on_another_server_are_others(steward: Steward) -> None:
    steward.rest("rest-accept")
    old = read(steward, minute=1)
    steward.choose(0, "unsure")
    new = read(steward, minute=2, task_created_at="2026-11-23T05:01:30.000000+00:00")
    assert len(new) == len(old) - 1
    assert len(fold_verdicts([*old, *new])) == len(old)
