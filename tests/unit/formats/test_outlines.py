import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rasterio.features import rasterize

from lae_tasks.formats.outlines import trace
from lae_tasks.geometry import encode_mask

masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


def polygons(outlines):
    return shapely.from_ragged_array(
        shapely.GeometryType.POLYGON,
        outlines.points_px.astype(float),
        (outlines.rings, outlines.polygons),
    )


def traced(drawn, origins=None, object_of=None):
    """Of each object its polygons."""
    outlines = trace(
        [encode_mask(mask) for mask in drawn],
        [len(mask) for mask in drawn],
        origins or [(0, 0)] * len(drawn),
        object_of or range(len(drawn)),
    )
    found = polygons(outlines)
    return [found[outlines.object_of == n] for n in range(len(drawn))]


@given(st.lists(masks, min_size=1, max_size=5))
def test_an_outline_is_valid_and_has_the_masks_pixels(drawn):
    for mask, parts in zip(drawn, traced(drawn), strict=True):
        assert bool(len(parts)) == mask.any()
        if mask.any():
            shape = shapely.multipolygons(parts)
            assert shape.is_valid
            assert shape.area == mask.sum()
            assert (rasterize([shape], mask.shape) == mask).all()


@given(masks, masks, st.tuples(st.integers(-5, 5), st.integers(-5, 5)))
def test_several_masks_of_an_object_are_joined(one, other, offset):
    x, y = offset
    canvas = np.zeros((24, 24), dtype=bool)
    canvas[7 : 7 + one.shape[0], 7 : 7 + one.shape[1]] |= one
    canvas[7 + y :, 7 + x :][: other.shape[0], : other.shape[1]] |= other
    parts = traced([one, other], [(7, 7), (7 + x, 7 + y)], [0, 0])[0]
    shape = shapely.multipolygons(parts) if len(parts) else shapely.MultiPolygon()
    assert shape.is_valid
    assert shape.area == canvas.sum()
    if canvas.any():
        assert (rasterize([shape], canvas.shape) == canvas).all()


def test_an_island_in_a_hole_is_a_polygon_of_its_own():
    mask = np.ones((9, 9), dtype=bool)
    mask[1:8, 1:8] = False
    mask[3:6, 3:6] = True
    mask[4, 4] = False
    around, island = sorted(traced([mask])[0], key=lambda polygon: -polygon.area)
    assert (around.area, island.area) == (81 - 49, 8)
    assert len(around.interiors) == len(island.interiors) == 1


def test_many_holes_find_their_polygons():
    """So many that looking through all polygons for each would take an hour."""
    mask = np.zeros((150 * 5, 150 * 5), dtype=bool)
    for row in range(4):
        for column in range(4):
            mask[row::5, column::5] = not (row in (1, 2) and column in (1, 2))
    one, other = traced([mask, mask[:400]])
    assert (len(one), len(other)) == (150 * 150, 80 * 150)
    assert {len(polygon.interiors) for polygon in (*one, *other)} == {1}
    assert shapely.is_valid(one).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1)])
def test_outer_rings_run_clockwise_on_the_image(size):
    outlines = trace([encode_mask(np.ones(size, dtype=bool))], [size[0]], [(2, 3)], [0])
    ((number, ring),) = outlines.outer_rings()
    assert number == 0
    height, width = size
    assert ring.tolist() == [[2, 3], [2 + width, 3], [2 + width, 3 + height], [2, 3 + height]]


def test_nothing_has_no_outline():
    assert len(trace([], [], [], []).object_of) == 0
