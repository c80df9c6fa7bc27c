"""Recall, by tiles that stewards look over."""

import numpy as np
import pytest

from lae_tasks.contracts import (
    BoxPx,
    Purpose,
    ReviewItem,
    TileCheck,
    Verdict,
    VerdictAction,
    WindowPx,
)
from lae_tasks.releases.dataset import Object
from lae_tasks.state import State
from lae_tasks.trust.audit import wilson
from lae_tasks.trust.recall import Recall, checked_tiles, recall_of, weights_of
from tests.records import make_tile

WINDOW_PX: WindowPx = (0, 0, 100, 100)
ACCEPT, REJECT, ADD = VerdictAction.ACCEPT, VerdictAction.REJECT, VerdictAction.ADD


def a_box(place: int) -> BoxPx:
    return 10 * place, 0, 10 * place + 8, 8


class Tile:
    """One tile with what is on it, what was sent of it, and what its steward says."""

    def __init__(self) -> None:
        self.state = State()
        check = TileCheck(task_key="check", tile_id="t", scene_id="s", window_px=WINDOW_PX)
        self.state.tile_checks[check.record_id] = check
        self.tile("t", WINDOW_PX)
        self.objects: list[Object] = []

    def tile(self, tile_id: str, window_px: WindowPx) -> None:
        tile = make_tile(window_px, scene_id="s").model_copy(update={"tile_id": tile_id})
        self.state.tiles[tile_id] = tile

    def is_in(self, region_id: str, place: int, category: str = "ship") -> None:
        """An object that would be in without the look."""
        box = a_box(place)
        self.objects.append(Object(region_id, "s", category, box, "", 64, 0.9, "engine:sure"))

    def send(self, region_id: str, place: int) -> None:
        item = ReviewItem(
            region_id=region_id,
            task_key="check",
            tile_id="t",
            scene_id="s",
            window_px=WINDOW_PX,
            category="ship",
            bbox_xyxy_px=a_box(place),
            purpose=Purpose.CHECK,
        )
        self.state.review_items[item.record_id] = item

    def say(
        self, region_id: str, action: VerdictAction, place: int = 0, category: str | None = "ship"
    ) -> None:
        number = len(self.state.verdicts)
        verdict = Verdict(
            verdict_id=f"v{number}",
            region_id=region_id,
            tile_id="t",
            scene_id="s",
            task_key="check",
            task_created_at="2026-01-01T00:00:00+00:00",
            annotation_id=1,
            annotator="anna",
            decided_at="2026-01-02T00:00:00+00:00",
            action=action,
            category=category if action not in (REJECT, VerdictAction.CHECK) else None,
            bbox_xyxy_px=a_box(place),
            seconds=None,
        )
        self.state.verdicts[verdict.verdict_id] = verdict

    def counted(self, **mistaken: float) -> dict[str, tuple[float, float]]:
        return checked_tiles(self.state, {"s": self.objects}, str, mistaken)


def a_tile() -> Tile:
    tile = Tile()
    for place, name in enumerate(["kept", "renamed", "rejected"]):
        tile.is_in(name, place)
        tile.send(name, place)
    tile.send("waiting", 3)
    tile.say("kept", ACCEPT, 0)
    tile.say("renamed", VerdictAction.RELABEL, 1, "boat")
    tile.say("rejected", REJECT, 2)
    tile.say("waiting", ACCEPT, 3)
    tile.say("drawn", ADD, 4)
    return tile


def test_only_a_tile_that_is_done_counts() -> None:
    tile = a_tile()
    assert tile.counted() == {}
    tile.say("t", VerdictAction.CHECK)
    # There are what was kept, renamed and waiting, and what was drawn; in was the first alone.
    assert tile.counted() == {"t": (1, 4)}


