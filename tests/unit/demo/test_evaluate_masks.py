"""The pure parts of measuring regions: sizes, recall, objects and the masks on them."""

import numpy as np
import pytest

from demo.contact_sheet import CELL_PX, Cell, outlined
from demo.cutting import SIDE_PX, Padded, is_found, regions_on, shift
from demo.evaluate_masks import Recall, box_overlaps, size_class
from demo.scenes import SyntheticObject
from lae_tasks.backends.protocols import Floats, Image, MaskProposal
from lae_tasks.contracts import PromptType, Region
from lae_tasks.geometry import encode_mask

SQUARE = SyntheticObject("ship", "ship", (100, 200, 120, 220), np.ones((20, 20), dtype=bool))


def mask_of(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize(
    ("area_px", "name"),
    [(1, "small"), (1023, "small"), (1024, "medium"), (9215, "medium"), (9216, "large")],
)
def test_sizes_are_cocos(area_px: int, name: str) -> None:
    assert size_class(area_px) == name


def test_box_overlaps_take_both_forms_of_boxes() -> None:
    overlaps = box_overlaps([(10, 10, 20, 20), (0, 0, 5, 5)], [(10, 10, 10, 10), (15, 10, 10, 10)])
    np.testing.assert_allclose(overlaps, [[1, 1 / 3], [0, 0]])
    assert box_overlaps([], [(0, 0, 1, 1)]).shape == (0, 1)


def test_recall_counts_by_size_over_scenes() -> None:
    recall = Recall()
    recall.add(np.array([[0.6, 0.1, 0.0], [0.2, 0.49, 0.5]]), [100, 2000, 10_000])
    recall.add(np.zeros((0, 1)), [100])
    figures = recall.figures()
    assert figures["recall"] == 0.5
    assert figures["recall_by_size"] == {"small": 0.5, "medium": 0.0, "large": 1.0}
    assert figures["objects_by_size"] == {"small": 2, "medium": 1, "large": 1}
    assert figures["regions"] == 2


def test_a_region_is_on_an_object_by_more_than_half_of_itself() -> None:
    half, more, part = (mask_of(x, 200, x + 20, 220) for x in (110, 109, 105))
    assert regions_on(SQUARE, [half]) == 0
    assert regions_on(SQUARE, [half, more, part]) == 2
    assert is_found(SQUARE, [part])
    assert not is_found(SQUARE, [half])
    assert regions_on(SQUARE, [mask_of(130, 230, 150, 250)], shift_px=30) == 1


def test_a_shift_moves_the_pixels() -> None:
    image = np.arange(SIDE_PX * SIDE_PX * 3, dtype=np.uint32).astype(np.uint8)
    image = image.reshape(SIDE_PX, SIDE_PX, 3)
    moved = shift(image, 32)
    assert (moved[32:, 32:] == image[:-32, :-32]).all()
    assert (moved[:32] == moved[0, 0]).all()


class Fixed:
    revision = "fixed"

    def generate(self, image: Image) -> list[MaskProposal]:
        assert image.shape == (SIDE_PX, SIDE_PX, 3)
        boxes = [(10, 10, 30, 30), (95, 10, 107, 30), (90, 10, 104, 30)]
        return [MaskProposal(b, np.ones((20, b[2] - b[0]), dtype=bool), 1, 1) for b in boxes]

    def answer(self, image: Image, prompts_xyxy_px: Floats) -> list[MaskProposal | None]:
        raise NotImplementedError


def test_masks_in_the_padding_go_and_others_end_at_it() -> None:
    made = Padded(Fixed()).generate(np.zeros((200, 100, 3), dtype=np.uint8))
    assert [mask.bbox_xyxy_px for mask in made] == [(10, 10, 30, 30), (90, 10, 100, 30)]
    assert [mask.mask.shape for mask in made] == [(20, 20), (20, 10)]


def test_outlines_fit_the_place_of_an_image() -> None:
    region = Region(
        region_id="r",
        tile_id="t",
        scene_id="s",
        bbox_xyxy_px=(200, 100, 600, 500),
        mask_rle=encode_mask(np.ones((400, 400), dtype=bool)),
        area_px=160_000,
        predicted_iou=1,
        stability_score=1,
        prompt_type=PromptType.GRID,
    )
    shown = outlined(Cell("a", np.zeros((1000, 800, 3), dtype=np.uint8), [region]))
    assert shown.shape == (CELL_PX[1], round(CELL_PX[1] * 0.8), 3)
    assert shown[48:50, 200].any()
    assert not shown[150, 200].any()
