"""What a quarter of `benchmarks/review_loop.py` counts, and which of its releases are refused."""

from pathlib import Path

from benchmarks.quarter import Quarter, Thing, read_quarter
from benchmarks.review_loop import as_released, refusals
from benchmarks.simulated_stewards import Steward, annotation_results
from lae_tasks.contracts import TileCheck
from lae_tasks.releases.assemble import assemble
from lae_tasks.releases.drift import fresh_regions
from lae_tasks.releases.statement import make_statement
from lae_tasks.review.tasks import build_tasks
from lae_tasks.state import State
from lae_tasks.storage import open_storage
from tests.records import make_scene, make_tile
from tests.release_world import World
from tests.unit.stages.test_publish_trust import LATER, look_at


def test_what_has_become_worse_is_refused(tmp_path: Path) -> None:
    world = World(open_storage(str(tmp_path)))
    for seed in range(3, 14):
        world.add_scene(seed)
    ids = world.region_ids()
    look_at(world, ids[:30])
    released = None
    for wrong, refused in ((0, False), (25, True)):
        look_at(world, ids[30:60] if released else [], wrong, LATER)
        dataset = assemble(world.state, world.config)
        since = fresh_regions(released.manifest if released else None, world.state)
        stated = make_statement(dataset, world.state, world.config, world.store, since)
        told = refusals(dataset, world.state, world.config, stated, released)
        assert [("5 of 30 objects" in says) for says in told] == [True] * refused
        released = as_released("2026-08-05", dataset, world.state, stated, released)


def test_each_box_that_is_drawn_costs_a_look() -> None:
    tile = make_tile(tile_id="t1")
    state = State(scenes={"s1": make_scene()}, tiles={"t1": tile})
    check = TileCheck(task_key="c", tile_id="t1", scene_id="s1", window_px=tile.window_px)
    (task,) = build_tasks(state, (), (check,), "store", "2026-08-01")
    missing = [Thing("ship", (10 * n, 10, 10 * n + 8, 18)) for n in range(3)]
    for things in (missing, []):
        _, looks = annotation_results(task, Steward("anna", 0.0), {"a.tif": things})
        assert looks == 1 + len(things)


def test_a_quarter_says_how_large_it_is(tmp_path: Path) -> None:
    assert read_quarter(tmp_path) is None
    (tmp_path / "quarter.json").write_text('{"nights": 12, "scenes": 4}')
    assert read_quarter(tmp_path) == Quarter(tmp_path, 12, 4)
