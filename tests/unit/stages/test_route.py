"""Route: the first rule that holds decides, names are merged, duplicates go across tiles."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lae_tasks.config import Measure, RouteConfig
from lae_tasks.config_file import load_config
from lae_tasks.contracts import Decision, Label, Merge, Outcome, Region
from lae_tasks.geometry import decode_mask, encode_mask
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.review.tasks import category_shown
from lae_tasks.runner import Columns
from lae_tasks.stages import route
from lae_tasks.trust.records import Calibration
from tests.records import labelled, make_label, make_region
from tests.unit.regions.test_duplicates import moored, suppress_one_by_one

#: Those of the demo.
RULES: list[Any] = [
    "unrecognized",
    "blocked",
    "mask_disagrees",
    "imported",
    "not_a_category",
    {"rule": "too_small", "min_area_px": 20},
    {"rule": "too_long", "max_aspect": 5},
    "monochrome",
    "unscored",
    {"rule": "token_confidence_below", "at": 0.3, "then": "reject"},
    "seen_in_part",
    "new_category",
    "clip_disagrees",
    {"rule": "token_confidence_below", "at": 0.9},
]
CONFIG: dict[str, Any] = {
    "score": "token_confidence",
    "rules": RULES,
    "audit_share": 0.0,
    "learn_share": 0.0,
}


def run(
    labels: list[Label],
    regions: list[Region],
    vocabulary: Any = (),
    calibration: Calibration | None = None,
    **config: Any,
) -> Columns:
    settings = RouteConfig.model_validate(CONFIG | config)
    rows = labelled(labels, regions)
    return route.run(rows, None, Vocabulary.model_validate(vocabulary), settings, calibration)


def decide(
    labels: list[Label], regions: list[Region], vocabulary: Any = (), **values: Any
) -> dict[str, Decision]:
    rows = run(labels, regions, vocabulary, **values).tables[0].to_pylist()
    return {row["region_id"]: Decision.model_validate(row) for row in rows}


def region(region_id: str = "r1", **values: Any) -> Region:
    defaults = {"region_id": region_id, "bbox_xyxy_px": (10, 10, 60, 40), "area_px": 900}
    return make_region(**(defaults | values))


@pytest.mark.parametrize(
    ("label", "shape", "rule"),
    [
        ({"category_said": None, "token_confidence": None}, {}, "reject unrecognized"),
        ({"category_said": None}, {"prompt_category": "ship"}, "reject unrecognized"),
        ({"category_said": "Objects"}, {}, "reject blocked"),
        ({"token_confidence": None}, {"prompt_category": "ship"}, "accept imported"),
        ({}, {"prompt_category": "ship", "prompt_iou": 0.4}, "review mask_disagrees"),
        ({}, {"prompt_category": "ship", "predicted_iou": 0.1}, "review mask_disagrees"),
        (
            {},
            {"prompt_category": "ship", "predicted_iou": 0.1, "prompt_iou": 0.6},
            "accept imported",
        ),
        ({"category_said": "barge", "crop_std": 0.0}, {"prompt_category": "x"}, "accept imported"),
        ({"category_said": "I cannot tell"}, {}, "reject not_a_category"),
        ({}, {"area_px": 19}, "reject too_small"),
        ({}, {"bbox_xyxy_px": (10, 10, 210, 20)}, "reject too_long"),
        ({"crop_std": 1.0}, {}, "reject monochrome"),
        ({"token_confidence": None}, {}, "review unscored"),
        ({"token_confidence": 0.2}, {}, "reject token_confidence_below"),
        ({}, {"seen_in_part": True}, "review seen_in_part"),
        ({"token_confidence": 0.2}, {"seen_in_part": True}, "reject token_confidence_below"),
        ({"category_said": "barge"}, {}, "review new_category"),
        ({"clip_categories": ("airplane",), "clip_agrees": False}, {}, "review clip_disagrees"),
        ({"token_confidence": 0.5}, {}, "review token_confidence_below"),
        ({}, {}, "accept confident"),
    ],
)
def test_the_first_rule_that_holds_decides(
    label: dict[str, Any], shape: dict[str, Any], rule: str
) -> None:
    vocabulary = {"categories": ["ship", "airplane"], "blocked": ["object"]}
    found = decide([make_label(**label)], [region(**shape)], vocabulary)["r1"]
    assert f"{found.outcome} {found.rule}" == rule


def test_rules_have_the_order_of_the_config_and_may_stand_twice() -> None:
    labels = [make_label(f"r{n}", likelihood_said=n / 10, crop_std=0.0) for n in (1, 5, 7)]
    regions = [region(f"r{n}", bbox_xyxy_px=(n * 100, 0, n * 100 + 50, 30)) for n in (1, 5, 7)]
    rules = [
        "unrecognized",
        {"rule": "likelihood_below", "at": 0.3, "then": "reject"},
        {"rule": "likelihood_below", "at": 0.6, "then": "review"},
        {"rule": "monochrome", "then": "accept"},
    ]
    found = decide(labels, regions, rules=rules)
    assert {k: (str(v.outcome), v.rule, v.reason) for k, v in found.items()} == {
        "r1": ("reject", "likelihood_below", "likelihood as said is below 0.3"),
        "r5": ("review", "likelihood_below", "likelihood as said is below 0.6"),
        "r7": ("accept", "monochrome", "the crop's grey values spread less than 2"),
    }
    rules[1], rules[3] = rules[3], rules[1]
    assert {d.rule for d in decide(labels, regions, rules=rules).values()} == {"monochrome"}


def test_each_outcome_and_rule_is_counted() -> None:
    labels = [make_label(f"r{n}") for n in range(3)] + [make_label("x", category_said=None)]
    labels.append(make_label("y", token_confidence=0.2))
    labels.append(make_label("z", token_confidence=0.5))
    regions = [region(name) for name in ("r0", "r1", "r2", "x", "y", "z")]
    assert run(labels, regions).counts == {
        "reject unrecognized": 1,
        "reject token_confidence_below": 1,
        "accept confident": 1,
        "reject duplicate": 3,
    }


def test_the_papers_score_is_what_the_model_said() -> None:
    rules = ["unrecognized", "unscored", "likelihood_below"]
    config = {"score": "likelihood_said", "rules": rules}
    found = decide([make_label(likelihood_said=0.93)], [region()], **config)["r1"]
    assert (found.outcome, found.confidence) == (Outcome.ACCEPT, 0.93)
    found = decide([make_label(likelihood_said=None)], [region()], **config)["r1"]
    assert (found.outcome, found.confidence) == (Outcome.REVIEW, 0.0)


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
    assert found["r1"].reason == "a better one of its category overlaps it by more than 0.5 (iou)"


def test_no_model_doubts_what_was_imported() -> None:
    regions = [region("r1"), region("r2", prompt_category="Ship")]
    labels = [make_label("r1", token_confidence=0.99), make_label("r2", token_confidence=None)]
    found = decide(labels, regions)
    assert {k: v.rule for k, v in found.items()} == {"r1": "duplicate", "r2": "imported"}
    assert (found["r2"].confidence, found["r2"].calibration) == (1.0, "imported")
    assert found["r1"].calibration == "none:token_confidence"


def test_a_data_set_has_each_object_once_however_closely_they_stand() -> None:
    regions = [region("r1", prompt_category="Ship"), region("r2", prompt_category="Ship")]
    found = decide([make_label("r1"), make_label("r2")], regions)
    assert {v.rule for v in found.values()} == {"imported"}


def test_what_was_imported_leaves_no_twin_of_the_grid() -> None:
    imported = {"prompt_category": "Ship", "prompt_iou": 0.9}
    boxes = [(x, 10, x + 40, 40) for x in (0, 12, 24)]  # each overlaps the next by more than half
    regions = [
        region("r1", bbox_xyxy_px=boxes[0], **imported),
        region("r2", bbox_xyxy_px=boxes[1], **imported),
        region("r3", bbox_xyxy_px=boxes[2]),
    ]
    found = decide([make_label(f"r{n}") for n in (1, 2, 3)], regions)
    assert [v.rule for v in found.values()] == ["imported", "imported", "duplicate"]
    # Nor of one that is as sure.
    sure = [make_label("r1"), make_label("r3", token_confidence=1.0)]
    twins = [regions[0], region("r3", bbox_xyxy_px=(-5, 10, 35, 40))]
    found = decide(sure, twins)
    assert [v.rule for v in found.values()] == ["imported", "duplicate"]


def test_another_category_or_scene_at_the_same_place_is_no_duplicate() -> None:
    labels = [make_label("r1"), make_label("r2", category_said="vehicle"), make_label("r3")]
    found = decide(labels, [region("r1"), region("r2"), region("r3", scene_id="s2")])
    assert {v.rule for v in found.values()} == {"confident"}


def test_what_is_accepted_outranks_what_is_in_doubt() -> None:
    doubt = {"clip_categories": ("x",), "clip_agrees": False}
    labels = [make_label("r1", token_confidence=0.99, **doubt), make_label("r2")]
    found = decide(labels, [region("r1"), region("r2")])
    assert {k: v.rule for k, v in found.items()} == {"r1": "duplicate", "r2": "confident"}


def test_what_is_rejected_makes_no_duplicates() -> None:
    labels = [make_label("r1", token_confidence=0.99, crop_std=0.0), make_label("r2")]
    found = decide(labels, [region("r1"), region("r2")])
    assert {k: v.rule for k, v in found.items()} == {"r1": "monochrome", "r2": "confident"}


@pytest.mark.parametrize(("measure", "lost"), [("iou", 2), ("mask_iou", 0)])
def test_ships_that_are_moored_slantwise_stay_by_their_masks(measure: str, lost: int) -> None:
    regions = [
        region(f"r{n}", bbox_xyxy_px=box, mask_rle=encode_mask(mask), area_px=int(mask.sum()))
        for n, (box, mask) in enumerate(zip(*moored(), strict=True))
    ]
    labels = [make_label(f"r{n}") for n in range(len(regions))]
    found = decide(labels, regions, nms_measure=measure)
    assert sum(decision.rule == "duplicate" for decision in found.values()) == lost


@pytest.mark.parametrize("preset", ["default", "demo"])
def test_by_the_presets_moored_ships_stay_and_parts_of_a_ship_go(
    preset: str, tmp_path: Path
) -> None:
    (tmp_path / "lae.yaml").write_text(f"preset: {preset}\nraw: raw\nstore: store\n")
    config = load_config(tmp_path / "lae.yaml").route
    boxes, masks = moored()
    x0, y0 = boxes[0][:2]
    boxes.append((x0 + 10, y0 + 10, x0 + 40, y0 + 40))
    masks.append(masks[0][10:40, 10:40])
    regions = [
        region(f"r{n}", bbox_xyxy_px=box, mask_rle=encode_mask(mask), area_px=int(mask.sum()))
        for n, (box, mask) in enumerate(zip(boxes, masks, strict=True))
    ]
    labels = [make_label(f"r{n}", token_confidence=0.99 - n / 100) for n in range(6)]
    made = route.run(labelled(labels, regions), None, Vocabulary(), config).tables[0].to_pylist()
    assert [row["rule"] for row in made] == [*["confident"] * 5, "duplicate"]


def test_names_are_merged_with_a_ledger() -> None:
    labels = [make_label("r1"), make_label("r2", category_said="the ships")]
    regions = [region("r1"), region("r2", bbox_xyxy_px=(100, 10, 150, 40))]
    merges = [Merge.model_validate(row) for row in run(labels, regions).tables[1].to_pylist()]
    assert [(m.name, m.canonical, m.count) for m in merges] == [
        ("Ship", "ship", 1),
        ("the ships", "ship", 1),
    ]


def test_other_names_are_offered_once_each_as_what_they_count_as() -> None:
    label = make_label(
        alternatives=("Boats", "the ships", "I am not sure", "thing", "Ferry"),
        clip_categories=("Vessel", "boat"),
    )
    vocabulary = {
        "categories": [{"name": "Vessel", "synonyms": ["ferry"]}],
        "blocked": ["thing"],
    }
    found = decide([label], [region()], vocabulary)["r1"]
    assert found.candidates == ("ship", "boat", "Vessel")
    assert decide([label], [region()], vocabulary, max_candidates=2)["r1"].candidates == (
        "ship",
        "boat",
    )
    assert decide([label], [region()], max_candidates=0)["r1"].candidates == ()
    unnamed = make_label(category_said=None, clip_categories=("Vessel",))
    found = decide([unnamed], [region()], vocabulary)["r1"]
    assert (found.category, found.candidates) == (None, ("Vessel",))


@pytest.mark.parametrize("said", ["Objects", "I am not sure"])
def test_what_no_region_may_bear_is_not_offered(said: str) -> None:
    label = make_label(category_said=said, alternatives=("Boats",), clip_categories=("ship",))
    rules = ["unrecognized", "not_a_category", "blocked"]
    rules = [rules[0], *({"rule": name, "then": "review"} for name in rules[1:])]
    vocabulary = {"categories": ["ship"], "blocked": ["object"]}
    found = decide([label], [region()], vocabulary, rules=rules)["r1"]
    assert (found.outcome, found.candidates) == (Outcome.REVIEW, ("boat", "ship"))
    assert category_shown(found) == "boat"


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
    found = decide(labels, regions, ["airplane"])
    assert [found[name].category for name in ("r1", "r2", "r3")] == ["Ships", "Ships", "airplane"]


def test_a_night_without_labels_has_no_decisions() -> None:
    made = run([], [])
    assert [table.num_rows for table in made.tables] == [0, 0]
    assert made.counts == {}


def random_night(seed: int, count: int) -> tuple[list[Label], list[Region]]:
    draw = random.Random(seed)
    labels, regions = [], []
    for number in range(count):
        x, y, side = draw.randrange(60), draw.randrange(60), draw.choice((8, 10, 20))
        mask = np.random.default_rng(number).random((10, side)) < 0.8
        regions.append(
            region(
                f"r{number}",
                scene_id=draw.choice(("s1", "s2")),
                bbox_xyxy_px=(x, y, x + side, y + 10),
                mask_rle=encode_mask(mask),
                area_px=int(mask.sum()),
                seen_in_part=draw.random() < 0.2,
                prompt_category=draw.choice((None, None, "ship")),
            )
        )
        label = make_label(
            f"r{number}",
            category_said=draw.choice(("ship", "Ships", "vehicle", None)),
            token_confidence=draw.choice((None, 0.2, 0.6, 0.9, 0.95)),
            clip_agrees=draw.choice((True, False, None)),
            crop_std=draw.choice((0.0, 30.0, 40.0, 50.0)),
        )
        labels.append(label)
    return labels, regions


@pytest.mark.parametrize("measure", ["iou", "containment", "mask_iou", "mask_containment"])
@pytest.mark.parametrize("seed", range(3))
def test_a_night_is_what_rules_and_suppression_say_one_by_one(seed: int, measure: Measure) -> None:
    labels, regions = random_night(seed, 300)
    expected = decide(labels, regions, nms_iou=1.0)  # the rules alone: no overlap is above 1
    groups: dict[tuple[str, str | None], list[str]] = {}
    for name, each in expected.items():
        if each.outcome is not Outcome.REJECT:
            groups.setdefault((each.scene_id, each.category), []).append(name)
    number_of = {name: number for number, name in enumerate(expected)}
    for names in groups.values():
        found = [expected[name] for name in names]
        scores = [(each.outcome is Outcome.ACCEPT) + each.confidence for each in found]
        boxes = [regions[number_of[name]].bbox_xyxy_px for name in names]
        rles = [regions[number_of[name]].mask_rle for name in names]
        masks = [decode_mask(rle, box) for rle, box in zip(rles, boxes, strict=True)]
        imported = [each.rule == "imported" for each in found]
        kept = suppress_one_by_one(boxes, scores, 0.3, measure, masks, imported)
        for index in set(range(len(names))) - set(kept):
            change = {"outcome": Outcome.REJECT, "rule": "duplicate", "drawn": False}
            expected[names[index]] = found[index].model_copy(update=change)
    decided = decide(labels, regions, nms_iou=0.3, nms_measure=measure)
    # In the order of the labels, too. What a look is worth depends on what else is there.
    blank = {"reason": "", "priority": 0.0}
    told = [(k, v.model_copy(update=blank)) for k, v in decided.items()]
    assert told == [(k, v.model_copy(update=blank)) for k, v in expected.items()]
    rules = {each.rule for each in decided.values()}
    assert {"duplicate", "imported", "confident", "seen_in_part", "monochrome"} <= rules


@pytest.mark.parametrize("measure", ["iou", "mask_containment"])
def test_decisions_do_not_depend_on_the_order_of_rows(measure: Measure) -> None:
    labels, regions = random_night(7, 200)
    expected = decide(labels, regions, nms_measure=measure)
    order = random.Random(0).sample(range(200), 200)
    shuffled = [labels[i] for i in order]
    assert decide(shuffled, regions, nms_measure=measure) == expected
