"""Rules: each holds where it says, and nowhere else; a name alone stands for its defaults."""

from typing import Any

import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from demo.stack.settings import REPO
from lae_tasks.config import RouteConfig
from lae_tasks.contracts import Label, Region
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.routing.labelled import _OF_LABEL, _OF_REGION, Candidates, LabelledRegions, join
from lae_tasks.routing.rules import RULES, NamedRule, Rule
from lae_tasks.stages.route import candidates, merged_names
from tests.records import columns_of, make_label, make_region, make_scene

VOCABULARY = Vocabulary.model_validate(
    {
        "categories": [
            "ship",
            {"name": "airplane", "synonyms": ["jet"], "parent": "Aircraft"},
            {"name": "Aircraft", "parent": "vehicle"},
            "vehicle",
        ],
        "blocked": ["object"],
    }
)
#: 0.5 m to the pixel.
SCENE = make_scene(crs="EPSG:32632", transform=(0.5, 0.0, 500_000.0, 0.0, -0.5, 5_400_000.0))


def rule_of(value: Any) -> Rule:
    rule: Rule = TypeAdapter(NamedRule).validate_python(value)
    return rule


def seen_by(rule: Rule, label: Label, region: Region, vocabulary: Vocabulary) -> Candidates:
    """The one row with only those columns that the rule says it reads."""
    tables = []
    for record, base in ((label, _OF_LABEL), (region, _OF_REGION)):
        kind = type(record)
        names = [n for n in kind.model_fields if n in base or n in (*rule.reads, "likelihood_said")]
        tables.append(columns_of([record], kind).select(names))
    config = RouteConfig(score="likelihood_said")
    rows = LabelledRegions(join(*tables, "here"), {"t1": 10_000}, lambda: [SCENE])
    ledger = merged_names(rows, None, vocabulary, config)
    return candidates(rows, ledger, vocabulary, config)


def holds(rule: Rule, values: dict[str, Any], vocabulary: Vocabulary = VOCABULARY) -> bool:
    of_label = {k: v for k, v in values.items() if k in Label.model_fields}
    of_region = {k: v for k, v in values.items() if k in Region.model_fields}
    label = make_label(**of_label)
    region = make_region(**({"bbox_xyxy_px": (0, 0, 40, 20)} | of_region))
    found = rule.holds(seen_by(rule, label, region, vocabulary))
    assert found.dtype == bool and found.shape == (1,)
    return bool(found[0])


