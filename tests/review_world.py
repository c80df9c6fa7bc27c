"""A tile of a synthetic scene with decided regions: what `push` finds after a night."""

import hashlib
from functools import cache

from demo.scenes.generator import CATEGORIES, SyntheticScene, generate_scene
from lae_tasks.contracts import Decision, Outcome, Region
from lae_tasks.geometry import encode_mask
from lae_tasks.stages.tile import encode_png, image_key
from lae_tasks.state import State
from lae_tasks.storage import Storage
from tests.records import make_decision, make_region, make_scene, make_tile

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
