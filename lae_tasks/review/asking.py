"""What a push asks about, as the records that are filed before it is sent."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from lae_tasks.accounts import Done, Rejection
from lae_tasks.contracts import Decision, Purpose, TileCheck
from lae_tasks.review.selection import NO_CATEGORY, Chosen
from lae_tasks.review.tasks import boxes_to_check, items_for, task_key, unfit
from lae_tasks.state import State

PUSH = "review"


def new_records(
    chosen: Chosen,
    to_check: Mapping[str, Sequence[str]],
    looks: Callable[[str], int],
    state_of: Callable[[str], State],
) -> list[Done | Rejection]:
    """What became of each region that was chosen, and of each tile that is checked.

    Args:
        chosen: The regions.
        to_check: By night, the ids of the tiles.
        looks: Of a tile, how many stewards shall look at what is drawn on it.
        state_of: Reads a night.

    Returns:
        A Done with a ReviewItem, or a Rejection, for each region; a Done with a TileCheck and the
        ReviewItems of its boxes for each tile.
    """
    results: list[Done | Rejection] = [
        _unshown(row["region_id"], row["tile_id"], NO_CATEGORY)
        for row in chosen.nameless.to_pylist()
    ]
    by_night: defaultdict[str, list[str]] = defaultdict(list)
    for row in chosen.table.select(["night", "region_id"]).to_pylist():
        by_night[row["night"]].append(row["region_id"])
    for night in sorted(by_night.keys() | to_check.keys()):
        if by_night[night]:
            results += _regions(state_of(night), by_night[night], looks)
        if to_check.get(night):
            results += _tiles(state_of(night), to_check[night])
    return results


def _regions(
    state: State, region_ids: Iterable[str], looks: Callable[[str], int]
) -> Iterator[Done | Rejection]:
    """The boxes of a night's regions: of a tile one task of what was drawn, one of the others."""
    tasks: defaultdict[tuple[str, Purpose], list[Decision]] = defaultdict(list)
    for region_id in region_ids:
        decision = state.decisions[region_id]
        reason = unfit(decision, state)
        if reason:
            yield _unshown(region_id, decision.tile_id, reason)
        else:
            purpose = Purpose.DRAWN if decision.drawn else Purpose.DOUBT
            tasks[decision.tile_id, purpose].append(decision)
    for (tile_id, purpose), decisions in sorted(tasks.items()):
        stewards = looks(tile_id) if purpose is Purpose.DRAWN else 1
        for item in items_for(state, decisions, purpose, stewards):
            yield Done(item.region_id, [item], {purpose.value: 1, "looks": stewards})


def _tiles(state: State, tile_ids: Iterable[str]) -> Iterator[Done]:
    """Whole tiles with all their boxes."""
    for tile_id, decisions in boxes_to_check(state, tile_ids).items():
        tile = state.tiles[tile_id]
        items = items_for(state, decisions, Purpose.CHECK, 1)
        check = TileCheck(
            task_key=task_key(tile_id, items),
            tile_id=tile_id,
            scene_id=tile.scene_id,
            window_px=tile.window_px,
        )
        yield Done(tile_id, [*items, check], {"tiles": 1, Purpose.CHECK.value: len(items)})


def _unshown(region_id: str, tile_id: str, reason: str) -> Rejection:
    return Rejection(
        rejected_id=region_id,
        stage=PUSH,
        reason=reason,
        detail=f"region of tile {tile_id} cannot be shown to a steward: {reason}",
    )
