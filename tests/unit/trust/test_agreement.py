"""Agreement: as the definitions say, on the last word of each steward."""

import random

import pytest
from sklearn.metrics import cohen_kappa_score

from lae_tasks.contracts import Verdict, VerdictAction
from lae_tasks.trust.agreement import agreement, conflicts, opinions
from tests.records import make_decision, make_region
from tests.unit.stages.test_calibrate import judge


def said(annotator: str, region_id: str, category: str | None, at: int = 1) -> Verdict:
    region = make_region(region_id=region_id)
    action = VerdictAction.RELABEL if category else VerdictAction.REJECT
    _, verdict = judge(region, make_decision(region), action)
    return verdict.model_copy(
        update={
            "verdict_id": f"{annotator}-{region_id}-{at}",
            "annotator": annotator,
            "annotation_id": hash(annotator) % 1000,
            "decided_at": f"2026-01-01T00:00:{at:02d}Z",
            "category": category,
        }
    )


def test_the_last_word_of_each_steward_counts() -> None:
    verdicts = [
        said("anna", "r1", "ship"),
        said("anna", "r1", None, at=2),
        said("bo", "r1", "ship"),
    ]
    assert opinions(verdicts) == {"r1": {"anna": "", "bo": "ship"}}
    found = agreement(verdicts)
    assert found and (found.regions, found.differ) == (1, 1)


def test_alpha_is_krippendorffs() -> None:
    # The example of Krippendorff's "Computing Krippendorff's Alpha-Reliability" (2011), section C:
    # nominal data, any number of observers, some values missing: 0.743.
    table = {
        "a": "1 2 3 3 2 1 4 1 2 . . .",
        "b": "1 2 3 3 2 2 4 1 2 5 . 3",
        "c": ". 3 3 3 2 3 4 2 2 5 1 .",
        "d": "1 2 3 3 2 4 4 1 2 5 1 .",
    }
    verdicts = [
        said(name, f"r{unit}", value)
        for name, row in table.items()
        for unit, value in enumerate(row.split())
        if value != "."
    ]
    found = agreement(verdicts)
    assert found and found.alpha == pytest.approx(0.743, abs=0.0005)
    assert found.regions == 11


def test_kappa_is_cohens_of_two_with_enough_in_common() -> None:
    generator = random.Random(0)
    one = [generator.choice(["ship", "car", None]) for _ in range(60)]
    other = [
        name if generator.random() < 0.8 else generator.choice(["ship", "car", None])
        for name in one
    ]
    verdicts = [said("anna", f"r{n}", name) for n, name in enumerate(one)]
    verdicts += [said("bo", f"r{n}", name) for n, name in enumerate(other)]
    verdicts += [said("cy", f"r{n}", "ship") for n in range(5)]
    found = agreement(verdicts)
    assert found and set(found.kappa) == {("anna", "bo")}
    wanted = cohen_kappa_score([n or "" for n in one], [n or "" for n in other])
    assert found.kappa["anna", "bo"] == pytest.approx(wanted)


def test_without_a_majority_a_third_has_to_look() -> None:
    verdicts = [said("anna", "r1", "ship"), said("bo", "r1", "car")]
    verdicts += [said("anna", "r2", "ship"), said("bo", "r2", "ship")]
    assert conflicts(verdicts) == {"r1"}
    assert conflicts([*verdicts, said("cy", "r1", "car")]) == set()
    assert conflicts([*verdicts, said("cy", "r1", None)]) == {"r1"}


def test_one_steward_agrees_with_nobody() -> None:
    assert agreement([said("anna", "r1", "ship")]) is None
    same = agreement([said("anna", "r1", "ship"), said("bo", "r1", "ship")])
    assert same and (same.alpha, same.differ, same.kappa) == (None, 0, {})
