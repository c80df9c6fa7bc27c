import pickle

import pytest

from lae_tasks.annotations import FORMATS, AnnotationError, label_file, read_annotations
from lae_tasks.errors import ConfigError

NWPU = "\n".join(
    [
        "(10,20),(30,40),1",
        "(-10,-20),(30,40),2",  # clipped at the upper left
        "(90,70),(1e300,400),3",  # clipped at the lower right
        "(200,20),(300,40),4",  # outside
        "(30,40),(10,20),5",  # corners in the wrong order
        "(10,20),(10,40),6",  # no width
        "(nan,20),(30,40),7",
        "(10,20),(inf,40),8",
        f"(10,20),({10**400},40),9",
    ]
)


def test_boxes_are_clipped_and_what_is_left_out_is_counted(storage):
    storage.write("labels/1.txt", NWPU.encode())
    found = read_annotations(storage, "nwpu", "labels", "1.jpg", 100, 80)
    assert [each.bbox_xyxy_px for each in found.items] == [
        (10.0, 20.0, 30.0, 40.0),
        (0.0, 0.0, 30.0, 40.0),
        (90.0, 70.0, 100.0, 80.0),
    ]
    assert found.unusable == 6


def test_an_oriented_box_counts_by_its_envelope(storage):
    storage.write("1.txt", b"-2 10 40 10 40 30 -2 30 plane 0\n1 1 nan 1 5 5 1 5 plane 0")
    found = read_annotations(storage, "dota", "", "1.png", 100, 80)
    assert found.items[0].bbox_xyxy_px == (0.0, 10.0, 40.0, 30.0)
    assert found.unusable == 1


@pytest.mark.parametrize(("x", "inside"), [(0, True), (99.5, True), (100, False), (-1, False)])
def test_a_point_lies_inside_or_is_counted(storage, x, inside):
    told = (
        '{"images": [{"id": 1, "file_name": "1.png"}], "categories": [{"id": 1, "name": "car"}], '
        f'"annotations": [{{"image_id": 1, "category_id": 1, "keypoints": [{x}, 5, 2]}}, '
        '{"image_id": 1, "category_id": 1}]}'
    )
    storage.write("coco.json", told.encode())
    found = read_annotations(storage, "coco", "coco.json", "1.png", 100, 80)
    assert [each.bbox_xyxy_px for each in found.items] == [(x, 5, x, 5)] * inside
    assert found.unusable == 2 - inside


@pytest.mark.parametrize("name", set(FORMATS) - {"coco", "xview"})
def test_an_image_without_a_label_file_is_unknown(storage, name):
    assert read_annotations(storage, name, "labels", "1.png", 100, 80) is None


@pytest.mark.parametrize("name", FORMATS)
def test_the_file_that_is_read_is_the_one_that_is_told(storage, name):
    key = label_file(name, "data/labels", "images/1.png")
    storage.write(key, b"?")
    storage.write("data.yaml", b"names: [plane]")
    with pytest.raises(AnnotationError, match=f"^{key}"):
        read_annotations(storage, name, "data/labels", "images/1.png", 100, 80)


def test_a_location_that_is_a_file_has_no_label_files(storage):
    storage.write("labels", b"")
    assert read_annotations(storage, "dota", "labels", "1.png", 100, 80) is None


def test_an_unknown_format_is_told(storage):
    with pytest.raises(ConfigError, match="'kitti': use one of coco, dota, voc"):
        read_annotations(storage, "kitti", "labels", "1.png", 100, 80)


def test_an_error_survives_the_way_from_a_worker():
    error = AnnotationError("a.txt, line 3", "'x' is not a number", "write one")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == "a.txt, line 3: 'x' is not a number; write one"
