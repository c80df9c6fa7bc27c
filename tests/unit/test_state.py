"""State: a night counts when each stage worked on what the stage before it says now."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from lae_tasks.accounts import Done, Manifest
from lae_tasks.contracts import Assignment, Decision, Label, Merge, Record, Region, Scene, Tile
from lae_tasks.errors import ContractError
from lae_tasks.runner import Work, run
from lae_tasks.state import State, digest_of, load_state
from lae_tasks.storage import LocalStorage
from tests.records import make_label, make_scene
from tests.release_world import World

NIGHT = "2026-11-22"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(LocalStorage(tmp_path))
    world.add_scene(3)
    return world


def commit(
    world: World,
    stage: str,
    shard: str,
    kinds: Sequence[type[Record]],
    came_in: tuple[str, ...],
    *outputs: Record,
) -> Manifest:
    config = digest_of(output.model_dump_json() for output in outputs)
    work = Work(stage, NIGHT, shard, tuple(kinds), config, came_in)
    return run(world.store, work, ["x"], [Done("x", outputs)])


def ingest(world: World, *keys: str) -> list[Scene]:
    (scene_id,) = {tile.scene_id for tile in world.state.tiles.values()}
    scenes = [
        make_scene(
            scene_id=scene_id if number == 0 else f"scene-{number}",
            raw_key=key,
            width_px=448,
            height_px=448,
        )
        for number, key in enumerate(keys)
    ]
    shards = [
        Assignment(scene_id=scene.scene_id, shard=f"{number:04d}")
        for number, scene in enumerate(scenes)
    ]
    commit(world, "ingest", "all", (Scene, Assignment), (digest_of(keys),), *scenes, *shards)
    return scenes


def shard(world: World, scenes: list[Scene], regions: Sequence[Region]) -> tuple[str, ...]:
    """Commits tile, segment and classify of the first shard; the digests of their tables."""
    came_in = (digest_of([scenes[0].scene_id]),)
    tiles = commit(world, "tile", "0000", (Tile,), came_in, *world.state.tiles.values())
    made = (tiles.outputs[0].sha256,)
    found = commit(world, "segment", "0000", (Region,), made, *regions)
    made = (*made, found.outputs[0].sha256)
    labels = (make_label(region.region_id) for region in regions)
    named = commit(world, "classify", "0000", (Label,), made, *labels)
    return (*made, named.outputs[0].sha256)


def route(world: World, came_in: tuple[str, ...]) -> None:
    decisions = world.state.decisions.values()
    commit(world, "route", "all", (Decision, Merge), came_in, *decisions)


@pytest.fixture
def routed(world: World) -> World:
    scenes = ingest(world, "a.tif")
    route(world, shard(world, scenes, list(world.state.regions.values())))
    return world


def nothing_of_the_night(state: State) -> bool:
    return not (state.scenes or state.tiles or state.regions or state.labels or state.decisions)


def test_a_whole_night_is_read(routed: World) -> None:
    state = load_state(routed.store)
    assert state.tiles == routed.state.tiles
    assert state.regions == routed.state.regions
    assert state.decisions == routed.state.decisions
    assert (state.nights, state.unfinished) == ([NIGHT], [])


def test_old_decisions_are_not_mixed_with_new_regions(routed: World) -> None:
    (scene,) = load_state(routed.store).scenes.values()
    came_in = shard(routed, [scene], list(routed.state.regions.values())[1:])
    state = load_state(routed.store)
    assert state.unfinished == [NIGHT]
    assert nothing_of_the_night(state)
    route(routed, came_in)
    assert load_state(routed.store).unfinished == []


def test_tiles_that_changed_are_not_mixed_with_what_was_made_of_others(routed: World) -> None:
    (scene,) = load_state(routed.store).scenes.values()
    routed.state.tiles.popitem()  # the same regions and labels come of it
    came_in = shard(routed, [scene], list(routed.state.regions.values()))
    assert load_state(routed.store).unfinished == [NIGHT]
    route(routed, came_in)
    assert load_state(routed.store).unfinished == []


def test_a_night_with_a_scene_more_waits_for_its_shard(routed: World) -> None:
    ingest(routed, "a.tif", "b.tif")
    assert load_state(routed.store).unfinished == [NIGHT]
    assert load_state(routed.store, NIGHT).unfinished == [NIGHT]
    with pytest.raises(ContractError, match="night 2026-11-21 is not routed"):
        load_state(routed.store, "2026-11-21")


def test_a_night_that_was_never_routed_is_left_out(world: World) -> None:
    shard(world, ingest(world, "a.tif"), list(world.state.regions.values()))
    state = load_state(world.store)
    assert nothing_of_the_night(state)
    assert (state.nights, state.unfinished) == ([], [])


def test_a_night_that_lost_its_ingest_is_not_left_out_silently(routed: World) -> None:
    routed.store.delete(f"runs/ingest/{NIGHT}/all.json")
    assert load_state(routed.store).unfinished == [NIGHT]


def test_a_night_without_scenes_is_left_out(world: World) -> None:
    ingest(world)
    commit(world, "route", "all", (Decision, Merge), ())
    assert load_state(world.store) == State()


def test_what_stewards_said_is_not_read_again_for_each_night(routed: World) -> None:
    reviews = State(refused={"an annotation"})
    state = load_state(routed.store, NIGHT, reviews)
    assert state.refused == {"an annotation"} and state.tiles == routed.state.tiles
    assert nothing_of_the_night(reviews)
