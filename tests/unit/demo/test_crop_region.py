import numpy as np
import pytest

from lae_tasks.imagery.crops import crop_region

HEIGHT, WIDTH = 60, 100


@pytest.fixture
def image() -> np.ndarray:
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([xs, ys, np.zeros_like(xs)], axis=-1).astype(np.uint8)


def _corners(crop: np.ndarray) -> tuple[int, int, int, int]:
    """First and last column and row that the crop shows, read off its colours."""
    first, last = crop[0, 0], crop[-1, -1]
    return int(first[0]), int(first[1]), int(last[0]), int(last[1])


def test_window_is_square_and_centred(image: np.ndarray) -> None:
    crop = crop_region(image, (40, 20, 60, 30), margin=0.25)
    assert crop.shape == (30, 30, 3)
    assert _corners(crop) == (35, 10, 64, 39)


def test_no_margin(image: np.ndarray) -> None:
    assert _corners(crop_region(image, (40, 20, 50, 30), margin=0)) == (40, 20, 49, 29)


@pytest.mark.parametrize(
    ("box", "corners"),
    [
        ((0, 0, 10, 10), (0, 0, 19, 19)),
        ((90, 50, 100, 60), (80, 40, 99, 59)),
        ((-5, 20, 5, 30), (0, 15, 19, 34)),
    ],
)
def test_window_slides_inside_at_the_border(
    image: np.ndarray, box: tuple[int, ...], corners: tuple[int, ...]
) -> None:
    crop = crop_region(image, box, margin=0.5)
    assert crop.shape == (20, 20, 3)
    assert _corners(crop) == corners


def test_window_larger_than_the_image_is_clipped(image: np.ndarray) -> None:
    crop = crop_region(image, (10, 0, 90, 60), margin=0.1)
    assert crop.shape == (HEIGHT, 96, 3)


def test_the_whole_image(image: np.ndarray) -> None:
    assert crop_region(image, (0, 0, WIDTH, HEIGHT), margin=1).shape == image.shape


def test_tiny_box_gives_at_least_one_pixel(image: np.ndarray) -> None:
    assert crop_region(image, (99.2, 59.2, 99.4, 59.4), margin=0).shape == (1, 1, 3)


def test_crop_is_a_copy(image: np.ndarray) -> None:
    crop_region(image, (0, 0, 10, 10), 0)[:] = 255
    assert image[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("box", "margin", "message"),
    [
        ((10, 10, 10, 20), 0.1, "empty"),
        ((20, 10, 10, 20), 0.1, "empty"),
        ((100, 0, 110, 10), 0.1, "outside"),
        ((0, -10, 10, 0), 0.1, "outside"),
        ((0, 0, 10, 10), -0.1, "negative"),
    ],
)
def test_unusable_boxes_are_refused(
    image: np.ndarray, box: tuple[int, ...], margin: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        crop_region(image, box, margin)
