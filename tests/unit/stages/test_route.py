"""Route: each rule with its name, names merged, duplicates suppressed across tiles."""

from typing import Any

import pytest

from lae_tasks.config import RouteConfig
from lae_tasks.contracts import Decision, Label, Merge, Outcome, Region, Scene, Tile
from lae_tasks.stages import route
from tests.unit.test_contracts import make_region

SCENE = Scene(
    scene_id="s1",
    raw_key="a.tif",
    etag="e",
    size_bytes=1,
    width_px=1000,
    height_px=1000,
    bands=3,
    dtype="uint8",
    crs=None,
    transform=None,
    gsd_m=None,
    acquired_at=None,
)
CONFIG: dict[str, Any] = {
    "score": "token_confidence",
    "accept_at": 0.9,
    "reject_below": 0.3,
    "min_area_px": 20,
    "max_aspect": 5,
    "reject_cut": True,
    "audit_share": 0.0,
}


def make_tile(x: int, tile_id: str) -> Tile:
    return Tile(
        tile_id=tile_id,
        scene_id="s1",
        raw_key="a.tif",
        window_px=(x, 0, 500, 500),
        image_key="k",
        image_sha256="d",
        valid_fraction=1.0,
    )


TILES = {"t1": make_tile(0, "t1"), "t2": make_tile(400, "t2")}


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
    results = route.run(labels, by_id, TILES, {"s1": SCENE}, None, vocabulary, settings)
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
        ({}, {"bbox_xyxy_px": (450, 10, 500, 60)}, "review seen_in_part"),
        ({}, {"bbox_xyxy_px": (0, 0, 60, 60)}, "accept confident"),  # the scene's own border
        ({}, {"area_px": 19}, "reject too_small"),
        ({}, {"bbox_xyxy_px": (10, 10, 210, 20)}, "reject too_long"),
        ({"crop_std": 1.0}, {}, "reject monochrome"),
        ({"token_confidence": None}, {}, "review no_confidence"),
        ({"token_confidence": 0.2}, {}, "reject low_confidence"),
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


@pytest.mark.parametrize(
    ("whole", "rule"),
    [
        ((450, 10, 520, 60), "reject cut_by_tile"),
        ((440, 14, 520, 66), "reject cut_by_tile"),
        ((402, 2, 700, 200), "review seen_in_part"),  # much larger: another thing
        ((505, 10, 560, 60), "review seen_in_part"),  # beside it
        ((400, 10, 520, 60), "review seen_in_part"),  # itself cut
    ],
)
def test_what_is_cut_goes_only_if_another_tile_has_it_whole(
    whole: tuple[int, int, int, int], rule: str
) -> None:
    cut = region("r1", bbox_xyxy_px=(450, 10, 500, 60))
    other = region("r2", tile_id="t2", bbox_xyxy_px=whole)
    labels = [make_label("r1"), make_label("r2", category_said="airplane")]
    found = decide(labels, [cut, other])["r1"]
    assert f"{found.outcome} {found.rule}" == rule


@pytest.mark.parametrize(
    ("tile_id", "bbox", "said"),
    [
        ("t2", (450, 10, 520, 60), {"category_said": None}),
        ("t2", (450, 10, 520, 60), {"token_confidence": 0.1}),
        ("t1", (450, 10, 499, 60), {"category_said": "airplane"}),  # a pixel off the same border
    ],
)
def test_what_is_cut_is_not_lost_to_a_whole_view_that_is_none(
    tile_id: str, bbox: tuple[int, int, int, int], said: dict[str, Any]
) -> None:
    cut = region("r1", bbox_xyxy_px=(450, 10, 500, 60))
    other = region("r2", tile_id=tile_id, bbox_xyxy_px=bbox)
    found = decide([make_label("r1"), make_label("r2", **said)], [cut, other])["r1"]
    assert f"{found.outcome} {found.rule}" == "review seen_in_part"


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
    results = list(route.run(labels, by_id, TILES, {"s1": SCENE}, None, (), config))
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
