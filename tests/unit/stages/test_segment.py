"""Segment: views of tiles become regions; prompts are answered; everything is accounted for."""

from collections.abc import Sequence

import numpy as np
import pytest

from lae_tasks.accounts import Done, Rejection
from lae_tasks.backends.protocols import Floats, Image, MaskProposal
from lae_tasks.config import SegmentConfig
from lae_tasks.contracts import Prompt, PromptType, Region, Tile, WindowPx
from lae_tasks.geometry import decode_mask, mask_bbox
from lae_tasks.stages import segment
from lae_tasks.stages.tile import encode_png
from lae_tasks.storage import LocalStorage
from tests.records import make_scene, make_tile

CONFIG = SegmentConfig(max_regions=3)
SCENE = make_scene(width_px=200, height_px=100)


class BrightThings:
    """Finds what is brighter than the ground: each grey value is one thing."""

    revision = "bright"

    def generate(self, image: Image) -> list[MaskProposal]:
        return [proposal(image[..., 0] == v) for v in np.unique(image[..., 0]).tolist() if v]

    def answer(self, image: Image, prompts_xyxy_px: Floats) -> list[MaskProposal | None]:
        answers: list[MaskProposal | None] = []
        for x0, y0, x1, y1 in prompts_xyxy_px.astype(int).tolist():
            value = image[(y0 + y1) // 2, (x0 + x1) // 2, 0]
            answers.append(proposal(image[..., 0] == value) if value else None)
        return answers


def proposal(mask: np.ndarray) -> MaskProposal:
    x0, y0, x1, y1 = mask_bbox(mask)
    return MaskProposal((x0, y0, x1, y1), mask[y0:y1, x0:x1], 0.9, 0.8)


@pytest.fixture
def store(tmp_path: object) -> LocalStorage:
    return LocalStorage(tmp_path)  # type: ignore[arg-type]


OVERLAPPING = ((0, 0, 120, 100), (80, 0, 120, 100))


def make_tiles(
    picture: np.ndarray, store: LocalStorage, windows: Sequence[WindowPx] = OVERLAPPING
) -> list[Tile]:
    """Tiles from left to right, by default two that overlap by 40 px, with their renditions."""
    tiles = []
    for window in windows:
        x, _, width, _ = window
        tile = make_tile(window, image_key=f"{x}.png")
        rgb = np.repeat(picture[:, x : x + width, None], 3, axis=2).astype(np.uint8)
        store.write(tile.image_key, encode_png(np.ascontiguousarray(rgb)))
        tiles.append(tile)
    return tiles


def run(
    tiles: Sequence[Tile],
    store: LocalStorage,
    prompts: Sequence[Prompt] = (),
    config: SegmentConfig = CONFIG,
) -> tuple[list[Region], dict[str, int], list[Rejection]]:
    results = list(segment.run(tiles, {"s1": SCENE}, prompts, store, BrightThings(), config))
    ids = [r.record_id if isinstance(r, Done) else r.rejected_id for r in results]
    assert sorted(ids) == sorted(tile.tile_id for tile in tiles)
    done = [r for r in results if isinstance(r, Done)]
    regions = [each for r in done for each in r.outputs if isinstance(each, Region)]
    counts: dict[str, int] = {}
    for result in done:
        for name, count in result.counts.items():
            counts[name] = counts.get(name, 0) + count
    return regions, counts, [r for r in results if isinstance(r, Rejection)]


def make_prompt(number: int, bbox: tuple[float, float, float, float], name: str | None) -> Prompt:
    return Prompt(
        prompt_id=f"p{number}",
        scene_id="s1",
        prompt_type=PromptType.POINT if bbox[:2] == bbox[2:] else PromptType.BOX,
        bbox_xyxy_px=bbox,
        category=name,
        difficult=False,
    )


def test_an_object_across_tiles_is_one_region_of_the_tile_that_shows_most(
    store: LocalStorage,
) -> None:
    picture = np.zeros((100, 200))
    picture[40:60, 60:190] = 9  # 60 px of it on the first tile, 110 on the second
    picture[5:15, 5:15] = 7
    regions, counts, _ = run(make_tiles(picture, store), store)
    assert len(regions) == 2
    long = next(r for r in regions if r.area_px > 200)
    assert long.bbox_xyxy_px == (60, 40, 190, 60)
    assert long.tile_id == "s1-80-0-120x100"
    assert long.area_px == 130 * 20 == decode_mask(long.mask_rle, long.bbox_xyxy_px).sum()
    assert long.prompt_type is PromptType.GRID
    assert not long.seen_in_part
    assert counts["joined"] == 1


def test_the_limit_is_per_tile_and_counted(store: LocalStorage) -> None:
    picture = np.zeros((100, 200))
    for number in range(6):
        picture[10:20, 2 + 12 * number : 10 + 12 * number] = number + 1
    regions, counts, _ = run(make_tiles(picture, store), store)
    assert len(regions) == 3
    assert counts["beyond_max_regions"] == 3


def test_prompts_are_answered_and_keep_their_names(store: LocalStorage) -> None:
    picture = np.zeros((100, 200))
    picture[40:60, 20:190] = 9  # longer than a tile
    picture[5:15, 90:110] = 7
    prompts = [
        make_prompt(0, (20, 40, 190, 60), "harbour"),
        make_prompt(1, (100, 10, 100, 10), None),
        make_prompt(2, (150, 80, 170, 90), "ship"),  # nothing is there
    ]
    regions, counts, _ = run(make_tiles(picture, store), store, prompts)
    assert {(r.prompt_type, r.prompt_category) for r in regions} == {
        (PromptType.BOX, "harbour"),
        (PromptType.POINT, None),
    }
    harbour = next(r for r in regions if r.prompt_category)
    assert harbour.bbox_xyxy_px == (20, 40, 190, 60)
    assert counts["prompts_without_mask"] == 1


class Noting(BrightThings):
    """Notes what it is asked, and answers with all that is bright, beyond the prompts, too."""

    def __init__(self) -> None:
        self.asked: list[list[list[float]]] = []

    def answer(self, image: Image, prompts_xyxy_px: Floats) -> list[MaskProposal | None]:
        self.asked.append(prompts_xyxy_px.tolist())
        return [proposal(image[..., 0] > 0) for _ in prompts_xyxy_px]


@pytest.mark.parametrize(
    ("windows", "box", "asked"),
    [
        ([(0, 0, 120, 100), (120, 0, 80, 100)], (40, 40, 124, 60), [0]),  # the other sees 4 px
        ([(0, 0, 120, 100), (120, 0, 80, 100)], (40, 40, 140, 60), [0, 1]),
        ([(0, 0, 100, 100), (1, 0, 100, 100), (80, 0, 120, 100)], (2, 40, 112, 60), [1, 2]),
        ([(0, 0, 100, 100), (100, 0, 100, 100)], (-900, 40, 101, 60), [0]),
    ],
)
def test_only_tiles_that_are_needed_to_see_a_box_are_asked(
    windows: list[tuple[int, int, int, int]],
    box: tuple[int, int, int, int],
    asked: list[int],
    store: LocalStorage,
) -> None:
    picture = np.ones((100, 200))
    tiles = make_tiles(picture, store, windows)
    generator = Noting()
    list(segment.run(tiles, {"s1": SCENE}, [make_prompt(0, box, "ship")], store, generator, CONFIG))
    shown = [(max(0, box[0] - x), min(w, box[2] - x)) for x, _, w, _ in windows]
    expected = [[[shown[n][0], 40, shown[n][1], 60]] for n in asked]
    assert generator.asked == expected


def test_what_several_tiles_answer_ends_a_little_beyond_the_box(store: LocalStorage) -> None:
    picture = np.zeros((100, 200))
    picture[30:65] = 9
    tiles = make_tiles(picture, store)
    prompt = make_prompt(0, (10, 30, 190, 60), "quay")
    results = list(segment.run(tiles, {"s1": SCENE}, [prompt], store, Noting(), CONFIG))
    (region,) = (each for r in results if isinstance(r, Done) for each in r.outputs)
    assert isinstance(region, Region)
    assert region.bbox_xyxy_px == (1, 30, 199, 62)
    # A tile that shows it whole is believed.
    prompt = make_prompt(0, (10, 30, 100, 60), "quay")
    results = list(segment.run(tiles, {"s1": SCENE}, [prompt], store, Noting(), CONFIG))
    (region,) = (each for r in results if isinstance(r, Done) for each in r.outputs)
    assert isinstance(region, Region)
    assert region.bbox_xyxy_px == (0, 30, 120, 65)


def test_an_answer_that_lies_beside_its_box_is_none(store: LocalStorage) -> None:
    picture = np.zeros((100, 200))
    picture[0:10] = 9
    tiles = make_tiles(picture, store)
    prompt = make_prompt(0, (10, 30, 190, 60), "quay")
    results = list(segment.run(tiles, {"s1": SCENE}, [prompt], store, Noting(), CONFIG))
    done = [each for each in results if isinstance(each, Done)]
    assert not any(each.outputs for each in done)
    assert done[0].counts["prompts_without_mask"] == 1


def test_the_grid_looks_for_more_if_asked(store: LocalStorage) -> None:
    picture = np.zeros((100, 200))
    picture[5:15, 90:110] = 7
    picture[50:80, 10:40] = 9
    prompts = [make_prompt(0, (90, 5, 110, 15), "ship")]
    tiles = make_tiles(picture, store)
    assert len(run(tiles, store, prompts)[0]) == 1
    both = CONFIG.model_copy(update={"grid_beside_prompts": True})
    regions, _, _ = run(tiles, store, prompts, both)
    assert {(r.prompt_type.value, r.bbox_xyxy_px) for r in regions} == {
        ("box", (90, 5, 110, 15)),
        ("grid", (10, 50, 40, 80)),
    }
    assert len(regions) == 2


def test_a_rendition_that_is_gone_rejects_its_tile_only(store: LocalStorage) -> None:
    picture = np.zeros((100, 200))
    picture[40:60, 10:30] = 9
    tiles = make_tiles(picture, store)
    store.delete("80.png")
    regions, _, rejected = run(tiles, store)
    assert len(regions) == 1
    assert [(r.rejected_id, r.reason) for r in rejected] == [("s1-80-0-120x100", "image gone")]


def test_prompts_of_a_scene_without_any_picture_are_still_accounted_for(
    store: LocalStorage,
) -> None:
    tiles = make_tiles(np.zeros((100, 200)), store)
    _, counts, _ = run(tiles, store, [make_prompt(0, (1, 1, 9, 9), "ship")])
    assert counts["prompts_without_mask"] == 1
