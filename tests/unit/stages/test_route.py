"""Route: each rule with its name, names merged, duplicates suppressed across tiles."""

import random
from typing import Any

import pytest

from lae_tasks.config import RouteConfig
from lae_tasks.contracts import Decision, Done, Label, Merge, Outcome, Region
from lae_tasks.stages import route
from tests.records import make_label, make_region
from tests.unit.test_geometry import suppress_one_by_one

CONFIG: dict[str, Any] = {
    "score": "token_confidence",
    "accept_at": 0.9,
    "reject_below": 0.3,
    "min_area_px": 20,
    "max_aspect": 5,
    "audit_share": 0.0,
}


def decide(
    labels: list[Label], regions: list[Region], vocabulary: tuple[str, ...] = (), **config: Any
) -> dict[str, Decision]:
    results = run(labels, regions, vocabulary, **config)
    return {
        record.region_id: record
        for done in results
        for record in done.outputs
        if isinstance(record, Decision)
    }


def run(
    labels: list[Label], regions: list[Region], vocabulary: tuple[str, ...] = (), **config: Any
) -> list[Done]:
    by_id = {region.region_id: region for region in regions}
    rows = [(label, by_id[label.region_id]) for label in labels]
    return list(route.run(rows, None, vocabulary, RouteConfig.model_validate(CONFIG | config)))


def region(region_id: str = "r1", **values: Any) -> Region:
    defaults = {"region_id": region_id, "bbox_xyxy_px": (10, 10, 60, 40), "area_px": 900}
    return make_region(**(defaults | values))


@pytest.mark.parametrize(
    ("label", "shape", "rule"),
    [
        ({"category_said": None, "token_confidence": None}, {}, "reject unrecognized"),
        ({"category_said": None}, {"prompt_category": "ship"}, "reject unrecognized"),
        ({"token_confidence": None}, {"prompt_category": "ship"}, "accept imported"),
        ({}, {"prompt_category": "ship", "prompt_iou": 0.4}, "review mask_disagrees"),
        ({}, {"prompt_category": "ship", "predicted_iou": 0.1}, "review mask_disagrees"),
        (
            {},
            {"prompt_category": "ship", "predicted_iou": 0.1, "prompt_iou": 0.6},
            "accept imported",
        ),
        ({"category_said": "barge", "crop_std": 0.0}, {"prompt_category": "x"}, "accept imported"),
        ({}, {"area_px": 19}, "reject too_small"),
        ({}, {"bbox_xyxy_px": (10, 10, 210, 20)}, "reject too_long"),
        ({"crop_std": 1.0}, {}, "reject monochrome"),
        ({"token_confidence": None}, {}, "review no_confidence"),
        ({"token_confidence": 0.2}, {}, "reject low_confidence"),
        ({}, {"seen_in_part": True}, "review seen_in_part"),
        ({"token_confidence": 0.2}, {"seen_in_part": True}, "reject low_confidence"),
        ({"category_said": "barge", "clip_category": None}, {}, "review new_category"),
        ({"clip_category": "airplane"}, {}, "review clip_disagrees"),
        ({"token_confidence": 0.5}, {}, "review unsure"),
        ({}, {}, "accept confident"),
    ],
)
def test_each_rule_has_its_name(label: dict[str, Any], shape: dict[str, Any], rule: str) -> None:
    found = decide([make_label(**label)], [region(**shape)], ("ship", "airplane"))["r1"]
    assert f"{found.outcome} {found.rule}" == rule


def test_the_papers_score_is_what_the_model_said() -> None:
    found = decide([make_label(likelihood_said=0.93)], [region()], score="likelihood_said")["r1"]
    assert (found.outcome, found.confidence) == (Outcome.ACCEPT, 0.93)


def test_the_same_object_in_two_tiles_counts_once() -> None:
    regions = [
        region("r1", bbox_xyxy_px=(410, 10, 460, 40)),
        region("r2", tile_id="t2", bbox_xyxy_px=(412, 10, 461, 40)),
        region("r3", tile_id="t2", bbox_xyxy_px=(600, 10, 650, 40)),
    ]
    labels = [make_label("r1"), make_label("r2", token_confidence=0.99), make_label("r3")]
    found = decide(labels, regions)
    assert {k: v.rule for k, v in found.items()} == {
        "r1": "duplicate",
        "r2": "confident",
        "r3": "confident",
    }


def test_what_was_seen_in_part_goes_to_review_only_if_the_config_says_so() -> None:
    part = region(seen_in_part=True)
    assert decide([make_label()], [part], review_seen_in_part=False)["r1"].rule == "confident"


def test_no_model_doubts_what_was_imported() -> None:
    regions = [region("r1"), region("r2", prompt_category="Ship")]
    labels = [make_label("r1", token_confidence=0.99), make_label("r2", token_confidence=None)]
    found = decide(labels, regions)
    assert {k: v.rule for k, v in found.items()} == {"r1": "duplicate", "r2": "imported"}
    assert (found["r2"].confidence, found["r2"].calibration) == (1.0, "imported")
    assert found["r1"].calibration == "none:token_confidence"