def test_what_is_drawn_over_an_object_of_that_name_was_found() -> None:
    tile = a_tile()
    tile.say("t", VerdictAction.CHECK)
    tile.is_in("elsewhere", 4, "boat")
    assert tile.counted() == {"t": (1, 4)}
    tile.is_in("beyond the tile", 4)
    assert tile.counted() == {"t": (2, 4)}


def test_what_is_drawn_at_the_edge_counts_on_the_tile_that_shows_it_best() -> None:
    tile = a_tile()
    tile.say("t", VerdictAction.CHECK)
    x, y, _, _ = a_box(4)
    tile.tile("other", (x, y, 8, 8))
    assert tile.counted() == {"t": (1, 3)}


def test_what_two_drew_is_there_once() -> None:
    tile = a_tile()
    tile.say("t", VerdictAction.CHECK)
    tile.say("drawn again", ADD, 4)
    assert tile.counted() == {"t": (1, 4)}


def test_each_counts_by_the_probability_that_its_steward_is_right() -> None:
    tile = a_tile()
    tile.say("t", VerdictAction.CHECK)
    found, there = tile.counted(kept=0.1, renamed=0.2, rejected=0.3, waiting=0.4)["t"]
    # Rejected and renamed were right if the steward is mistaken; kept and waiting were wrong.
    assert found == pytest.approx(0.9 + 0.2 + 0.3)
    assert there == pytest.approx(0.9 + 1 + 0.3 + 0.6 + 1)


def alike(tiles: list[tuple[float, float]]) -> Recall | None:
    return recall_of([1.0] * len(tiles), tiles)


def test_few_tiles_say_nothing() -> None:
    assert alike([(9, 10)] * 4) is None
    assert alike([(0, 0)] * 9) is None
    assert alike([(9, 10)] * 5)


def test_many_alike_tiles_are_as_good_as_their_objects() -> None:
    found = alike([(9, 10)] * 1000)
    assert found and (found.tiles, found.objects, found.found) == (1000, 10_000, 9_000)
    assert (found.low, found.high) == pytest.approx(wilson(0.9, 10_000), abs=1e-4)


def test_objects_that_are_missed_together_say_less() -> None:
    apart = alike([(9, 10)] * 50)
    together = alike([(10, 10)] * 45 + [(0, 10)] * 5)
    assert apart and together and apart.recall == together.recall
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_a_tile_counts_for_those_that_it_stands_for() -> None:
    state = State()
    # One of ten tiles was looked over, and five of five; on the latter nothing was missing.
    for night, count in {"large": 10, "small": 5}.items():
        state.night_of[night] = night
        for number in range(count):
            tile = make_tile((0, number, 8, 8), tile_id=f"{night}{number}", scene_id=night)
            state.tiles[tile.tile_id] = tile
    weights = weights_of(state, ["large0", *(f"small{number}" for number in range(5))])
    assert weights == [10, 1, 1, 1, 1, 1]
    found = recall_of(weights, [(0, 10), *[(10, 10)] * 5])
    assert found and found.recall == pytest.approx(1 / 3)
    assert (found.tiles, found.objects, found.found) == (6, 60, 50)


@pytest.mark.parametrize(("tiles", "recall", "equal"), [(8, 0.9, 100), (24, 0.8, 8), (60, 0.95, 9)])
def test_it_holds_the_truth_in_95_of_100_releases(tiles: int, recall: float, equal: float) -> None:
    """Tiles differ in how much is missed: by a beta distribution, its parameters' sum `equal`."""
    generator = np.random.default_rng(0)
    held, releases = 0, 1_000
    for _ in range(releases):
        there = generator.poisson(8, tiles)
        chance = generator.beta(recall * equal, (1 - recall) * equal, tiles)
        found = generator.binomial(there, chance)
        stated = alike(list(zip(found.tolist(), there.tolist(), strict=True)))
        assert stated
        held += stated.low <= recall <= stated.high
    assert held / releases > 0.95 - 3 * np.sqrt(0.95 * 0.05 / releases)
