"""Agreement: as the definitions say, on the last word of each steward, without selection."""

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from sklearn.metrics import cohen_kappa_score

from demo.stack.settings import REPO
from lae_tasks.accounts import Done
from lae_tasks.cli.show import agreement as command
from lae_tasks.contracts import Purpose, ReviewItem, TileCheck, Verdict, VerdictAction
from lae_tasks.review.second_looks import stewards_wanted
from lae_tasks.runner import Work, run
from lae_tasks.storage import open_storage
from lae_tasks.trust.agreement import agreement, conflicts, opinions, planned_pairs
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
            "annotation_id": sum(map(ord, annotator)),
            "decided_at": f"2026-01-01T00:00:{at:02d}Z",
            "category": category,
        }
    )


def sent(region_ids: Iterable[str], looks: int = 2) -> list[ReviewItem]:
    return [
        ReviewItem(
            region_id=region_id,
            task_key=f"task of {region_id}",
            tile_id="tile",
            scene_id="scene",
            window_px=(0, 0, 64, 64),
            category="ship",
            bbox_xyxy_px=make_region(region_id=region_id).bbox_xyxy_px,
            purpose=Purpose.DRAWN,
            looks=looks,
        )
        for region_id in region_ids
    ]


def test_the_last_word_of_each_steward_counts() -> None:
    verdicts = [
        said("anna", "r1", "ship"),
        said("anna", "r1", None, at=2),
        said("bo", "r1", "ship"),
    ]
    assert opinions(verdicts) == {"r1": {"anna": "", "bo": "ship"}}
    found = agreement(verdicts, sent(["r1"]))
    assert found and (found.regions, found.differ) == (1, 1)


def test_alpha_is_krippendorffs() -> None:
    # The example of Krippendorff's "Computing Krippendorff's Alpha-Reliability" (2011), section B:
    # nominal data, two observers, none missing: 0.692. Of others there may be any number.
    table = {"ben": "a a b b d c c c e d d a", "gerry": "b a b b b c c c e d d d"}
    verdicts = [
        said(name, f"r{unit}", value)
        for name, row in table.items()
        for unit, value in enumerate(row.split())
    ]
    verdicts += [said("alone", "r12", "a"), said("third", "r0", "d", at=2)]
    found = agreement(verdicts, sent(f"r{unit}" for unit in range(13)))
    assert found and found.alpha == pytest.approx(0.692, abs=0.0005)
    assert (found.regions, found.differ) == (12, 3)


def test_the_first_two_are_those_who_spoke_first_though_one_has_thought_again() -> None:
    verdicts = [said("anna", "r1", "ship"), said("bo", "r1", "car", at=2)]
    verdicts += [said("cy", "r1", "car", at=3), said("anna", "r1", None, at=4)]
    assert planned_pairs(verdicts, sent(["r1"])) == {"r1": {"anna": "", "bo": "car"}}


def test_where_one_of_the_first_two_cannot_tell_there_is_no_pair() -> None:
    """A third is asked only if the one who could tell contradicts the engine."""
    puzzled = said("anna", "r1", None).model_copy(update={"action": VerdictAction.UNDECIDED})
    verdicts = [puzzled, said("bo", "r1", "car", at=2), said("cy", "r1", "ship", at=3)]
    assert planned_pairs(verdicts, sent(["r1"])) == {}
    taken_back = said("anna", "r1", None, at=4)
    taken_back = taken_back.model_copy(update={"action": VerdictAction.WITHDRAW})
    without_anna = planned_pairs([*verdicts, taken_back], sent(["r1"]))
    assert without_anna == {"r1": {"bo": "car", "cy": "ship"}}


def test_who_is_asked_because_of_a_contradiction_does_not_lower_alpha() -> None:
    generator = random.Random(7)
    names = ["ship", "car", "harbor", "bridge", None]
    regions = [f"r{number}" for number in range(3000)]

    def other_than(right: str | None) -> str | None:
        return generator.choice([name for name in names if name != right])

    items = [
        item.model_copy(update={"category": names[number % 4]})
        for number, item in enumerate(sent(regions[:600]) + sent(regions[600:], looks=1))
    ]
    truth = {
        item.region_id: item.category if generator.random() < 0.9 else other_than(item.category)
        for item in items
    }

    def look(annotator: str, region: str, at: int) -> Verdict:
        right = truth[region]
        mistaken = generator.random() < 0.05
        return said(annotator, region, other_than(right) if mistaken else right, at)

    stewards = ("anna", "bo", "cy")
    verdicts: list[Verdict] = []
    looked: dict[str, tuple[str, ...]] = {}
    for at, annotator in enumerate(stewards):
        wanted = stewards_wanted(
            {item.record_id: item for item in items}, verdicts, looked, lambda name: name
        )
        for item in items:
            if wanted[item.task_key] > at:
                verdicts.append(look(annotator, item.region_id, at))
                looked[item.task_key] = stewards[: at + 1]
    independent = [look(name, region, 0) for name in stewards[:2] for region in regions]

    truly, found = agreement(independent, sent(regions)), agreement(verdicts, items)
    whatever_was_planned = agreement(verdicts, sent(regions))
    assert truly and truly.alpha and found and found.alpha
    assert whatever_was_planned and whatever_was_planned.alpha
    assert (found.regions, truly.regions) == (600, 3000)
    # Three standard deviations of what chance does to alpha, over 600 pairs and over 3000.
    assert found.alpha == pytest.approx(truly.alpha, abs=0.05)
    assert whatever_was_planned.alpha < truly.alpha - 0.08


def test_kappa_is_cohens_of_two_with_enough_in_common() -> None:
    generator = random.Random(0)
    one = [generator.choice(["ship", "car", None]) for _ in range(60)]
    other = [
        name if generator.random() < 0.8 else generator.choice(["ship", "car", None])
        for name in one
    ]
    verdicts = [said("anna", f"r{n}", name) for n, name in enumerate(one)]
    verdicts += [said("bo", f"r{n}", name) for n, name in enumerate(other)]
    verdicts += [said("cy", f"r{n}", "ship", at=2) for n in range(60)]
    found = agreement(verdicts, sent(f"r{n}" for n in range(60)))
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
    assert agreement([said("anna", "r1", "ship")], sent(["r1"])) is None
    both = [said("anna", "r1", "ship"), said("bo", "r1", "ship")]
    assert agreement(both, sent(["r1"], looks=1)) is None
    same = agreement(both, sent(["r1"]))
    assert same and (same.alpha, same.differ, same.kappa) == (None, 0, {})


def test_the_command_tells_of_what_was_planned_and_what_is_in_dispute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_storage(str(tmp_path))

    def tell() -> str:
        command(config=REPO / "demo" / "lae.yaml", store=store.uri)
        return " ".join(capsys.readouterr().out.split())

    assert tell().startswith("Nothing that was planned for two stewards has both yet.")
    items = [*sent(["r1", "r2"]), *sent(["r3"], looks=1)]
    verdicts = [said(name, f"r{n}", "ship") for name in ("anna", "bo") for n in (1, 2, 3)]
    verdicts[-2:] = [said("bo", "r2", "car"), said("bo", "r3", "car")]
    for stage, kinds, records in (
        ("review", (ReviewItem, TileCheck), items),
        ("collect", (Verdict,), verdicts),
    ):
        ids = [record.record_id for record in records]
        done = [Done(record.record_id, [record]) for record in records]
        run(store, Work(stage, "2026-11-23", "0000", kinds, "", ("in",)), ids, done)
    told = tell()
    assert "2 regions that were planned for two stewards have both, who differ on 1" in told
    assert "Of all regions, 2 are in dispute still" in told