def test_a_second_name_in_the_plural_agrees() -> None:
    found = decide([make_label(clip_category="Ships")], [region()], ("ship", "ships"))["r1"]
    assert found.rule == "confident"


def test_another_category_at_the_same_place_is_no_duplicate() -> None:
    labels = [make_label("r1"), make_label("r2", category_said="vehicle", clip_category="vehicle")]
    found = decide(labels, [region("r1"), region("r2")])
    assert {v.rule for v in found.values()} == {"confident"}


def test_what_is_accepted_outranks_what_is_in_doubt() -> None:
    labels = [make_label("r1", token_confidence=0.99, clip_category="x"), make_label("r2")]
    found = decide(labels, [region("r1"), region("r2")])
    assert {k: v.rule for k, v in found.items()} == {"r1": "duplicate", "r2": "confident"}


def test_names_are_merged_with_a_ledger() -> None:
    labels = [make_label("r1"), make_label("r2", category_said="the ships")]
    regions = [region("r1"), region("r2", bbox_xyxy_px=(100, 10, 150, 40))]
    results = run(labels, regions)
    merges = [r for done in results for r in done.outputs if isinstance(r, Merge)]
    assert {(m.name, m.canonical, m.count) for m in merges} == {
        ("Ship", "ship", 1),
        ("the ships", "ship", 1),
    }


def test_the_audit_is_drawn_from_the_accepted_the_same_way_each_time() -> None:
    labels = [make_label(f"r{i}") for i in range(400)]
    labels.append(make_label("doubt", token_confidence=0.5))
    regions = [region(f"r{i}", bbox_xyxy_px=(i, i % 7, i + 1, i % 7 + 1)) for i in range(400)]
    regions.append(region("doubt"))
    first = decide(labels, regions, audit_share=0.1)
    drawn = {k for k, v in first.items() if v.in_audit}
    assert 20 < len(drawn) < 60
    assert "doubt" not in drawn
    again = decide(labels[::-1], regions, audit_share=0.1)
    assert drawn == {k for k, v in again.items() if v.in_audit}
    assert drawn != {
        k for k, v in decide(labels, regions, audit_share=0.1, audit_seed=1).items() if v.in_audit
    }


def test_what_datasets_call_things_is_kept_and_joined() -> None:
    labels = [
        make_label("r1", category_said="the ships"),
        make_label("r2", category_said="Ships"),
        make_label("r3", category_said="Airplanes"),
    ]
    regions = [
        region("r1"),
        region("r2", prompt_category="Ships", bbox_xyxy_px=(100, 10, 150, 40)),
        region("r3", prompt_category="Airplanes", bbox_xyxy_px=(200, 10, 250, 40)),
    ]
    found = decide(labels, regions, ("airplane",))
    assert [found[name].category for name in ("r1", "r2", "r3")] == ["Ships", "Ships", "airplane"]


def random_night(seed: int, count: int) -> tuple[list[Label], list[Region]]:
    draw = random.Random(seed)
    labels, regions = [], []
    for number in range(count):
        x, y, side = draw.randrange(60), draw.randrange(60), draw.choice((8, 10, 20))
        regions.append(
            region(
                f"r{number}",
                scene_id=draw.choice(("s1", "s2")),
                bbox_xyxy_px=(x, y, x + side, y + 10),
                area_px=draw.choice((10, 90)),
                seen_in_part=draw.random() < 0.2,
                prompt_category=draw.choice((None, None, "ship")),
            )
        )
        label = make_label(
            f"r{number}",
            category_said=draw.choice(("ship", "Ships", "vehicle", None)),
            token_confidence=draw.choice((None, 0.2, 0.6, 0.9, 0.95)),
            clip_category=draw.choice(("ship", None)),
        )
        labels.append(label)
    return labels, regions


@pytest.mark.parametrize("measure", ["iou", "containment"])
@pytest.mark.parametrize("seed", range(5))
def test_a_night_is_what_rules_and_suppression_say_one_by_one(seed: int, measure: str) -> None:
    labels, regions = random_night(seed, 300)
    expected = decide(labels, regions, nms_iou=1.0)  # the rules alone: no overlap is above 1
    groups: dict[tuple[str, str | None], list[str]] = {}
    for name, each in expected.items():
        if each.outcome is not Outcome.REJECT:
            groups.setdefault((each.scene_id, each.category), []).append(name)
    boxes = {region.region_id: region.bbox_xyxy_px for region in regions}
    for names in groups.values():
        found = [expected[name] for name in names]
        scores = [(each.outcome is Outcome.ACCEPT) + each.confidence for each in found]
        in_order = [boxes[name] for name in names]
        kept = suppress_one_by_one(in_order, scores, 0.3, measure)
        for index in set(range(len(names))) - set(kept):
            if found[index].rule == "imported":
                continue  # a data set has each object once
            change = {"outcome": Outcome.REJECT, "rule": "duplicate", "in_audit": False}
            expected[names[index]] = found[index].model_copy(update=change)
    decided = decide(labels, regions, nms_iou=0.3, nms_measure=measure)
    assert list(decided.items()) == list(expected.items())  # in the order of the labels, too
    rules = {each.rule for each in decided.values()}
    assert {"duplicate", "imported", "confident", "seen_in_part", "too_small"} <= rules
