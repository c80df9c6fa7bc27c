"""10,000 tasks in a real Label Studio: pushed, half of them annotated, collected, pushed again.

    python -m benchmarks.review_tasks [TASKS]

Each task is a tile with one box and its outline. Label Studio (its development server, on SQLite)
and the S3 server run on this machine, so their work counts in the times. Stewards' work comes by
the API, a few at a time; that is no claim of the engine's and is printed for completeness.
Fails if anything is doubled or lost.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from demo.stack.services import label_studio_server, s3_server
from lae_tasks.config import Config
from lae_tasks.contracts import Outcome, Verdict
from lae_tasks.geometry import encode_mask
from lae_tasks.review.image_storage import S3Access
from lae_tasks.review.label_studio import LabelStudioReview
from lae_tasks.stages import review
from lae_tasks.state import State, load_reviews
from lae_tasks.storage import open_storage
from lae_tasks.tables import read_table
from tests.records import make_decision, make_region, make_scene, make_tile
from tests.review_world import commit_night

TILE_PX = 512
SCENE_TILES = 1_000
ANNOTATORS = 4
NIGHT, TODAY = "2026-11-22", "2026-11-23"

console = Console(soft_wrap=True)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints how long the block took, and the most memory that this process has had."""
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(f"{what:<40}{seconds:8.1f} s   engine's peak so far {peak_mb:6.0f} MB")


def night(tasks: int) -> State:
    """Scenes of many tiles, on each tile a box in doubt."""
    state = State()
    mask = encode_mask(np.ones((40, 60), bool))
    for number in range(tasks):
        scene_id, place = f"{number // SCENE_TILES:016x}", number % SCENE_TILES * TILE_PX
        state.scenes[scene_id] = make_scene(
            scene_id=scene_id, width_px=SCENE_TILES * TILE_PX, height_px=TILE_PX
        )
        tile = make_tile((place, 0, TILE_PX, TILE_PX), scene_id=scene_id)
        region = make_region(
            region_id=f"{number:016x}",
            tile_id=tile.tile_id,
            scene_id=scene_id,
            bbox_xyxy_px=(place + 100, 100, place + 160, 140),
            mask_rle=mask,
            area_px=2400,
        )
        state.tiles[tile.tile_id] = tile
        state.regions[region.region_id] = region
        state.decisions[region.region_id] = make_decision(
            region, outcome=Outcome.REVIEW, category="ship", candidates=("ship",)
        )
    return state


def main(wanted: int) -> None:
    """Pushes, annotates, collects and pushes again, and prints what each took."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with (
            s3_server(root / "s3") as s3,
            label_studio_server(root / "ls", s3=s3, timeout_s=480) as server,
            closing(s3.client()) as objects,
            LabelStudioReview(server.url, server.token) as client,
        ):
            objects.create_bucket(Bucket="many")
            store = open_storage("s3://many/store", objects)
            store.write("images/here", b"so that Label Studio finds the prefix")
            # One task for each tile.
            looks = {"check_share": 0, "second_look_share": 0}
            config = Config(preset="demo", raw="s3://raw", store=store.uri, review=looks)
            access = S3Access(s3.key, s3.secret, region_name=s3.region)
            commit_night(store, night(wanted), NIGHT)

            def push() -> int:
                return review.push(store, NIGHT, config, client, access).tasks

            with timed(f"pushing {wanted:,} tasks"):
                assert push() == wanted
            with timed("pushing them again"):
                assert push() == 0
            project_id = client.find_project(config.review.project)
            assert project_id is not None
            with timed(f"annotating {wanted // 2:,} by the API"):
                annotate(client, project_id, wanted // 2)
            with timed(f"collecting {wanted // 2:,} annotations"):
                manifest = review.collect(load_reviews(store), config, store, client, TODAY)
            assert manifest is not None and manifest.rejected_by_reason == {}
            with timed("following up"):
                assert review.follow_up(load_reviews(store), config, client) == 0
            verdicts = read_table(store, manifest.outputs[0], Verdict)
            assert len({v.region_id for v in verdicts}) == len(verdicts) == wanted // 2
            with timed("collecting again, nothing new"):
                assert review.collect(load_reviews(store), config, store, client, TODAY) is None
            with timed("pushing them once more"):
                assert push() == 0
            there = client.progress(project_id)
            assert len(there) == wanted and not any(task.doubles for task in there.values())
            console.print("nothing doubled, nothing lost")


def annotate(client: LabelStudioReview, project_id: int, count: int) -> None:
    """On some tasks: their boxes as they were sent, and "all others are right"."""
    tasks = client._tasks(project_id, include="id,predictions")[:count]
    results = {task.id: [dict(each) for each in task.predictions[0].result] for task in tasks}
    rest = {
        "id": "rest",
        "from_name": "rest",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["rest-accept"]},
    }

    def one(task_id: int) -> Any:
        return client._sdk.annotations.create(id=task_id, result=[*results[task_id], rest])

    with ThreadPoolExecutor(ANNOTATORS) as pool:
        list(pool.map(one, results))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
