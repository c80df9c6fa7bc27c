"""Route: each rule with its name, names merged, duplicates suppressed across tiles."""

from typing import Any

import pytest

from lae_tasks.config import RouteConfig
from lae_tasks.contracts import Decision, Label, Merge, Outcome, Region
from lae_tasks.stages import route
from tests.unit.test_contracts import make_region

CONFIG: dict[str, Any] = {
    "score": "token_confidence",
    "accept_at": 0.9,
    "reject_below": 0.3,
    "min_area_px": 20,
    "max_aspect": 5,
    "audit_share": 0.0,
}


def make_label(region_id: str = "r1", **values: Any) -> Label:
    defaults = {
        "region_id": region_id,
        "model_revision": "m",
        "prompt_sha256": "p",
        "category_said": "Ship",
        "likelihood_said": 0.5,
        "token_confidence": 0.95,
        "clip_category": "ship",
        "clip_score": 0.9,
        "crop_std": 30.0,
        "reply": "",
    }
    return Label.model_validate(defaults | values)


def decide(
    labels: list[Label], regions: list[Region], vocabulary: tuple[str, ...] = (), **config: Any
) -> dict[str, Decision]:
    by_id = {region.region_id: region for region in regions}
    settings = RouteConfig.model_validate(CONFIG | config)
    results = route.run(labels, by_id, None, vocabulary, settings)
    return {
        record.region_id: record
        for done in results
        for record in done.outputs
        if isinstance(record, Decision)
    }


def region(region_id: str = "r1", **values: Any) -> Region:
    defaults = {"region_id": region_id, "bbox_xyxy_px": (10, 10, 60, 40), "area_px": 900}
    return make_region(**(defaults | values))


@pytest.mark.parametrize(
    ("label", "shape", "rule"),
    [
        ({"category_said": None, "token_confidence": None}, {}, "reject unrecognized"),
        ({"category_said": None}, {"prompt_category": "ship"}, "reject unrecognized"),
        ({"token_confidence": None}, {"prompt_category": "ship"}, "accept imported"),
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
    by_id = {r.region_id: r for r in regions}
    config = RouteConfig.model_validate(CONFIG)
    results = list(route.run(labels, by_id, None, (), config))
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