CASES: list[tuple[Any, dict[str, Any], dict[str, Any], str]] = [
    (
        "unrecognized",
        {"category_said": None},
        {"category_said": "Ship"},
        "the model did not recognize it",
    ),
    ("unrecognized", {"category_said": ""}, {"category_said": "x"}, ""),
    (
        "not_a_category",
        {"category_said": "I'm sorry, I cannot say"},
        {"category_said": "ground track field"},
        "what was said is no name of a thing, or has more than 8 words",
    ),
    (
        {"rule": "not_a_category", "max_words": 2},
        {"category_said": "ground track field"},
        {"category_said": "track field"},
        "what was said is no name of a thing, or has more than 2 words",
    ),
    ("not_a_category", {"category_said": "42"}, {"category_said": None}, ""),
    (
        "blocked",
        {"category_said": "The Objects"},
        {"category_said": "objective"},
        "the vocabulary blocks the name",
    ),
    ("blocked", {"category_said": "object"}, {"category_said": None}, ""),
    (
        "likelihood_below",
        {"likelihood_said": 0.89},
        {"likelihood_said": 0.9},
        "likelihood as said is below 0.9",
    ),
    (
        {"rule": "likelihood_below", "at": 0.5},
        {"likelihood_said": 0.49},
        {"likelihood_said": None},
        "likelihood as said is below 0.5",
    ),
    (
        "token_confidence_below",
        {"token_confidence": 0.89, "likelihood_said": 1.0},
        {"token_confidence": 0.9, "likelihood_said": 0.0},
        "token confidence is below 0.9",
    ),
    ("token_confidence_below", {"token_confidence": 0.0}, {"token_confidence": None}, ""),
    ("unscored", {"likelihood_said": None}, {"likelihood_said": 0.0}, "confidence is not known"),
    (
        "unscored",
        {"likelihood_said": None},
        {"likelihood_said": None, "prompt_category": "ship"},
        "",
    ),
    (
        {"rule": "unscored", "score": "token_confidence"},
        {"token_confidence": None},
        {"token_confidence": 0.1, "likelihood_said": None},
        "token_confidence is not known",
    ),
    (
        "clip_disagrees",
        {"clip_agrees": False, "clip_categories": ("airplane", "ship")},
        {"clip_agrees": True, "clip_categories": ("airplane",)},
        "CLIP has a better name, and gives what was said less than 1",
    ),
    (
        "clip_disagrees",
        {"clip_agrees": False, "clip_categories": ("airplane",), "clip_score_said": None},
        {"clip_agrees": None, "clip_categories": (), "clip_score_said": None},
        "",
    ),
    # What was said counts as CLIP's best name.
    (
        "clip_disagrees",
        {"category_said": "jet", "clip_agrees": False, "clip_categories": ("ship",)},
        {"category_said": "jet", "clip_agrees": False, "clip_categories": ("Airplanes",)},
        "",
    ),
    # What is above it does not contradict it.
    (
        "clip_disagrees",
        {"category_said": "jet", "clip_agrees": False, "clip_categories": ("ship",)},
        {"category_said": "jet", "clip_agrees": False, "clip_categories": ("Aircraft",)},
        "",
    ),
    (
        "clip_disagrees",
        {"category_said": "vehicle", "clip_agrees": False, "clip_categories": ("ship",)},
        {"category_said": "vehicle", "clip_agrees": False, "clip_categories": ("airplane",)},
        "",
    ),
    (
        {"rule": "clip_disagrees", "min_score": 0.2},
        {"clip_agrees": False, "clip_categories": ("airplane",), "clip_score_said": 0.19},
        {"clip_agrees": False, "clip_categories": ("airplane",), "clip_score_said": 0.2},
        "CLIP has a better name, and gives what was said less than 0.2",
    ),
    (
        "monochrome",
        {"crop_std": 1.99},
        {"crop_std": 2.0},
        "the crop's grey values spread less than 2",
    ),
    (
        {"rule": "too_small", "min_area_px": 40},
        {"area_px": 39},
        {"area_px": 40},
        "its mask is smaller than 40 px",
    ),
    (
        {"rule": "too_small", "min_area_px": 5, "min_area_m2": 10},
        {"area_px": 39},
        {"area_px": 41},
        "its mask is smaller than 5 px or 10 m2",
    ),
    (
        {"rule": "too_large", "max_area_px": 40},
        {"area_px": 41},
        {"area_px": 40},
        "its mask is larger than 40 px",
    ),
    (
        {"rule": "too_large", "max_area_m2": 10},
        {"area_px": 41},
        {"area_px": 39},
        "its mask is larger than 10 m2",
    ),
    (
        {"rule": "too_long", "max_aspect": 4},
        {"bbox_xyxy_px": (0, 0, 10, 41)},
        {"bbox_xyxy_px": (0, 0, 40, 10)},
        "its box is more than 4 times as long as it is wide",
    ),
    (
        "whole_tile",
        {"area_px": 9000},
        {"area_px": 8999},
        "its mask is as large as 0.9 of its tile",
    ),
    ("whole_tile", {"area_px": 20_000}, {"area_px": 1}, ""),
    (
        "nodata",
        {"nodata_share": 0.51},
        {"nodata_share": 0.5},
        "more than 0.5 of it holds no data",
    ),
    (
        "mask_disagrees",
        {"prompt_category": "ship", "prompt_iou": 0.49},
        {"prompt_category": "ship", "prompt_iou": 0.5, "predicted_iou": 0.1},
        "its mask fits what it was prompted by less than 0.5",
    ),
    (
        "mask_disagrees",
        {"prompt_category": "ship", "predicted_iou": 0.49},
        {"prompt_category": None, "prompt_iou": 0.1},
        "",
    ),
    ("imported", {"prompt_category": "ship"}, {"prompt_category": None}, "its data set has it"),
    (
        "seen_in_part",
        {"seen_in_part": True},
        {"seen_in_part": False},
        "it reaches the border of its tiles, and no tile shows the rest",
    ),
    (
        "new_category",
        {"category_said": "barge"},
        {"category_said": "Jets"},
        "the vocabulary does not have the name",
    ),
    ("new_category", {"category_said": "barge"}, {"category_said": None}, ""),
    (
        {"rule": "uncertain", "at": 0.8},
        {"likelihood_said": 0.79},
        {"likelihood_said": 0.8},
        "what verdicts say of its like is below the target, or without verdicts 0.8",
    ),
]


