import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tasks.annotations import Annotation, AnnotationError, yolo
from lae_tasks.storage import LocalStorage

WIDTH, HEIGHT = 200, 100
#: All three kinds of lines; a corner of an oriented box may lie outside the image.
TEXT = b"""0 0.5 0.5 0.25 0.5\r
1 0.780811 0.74 0.782371 0.75 0.777691 0.76 -0.01 0.749758\r
1 0.1 0.1 0.2 0.1 0.2 0.3 0.15 0.4 0.1 0.3\r
"""
DATA_YAML = b"""# DOTA 1.0, as Ultralytics has it
path: dota8
train: images/train
names:
  0: plane
  1: no  # a name all the same
"""


def read(storage, data, names=DATA_YAML, names_key="dota8/data.yaml"):
    storage.write("dota8/labels/train/P1.txt", data)
    storage.write(names_key, names)
    return yolo.read(storage, "dota8/labels/train", "dota8/images/train/P1.png", WIDTH, HEIGHT)


def test_boxes_oriented_boxes_and_outlines(storage):
    plane, turned, segment = read(storage, TEXT)
    assert plane == Annotation("plane", (75.0, 25.0, 125.0, 75.0))
    assert turned.category == "no"
    assert turned.bbox_xyxy_px == pytest.approx((-2.0, 74.0, 156.4742, 76.0))
    assert segment.bbox_xyxy_px == pytest.approx((20.0, 10.0, 40.0, 40.0))


@given(st.tuples(*[st.floats(0, 1)] * 4))
def test_a_box_comes_back(tmp_path_factory, box):
    x0, x1 = sorted((box[0] * WIDTH, box[1] * WIDTH))
    y0, y1 = sorted((box[2] * HEIGHT, box[3] * HEIGHT))
    centre = (x0 + x1) / 2 / WIDTH, (y0 + y1) / 2 / HEIGHT
    line = " ".join(map(str, (0, *centre, (x1 - x0) / WIDTH, (y1 - y0) / HEIGHT)))
    storage = LocalStorage(tmp_path_factory.getbasetemp())
    (found,) = read(storage, line.encode())
    assert found.bbox_xyxy_px == pytest.approx((x0, y0, x1, y1), abs=1e-9)


@pytest.mark.parametrize(
    ("names", "names_key"),
    [
        (b"names: [plane, 'no']\nnc: 2\n", "dota8/data.yaml"),
        (b"names: {0: plane, 1: no}", "data.yaml"),
        (b"\xef\xbb\xbfplane\r\nno\r\n", "dota8/labels/train/classes.txt"),
        (b"plane\nno", "dota8/classes.txt"),
    ],
)
def test_names_lie_with_the_labels_or_above(storage, names, names_key):
    assert [each.category for each in read(storage, TEXT, names, names_key)] == [
        "plane",
        "no",
        "no",
    ]


POSE_YAML = b"names: [plane, no]\nkpt_shape: [2, 3]\n"
BOX = "0 0.5 0.5 0.25 0.5"


@pytest.mark.parametrize(
    ("shape", "points"),
    [
        ("[2, 3]", " 0.1 0.2 2 0.3 0.4 0"),  # 11 fields: an outline, if the shape were not known
        ("[2, 2]", " 0.1 0.2 0.3 0.4"),  # 9 fields: an oriented box
        ("[2, 3]", " 300 200 2 300 200 0"),
        ("[2, 3]", ""),
    ],
)
def test_of_a_pose_the_box_is_read(storage, shape, points):
    names = POSE_YAML.replace(b"[2, 3]", shape.encode())
    assert read(storage, (BOX + points).encode(), names) == [
        Annotation("plane", (75.0, 25.0, 125.0, 75.0))
    ]


def test_of_a_pose_another_row_is_refused(storage):
    with pytest.raises(AnnotationError, match=r"P1.txt, line 2: .* has 9 fields; write .* and 6 n"):
        read(storage, f"{BOX}\n{BOX} 1 1 1 1".encode(), POSE_YAML)


@pytest.mark.parametrize(
    "shape",
    [
        "17",
        "[17]",
        "[0, 3]",
        "[-1, 3]",
        "[17, 4]",
        "[a, 3]",
        "[2.5, 2]",
        "{a: 1}",
        f"[{'9' * 5000}, 3]",
    ],
)
def test_a_shape_of_keypoints_that_is_none_is_told(storage, shape):
    with pytest.raises(AnnotationError, match=r"^dota8/data.yaml: .*such as \[17, 3\]$"):
        read(storage, TEXT, f"names: [plane, no]\nkpt_shape: {shape}".encode())


def test_a_name_of_spaces_is_none(storage):
    for names, key in ((b"names: [' ', no]", "data.yaml"), (b" \nno", "classes.txt")):
        with pytest.raises(AnnotationError, match="class 0 has no name"):
            read(storage, TEXT, names, f"dota8/labels/{key}")
        storage.delete(f"dota8/labels/{key}")


def test_the_nearest_names_count(storage):
    storage.write("data.yaml", b"names: [another, one]")
    assert read(storage, TEXT)[0].category == "plane"


def test_an_empty_file_needs_no_names_and_no_file_says_nothing(storage):
    storage.write("labels/P1.txt", b"\n")
    assert yolo.read(storage, "labels", "P1.png", WIDTH, HEIGHT) == []
    assert yolo.read(storage, "labels", "P2.png", WIDTH, HEIGHT) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"0 0.5 0.5 0.1 0.1 0.93", ["line 1", "6 fields"]),
        (b"0 0.5 0.5 0.1", ["line 1", "4 fields"]),
        (b"\n2 0.5 0.5 0.1 0.1", ["line 2", "class 2 has no name"]),
        (b"-1 0.5 0.5 0.1 0.1", ["class -1 has no name"]),
        (b"0.5 0.5 0.5 0.1 0.1", ["'0.5' is not a whole number"]),
        (b"plane 0.5 0.5 0.1 0.1", ["'plane' is not a number"]),
        (b"0 100 50 20 30", ["line 1", "is not normalised", "divide x"]),
        (b"0 0.5 0.5 0.1 O.1", ["'O.1' is not a number"]),
    ],
)
def test_what_is_not_yolo_is_refused(storage, data, words):
    with pytest.raises(AnnotationError) as caught:
        read(storage, data)
    assert all(word in str(caught.value) for word in ["dota8/labels/train/P1.txt", *words])


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (b"names: 3", ["data.yaml", "'names' is '3'"]),
        (b"names: [[a], b]", ["data.yaml", "give a list of names"]),
        (b"names: {a: plane}", ["data.yaml", "'a' is not a number"]),
        (b"names: [", ["data.yaml", "no YAML"]),
        (b"- a", ["data.yaml", "'names' is None"]),
        (b"[" * 100_000, ["data.yaml", "no YAML"]),
    ],
)
def test_names_that_cannot_be_read_are_told(storage, names, words):
    with pytest.raises(AnnotationError) as caught:
        read(storage, TEXT, names)
    assert all(word in str(caught.value) for word in words)


def test_missing_names_are_told(storage):
    storage.write("labels/P1.txt", TEXT)
    with pytest.raises(AnnotationError, match=r"labels: it has no data.yaml or classes.txt; put"):
        yolo.read(storage, "labels", "P1.png", WIDTH, HEIGHT)
