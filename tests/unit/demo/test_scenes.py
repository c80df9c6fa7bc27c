import numpy as np
import pytest

from demo.scenes import CATEGORIES, DISTRACTORS, SyntheticScene, generate_scene


@pytest.fixture(scope="module")
def scenes() -> list[SyntheticScene]:
    return [generate_scene(seed, 512) for seed in range(6)]


def test_same_seed_same_scene() -> None:
    first, second = generate_scene(7, 512), generate_scene(7, 512)
    assert first.image.tobytes() == second.image.tobytes()
    assert [(o.kind, o.bbox_xyxy_px) for o in first.objects] == [
        (o.kind, o.bbox_xyxy_px) for o in second.objects
    ]
    assert all(
        np.array_equal(a.mask, b.mask) for a, b in zip(first.objects, second.objects, strict=True)
    )


def test_other_seed_other_scene() -> None:
    assert generate_scene(7, 512).image.tobytes() != generate_scene(8, 512).image.tobytes()


def test_image_is_rgb_bytes(scenes: list[SyntheticScene]) -> None:
    for scene in scenes:
        assert scene.image.shape == (512, 512, 3)
        assert scene.image.dtype == np.uint8
        assert scene.image.std() > 3


def test_masks_lie_in_the_image_and_fill_their_box(scenes: list[SyntheticScene]) -> None:
    for item in (item for scene in scenes for item in scene.objects):
        x0, y0, x1, y1 = item.bbox_xyxy_px
        assert 0 <= x0 < x1 <= 512
        assert 0 <= y0 < y1 <= 512
        assert item.mask.shape == (y1 - y0, x1 - x0)
        edges = item.mask[0], item.mask[-1], item.mask[:, 0], item.mask[:, -1]
        assert all(edge.any() for edge in edges), "the box is tight"


def test_masks_never_overlap(scenes: list[SyntheticScene]) -> None:
    for scene in scenes:
        covered = sum(item.full_mask(512).astype(int) for item in scene.objects)
        assert np.max(covered) == 1


def test_categories_and_distractors(scenes: list[SyntheticScene]) -> None:
    kinds = {item.kind for scene in scenes for item in scene.objects}
    assert kinds <= set(CATEGORIES) | set(DISTRACTORS)
    for item in (item for scene in scenes for item in scene.objects):
        assert item.category == (item.kind if item.kind in CATEGORIES else None)
    assert len(CATEGORIES) == 10


def test_number_of_objects_grows_with_the_area_but_not_their_size() -> None:
    small, large = generate_scene(3, 512), generate_scene(3, 1024)
    assert len(large.objects) > 2 * len(small.objects)
    longest = max(
        max(o.bbox_xyxy_px[2] - o.bbox_xyxy_px[0], o.bbox_xyxy_px[3] - o.bbox_xyxy_px[1])
        for o in large.objects
    )
    assert longest < 260


def test_size_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="size_px=100"):
        generate_scene(0, 100)