@pytest.mark.parametrize(("value", "falls", "stays", "reason"), CASES)
def test_a_rule_holds_where_it_says(
    value: Any, falls: dict[str, Any], stays: dict[str, Any], reason: str
) -> None:
    rule = rule_of(value)
    assert holds(rule, falls)
    assert not holds(rule, stays)
    assert rule.reason == reason or not reason


def test_each_rule_has_a_case_and_a_place_in_the_documentation() -> None:
    assert {rule_of(value).rule for value, *_ in CASES} == set(RULES)
    told = (REPO / "docs" / "rules.md").read_text()
    assert [rule for rule in RULES if f"`{rule}`" not in told] == []


def test_without_a_vocabulary_no_category_is_new() -> None:
    assert not holds(rule_of("new_category"), {"category_said": "barge"}, Vocabulary())


def test_a_scene_without_a_place_has_no_area_on_the_ground() -> None:
    rule = rule_of({"rule": "too_small", "min_area_m2": 1e9})
    assert holds(rule, {})
    table = join(columns_of([make_label()], Label), columns_of([make_region()], Region), "here")
    rows = LabelledRegions(table, {"t1": 1}, lambda: [make_scene()])
    config = RouteConfig()
    found = rule.holds(
        candidates(rows, merged_names(rows, None, VOCABULARY, config), VOCABULARY, config)
    )
    assert not found.any()


def test_a_rule_without_rows_holds_nowhere() -> None:
    labels, regions = columns_of([], Label), columns_of([], Region)
    rows = LabelledRegions(join(labels, regions, "here"), {}, list)
    seen = candidates(rows, [], VOCABULARY, RouteConfig())
    values = [value for value, *_ in CASES]
    assert all(rule_of(value).holds(seen).shape == (0,) for value in values)
    assert isinstance(rows.region_id, pa.ChunkedArray)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("monochrom", "'monochrom' is no rule; did you mean monochrome?"),
        ("zzz", "'zzz' is no rule; the rules are unrecognized, not_a_category, "),
        ({"at": 0.5}, "None is no rule"),
        ("too_small", "give min_area_px or min_area_m2"),
        ({"rule": "too_large", "max_area_px": 0}, "greater than 0"),
        ({"rule": "monochrome", "at": 1}, "Extra inputs are not permitted"),
        ({"rule": "unrecognized", "then": "accept"}, "Input should be"),
        ({"rule": "likelihood_below", "at": 2}, "less than or equal to 1"),
    ],
)
def test_what_is_no_rule_says_why(value: Any, message: str) -> None:
    with pytest.raises(ValidationError) as told:
        rule_of(value)
    assert message in str(told.value)


def test_what_has_no_name_is_never_accepted_unseen() -> None:
    with pytest.raises(ValidationError, match="add unrecognized"):
        RouteConfig.model_validate({"rules": ["monochrome"]})


def test_another_parameter_is_another_fingerprint() -> None:
    one, other = (
        RouteConfig.model_validate(
            {"rules": ["unrecognized", {"rule": "monochrome", "min_std": n}]}
        )
        for n in (2, 3)
    )
    assert one.fingerprint() != other.fingerprint()
    assert (
        one.fingerprint() == RouteConfig.model_validate(one.model_dump(mode="json")).fingerprint()
    )
