import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tasks.geometry import clip
from lae_tasks.review.boxes import from_percent, to_percent


@given(
    st.integers(0, 100_000),
    st.integers(0, 100_000),
    st.integers(1, 4_096),
    st.integers(1, 4_096),
    st.data(),
)
def test_a_box_survives_the_round_trip_to_the_pixel(
    x: int, y: int, width: int, height: int, data: st.DataObject
) -> None:
    x0 = data.draw(st.integers(x, x + width - 1))
    y0 = data.draw(st.integers(y, y + height - 1))
    x1 = data.draw(st.integers(x0 + 1, x + width))
    y1 = data.draw(st.integers(y0 + 1, y + height))
    where = (x, y, width, height)
    assert from_percent(to_percent((x0, y0, x1, y1), where), where) == (x0, y0, x1, y1)


def test_percent_is_of_the_tile_not_of_the_scene() -> None:
    where = (1_000, 2_000, 200, 100)
    percent = to_percent((1_050, 2_025, 1_150, 2_075), where)
    assert percent == {"x": 25.0, "y": 25.0, "width": 50.0, "height": 50.0}


def test_clip_keeps_what_lies_in_the_tile() -> None:
    where = (100, 100, 50, 50)
    assert clip((90, 120, 110, 200), where) == (100, 120, 110, 150)
    assert clip((0, 0, 100, 100), where) is None


def test_a_box_drawn_past_the_border_is_clipped() -> None:
    where = (10, 20, 100, 100)
    assert from_percent({"x": -5, "y": 90, "width": 20, "height": 30}, where) == (10, 110, 25, 120)


def test_a_box_thinner_than_a_pixel_is_none() -> None:
    value = {"x": 10.0, "y": 10.0, "width": 0.1, "height": 20.0}
    assert from_percent(value, (0, 0, 100, 100)) is None


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [(0, (50, 50, 70, 60)), (90, (40, 50, 50, 70)), (180, (30, 40, 50, 50))],
)
def test_a_rotated_box_becomes_the_upright_one_around_it(
    rotation: float, expected: tuple[int, int, int, int]
) -> None:
    value = {"x": 50, "y": 50, "width": 20, "height": 10, "rotation": rotation}
    assert from_percent(value, (0, 0, 100, 100)) == expected
