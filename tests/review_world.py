"""A tile of a synthetic scene with decided regions: what `push` finds after a night."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from demo.scenes.generator import CATEGORIES, SyntheticScene, generate_scene
from lae_tasks.accounts import Done, Manifest
from lae_tasks.contracts import (
    Assignment,
    Decision,
    Label,
    Merge,
    Outcome,
    Purpose,
    Record,
    Region,
    ReviewItem,
    Scene,
    Tile,
)
from lae_tasks.geometry import encode_mask
from lae_tasks.review.tasks import ReviewTask, build_tasks, items_for, unfit
from lae_tasks.runner import Work, run
from lae_tasks.stages.tile import encode_png, image_key
from lae_tasks.state import State, digest_of
from lae_tasks.storage import Storage
from tests.records import make_decision, make_label, make_region, make_scene, make_tile

SCENE_PX = 768
WINDOW_PX = (192, 160, 512, 512)


@cache
def _synthetic(seed: int) -> SyntheticScene:
    return generate_scene(seed, SCENE_PX)


def make_state(seed: int = 7, store: Storage | None = None) -> State:
    """One scene and one tile; its whole objects are regions, decided in turn.

    The first of every four (by size) is accepted unseen, the second drawn for the audit, the
    others go to review. Every region has the right category.

    Args:
        seed: Of the scene.
        store: Gets the tile's rendition, if given.
    """
    scene = _synthetic(seed)
    x, y, width, height = WINDOW_PX
    png = encode_png(scene.image[y : y + height, x : x + width])
    digest = hashlib.sha256(png).hexdigest()
    scene_id = digest[:16]
    tile = make_tile(
        WINDOW_PX,
        scene_id=scene_id,
        raw_key=f"harbour/scene-{seed}.tif",
        image_key=image_key(digest),
        image_sha256=digest,
    )
    if store:
        store.write(tile.image_key, png)
    state = State()
    state.scenes[scene_id] = make_scene(
        scene_id=scene_id, raw_key=tile.raw_key, width_px=SCENE_PX, height_px=SCENE_PX
    )
    state.night_of[scene_id] = "2026-11-23"
    state.tiles[tile.tile_id] = tile
    largest_first = sorted(scene.objects, key=lambda thing: -thing.area_px)
    inside = [each for each in largest_first if each.category and _within(each.bbox_xyxy_px)]
    for index, thing in enumerate(inside):
        rle = encode_mask(thing.mask)
        region = make_region(
            region_id=hashlib.sha256(f"{thing.bbox_xyxy_px}{rle}".encode()).hexdigest()[:16],
            tile_id=tile.tile_id,
            scene_id=scene_id,
            bbox_xyxy_px=thing.bbox_xyxy_px,
            mask_rle=rle,
            area_px=thing.area_px,
        )
        state.regions[region.region_id] = region
        state.decisions[region.region_id] = _decision(region, str(thing.category), index)
    return state


def _within(box: tuple[int, int, int, int]) -> bool:
    x, y, width, height = WINDOW_PX
    return x <= box[0] and y <= box[1] and box[2] <= x + width and box[3] <= y + height


def _decision(region: Region, category: str, index: int) -> Decision:
    accepted = index % 4 < 2
    others = tuple(name for name in CATEGORIES if name != category)
    start = index % len(others)
    return make_decision(
        region,
        outcome=Outcome.ACCEPT if accepted else Outcome.REVIEW,
        category=category,
        confidence=0.95 if accepted else 0.5 + 0.01 * index,
        candidates=(category, *(others + others)[start : start + 3]),
        drawn=index % 4 == 1,
    )


def all_in_doubt(state: State) -> State:
    """The same without what is drawn at random, so that a tile has one task."""
    for region_id, decision in state.decisions.items():
        if decision.drawn:
            update = {"drawn": False, "outcome": Outcome.REVIEW}
            state.decisions[region_id] = decision.model_copy(update=update)
    return state


def commit_night(
    store: Storage,
    state: State,
    night: str,
    merges: Sequence[Merge] = (),
    revisions: Mapping[str, str] | None = None,
) -> None:
    """Writes the state as a whole night of one shard, as if its stages had run.

    Args:
        store: Where to.
        state: What the night made; a region without a label gets one.
        night: Its name.
        merges: Its ledger.
        revisions: Of the models, by stage.
    """

    def commit(stage: str, shard: str, came_in: tuple[str, ...], *tables: _Table) -> Manifest:
        outputs = [record for _, records in tables for record in records]
        config = digest_of(record.model_dump_json() for record in outputs)
        kinds = tuple(kind for kind, _ in tables)
        revision = (revisions or {}).get(stage)
        work = Work(stage, night, shard, kinds, config, came_in, revision)
        return run(store, work, ["x"], [Done("x", outputs)])

    scenes = list(state.scenes.values())
    assignments = [Assignment(scene_id=scene.scene_id, shard="0000") for scene in scenes]
    labels = [state.labels.get(each) or make_label(each) for each in state.regions]
    commit("ingest", "all", ("raw",), (Scene, scenes), (Assignment, assignments))
    came_in: tuple[str, ...] = (digest_of(scene.scene_id for scene in scenes),)
    made: tuple[str, ...] = ()
    for stage, kind, records in (
        ("tile", Tile, list(state.tiles.values())),
        ("segment", Region, list(state.regions.values())),
        ("classify", Label, labels),
    ):
        made = (*made, commit(stage, "0000", came_in, (kind, records)).outputs[0].sha256)
        came_in = made
    commit("route", "all", made, (Decision, list(state.decisions.values())), (Merge, merges))


_Table = tuple[type[Record], Sequence[Record]]


def asked(state: State, purpose: Purpose = Purpose.DOUBT) -> list[ReviewItem]:
    """All that is in doubt or in the audit, in one task for each tile."""
    items: list[ReviewItem] = []
    for tile_id in state.tiles:
        decisions = [
            decision
            for decision in state.decisions.values()
            if decision.tile_id == tile_id
            and (decision.outcome is Outcome.REVIEW or decision.in_audit)
            and unfit(decision, state) is None
        ]
        items += items_for(state, decisions, purpose, 1)
    return items


def tasks_of(
    state: State, store_uri: str, night: str, items: Iterable[ReviewItem] | None = None
) -> Iterator[ReviewTask]:
    """The tasks of the items; by default of all that is `asked`."""
    return build_tasks(state, asked(state) if items is None else items, (), store_uri, night)
