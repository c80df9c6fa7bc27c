"""Which masks of a tile are kept: duplicates, nested ones, and the two choices."""

import numpy as np
import pytest

from lae_tasks.backends.protocols import MaskProposal
from lae_tasks.config import SegmentConfig
from lae_tasks.contracts import BoxPx
from lae_tasks.regions.choice import chosen, without_duplicates

CONFIG = SegmentConfig()


def make_mask(bbox: BoxPx, quality: float = 0.9) -> MaskProposal:
    x0, y0, x1, y1 = bbox
    return MaskProposal(bbox, np.ones((y1 - y0, x1 - x0), dtype=bool), quality, 1.0)


def test_of_nearly_equal_masks_the_best_stays() -> None:
    worse, other, better = (
        make_mask((10, 10, 30, 30), 0.7),
        make_mask((100, 10, 130, 30)),
        make_mask((10, 10, 30, 31), 0.8),
    )
    assert without_duplicates([worse, other, better], CONFIG) == [other, better]


def test_a_large_part_is_the_thing_and_a_small_part_is_its_own() -> None:
    roof = make_mask((0, 0, 40, 40), 0.6)
    most_of_it = make_mask((0, 0, 40, 30), 0.8)
    chimney = make_mask((5, 5, 10, 10), 0.9)
    assert without_duplicates([roof, most_of_it, chimney], CONFIG) == [most_of_it, chimney]


def test_equal_boxes_of_different_masks_are_no_duplicates() -> None:
    upper = np.triu(np.ones((40, 40), dtype=bool), 1)
    pair = [MaskProposal((0, 0, 40, 40), mask, 0.9, 1.0) for mask in (upper, ~upper)]
    assert without_duplicates(pair, CONFIG) == pair


def test_answers_to_prompts_stay_and_outrank_the_grid() -> None:
    prompted = [make_mask((0, 0, 20, 20), 0.3), make_mask((0, 0, 20, 20), 0.4)]
    of_grid = [make_mask((0, 0, 20, 21), 0.9), make_mask((50, 50, 60, 60), 0.9)]
    kept = without_duplicates([*prompted, *of_grid], CONFIG, first=2)
    assert kept == [*prompted, of_grid[1]]


@pytest.mark.parametrize("masks", [[], [make_mask((0, 0, 5, 5))]])
def test_one_mask_or_none_is_no_error(masks: list[MaskProposal]) -> None:
    assert without_duplicates(masks, CONFIG) == masks


THINGS = [
    *((f"field {n}", 200_000 - n, 0.9) for n in range(4)),
    *((f"house {n}", 2_000, 0.5 + n / 100) for n in range(4)),
    *((f"car {n}", 300, 0.8 - n / 100) for n in range(4)),
]


def test_the_largest_are_the_papers_choice() -> None:
    config = SegmentConfig(choice="largest", max_regions=5)
    assert chosen(THINGS, config) == ["field 0", "field 1", "field 2", "field 3", "house 0"]


def test_each_size_gets_its_places_and_the_best_of_it_take_them() -> None:
    config = SegmentConfig(choice="stratified", max_regions=6)
    assert sorted(chosen(THINGS, config)) == [
        "car 0",
        "car 1",
        "field 0",
        "field 1",
        "house 2",
        "house 3",
    ]


def test_places_that_a_size_leaves_free_go_to_the_others() -> None:
    config = SegmentConfig(choice="stratified", max_regions=6)
    assert len(chosen(THINGS[:4] + THINGS[4:5], config)) == 5
    assert len(chosen(THINGS[:4] + THINGS[8:], config)) == 6
