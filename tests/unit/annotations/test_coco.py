import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from lae_tasks.annotations import Annotation, AnnotationError, coco, read_annotations
from lae_tasks.annotations.coco_rle import rle_box
from lae_tasks.geometry import mask_bbox
from lae_tasks.regions.rle import rle_in_frame
from lae_tasks.storage import LocalStorage

WIDTH, HEIGHT = 60, 40


def dataset(*annotations, file_name="train/P1.png", **image):
    told = {
        "info": {"year": 2024},
        "licenses": [],
        "images": [
            {"id": 7, "file_name": file_name, "width": WIDTH, "height": HEIGHT} | image,
            {"id": 8, "file_name": "train/P2.png", "width": WIDTH, "height": HEIGHT},
        ],
        "annotations": [
            {"id": 100 + count, "image_id": 7, "category_id": 3} | each
            for count, each in enumerate(annotations)
        ],
        "categories": [{"id": 3, "name": "Schiff (groß)", "supercategory": "none"}],
    }
    return json.dumps(told, ensure_ascii=False).encode()


def read(storage, data, image_key="2026/train/P1.png"):
    storage.write("iSAID/instances.json", data)
    return coco.read(storage, "iSAID/instances.json", image_key, WIDTH, HEIGHT)


def test_a_box_is_x_y_width_height(storage):
    data = dataset({"bbox": [10.5, 5, 20, 8.25], "area": 165, "segmentation": [], "iscrowd": 0})
    assert read(storage, data) == [Annotation("Schiff (groß)", (10.5, 5.0, 30.5, 13.25))]


@pytest.mark.parametrize("yes", [1, True])
def test_what_is_ignored_is_difficult(storage, yes):
    box = {"bbox": [1, 1, 5, 5]}
    ignored, plain = read(storage, dataset(box | {"ignore": yes}, box | {"ignore": False}))
    assert (ignored.difficult, plain.difficult) == (True, False)


@pytest.mark.parametrize("yes", [1, True])
def test_a_crowd_is_not_one_object(storage, yes):
    box = {"bbox": [1, 1, 5, 5]}
    storage.write("x.json", dataset(box | {"iscrowd": yes}, box | {"iscrowd": False}))
    found = read_annotations(storage, "coco", "x.json", "train/P1.png", WIDTH, HEIGHT)
    assert (len(found.items), found.unusable) == (1, 1)


def test_the_outline_of_what_has_a_box_is_not_kept():
    polygon = {"segmentation": [[1, 1, 5, 1, 5, 5]]}
    parsed = coco._parse(dataset(polygon | {"bbox": [1, 1, 5, 5]}, polygon), "x.json")
    assert ["segmentation" in entry for entry in parsed.annotations["7"]] == [False, True]


NO_AREA = [[0, 0, 0, 0], [3, 3, 5, 0], [3, 3, -5, -5], [math.nan] * 4, [0, 0, 10**400, 9]]


@pytest.mark.parametrize(
    "bbox", [{}, {"bbox": []}, {"bbox": None}, *({"bbox": each} for each in NO_AREA)]
)
def test_without_a_box_polygons_give_it(storage, bbox):
    polygons = [[10, 5, 20.5, 5, 20, 9], [30, 2, 31, 8, 29, 8]]
    (found,) = read(storage, dataset(bbox | {"segmentation": polygons}))
    assert found.bbox_xyxy_px == (10.0, 2.0, 31.0, 9.0)


@pytest.mark.parametrize("compressed", [True, False])
def test_without_a_box_an_rle_gives_it(storage, compressed):
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[4:9, 50:60] = 1
    rle = {"size": [HEIGHT, WIDTH], "counts": coco_mask.encode(mask)["counts"].decode()}
    if not compressed:
        # Columns of 40: 50 empty ones, then 4 zeros, 5 ones and 31 zeros of each.
        rle["counts"] = [50 * 40 + 4, *[5, 35] * 9, 5, 31]
    (found,) = read(storage, dataset({"segmentation": rle}))
    assert found == Annotation("Schiff (groß)", (50.0, 4.0, 60.0, 9.0))


@given(st.integers(0, 2**32 - 1), st.integers(0, 50), st.integers(0, 30))
def test_what_a_release_writes_as_rle_comes_back(tmp_path_factory, seed, left, top):
    mask = np.random.default_rng(seed).random((10, 10)) < 0.1
    mask[5, 5] = True
    x0, y0, x1, y1 = mask_bbox(mask)
    counts = rle_in_frame(mask, left, top, WIDTH, HEIGHT)
    storage = LocalStorage(tmp_path_factory.getbasetemp())
    rle = {"size": [HEIGHT, WIDTH], "counts": counts}
    (found,) = read(storage, dataset({"segmentation": rle}))
    assert found.bbox_xyxy_px == (x0 + left, y0 + top, x1 + left, y1 + top)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30))
def test_a_damaged_rle_is_refused_before_pycocotools_sees_it(counts):
    try:
        x0, y0, x1, y1 = rle_box({"size": [HEIGHT, WIDTH], "counts": counts}, (WIDTH, HEIGHT), "x")
    except AnnotationError:
        return
    assert 0 <= x0 <= x1 <= WIDTH
    assert 0 <= y0 <= y1 <= HEIGHT


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_every_rle_of_pycocotools_is_read(seed, share):
    mask = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < share
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    told = {"size": rle["size"], "counts": rle["counts"].decode()}
    box = rle_box(told, (WIDTH, HEIGHT), "x")
    assert box == tuple(map(float, mask_bbox(mask) if mask.any() else (0, 0, 0, 0)))


def test_without_any_box_it_is_around_the_visible_keypoints(storage):
    keypoints = [12, 10, 2, 0, 0, 0, 13.5, 90, 1, 20, 8, 2]
    data = dataset({"keypoints": keypoints, "num_keypoints": 3})
    assert read(storage, data) == [Annotation("Schiff (groß)", (12.0, 8.0, 20.0, 10.0))]


def test_a_box_without_area_gives_way_to_keypoints(storage):
    (found,) = read(storage, dataset({"bbox": [0, 0, 0, 0], "keypoints": [12, 8, 2, 20, 9, 2]}))
    assert found.bbox_xyxy_px == (12.0, 8.0, 20.0, 9.0)


@pytest.mark.parametrize("keypoints", [[12, 8, 2], [12, 8, 2, 20, 8, 2], [12, 8, 2, 12, 9, 2]])
def test_keypoints_that_span_no_box_are_one_point(storage, keypoints):
    (found,) = read(storage, dataset({"keypoints": keypoints}))
    assert found == Annotation("Schiff (groß)", (12.0, 8.0, 12.0, 8.0), is_point=True)


def test_an_annotation_without_a_place_is_not_lost(storage):
    (found,) = read(storage, dataset({"keypoints": [0, 0, 0]}))
    assert found.category == "Schiff (groß)"
    assert np.isnan(found.bbox_xyxy_px).all()
    (found,) = read(storage, dataset({"segmentation": [[]]}))
    assert np.isnan(found.bbox_xyxy_px).all()


def test_an_image_without_annotations_and_one_that_is_not_listed(storage):
    assert read(storage, dataset(), "train/P2.png") == []
    assert read(storage, dataset(), "train/P3.png") is None
    assert read(storage, dataset(), "val/P1.png") is None


@pytest.mark.parametrize(
    "file_name", ["P1.png", "2026/train/P1.png", "/data/2026/train/P1.png", "..\\train\\P1.png"]
)
def test_a_file_name_may_be_shorter_or_longer_than_the_key(storage, file_name):
    assert read(storage, dataset(file_name=file_name)) == []


def test_two_images_that_fit_are_refused_unless_one_is_the_key_itself(storage):
    data = dataset(file_name="P2.png")
    with pytest.raises(AnnotationError, match=r"2 images fit the key '2026/train/P2.png'"):
        read(storage, data, "2026/train/P2.png")
    assert read(storage, data, "train/P2.png") == []


def test_the_file_is_parsed_once_and_again_when_it_changes(storage, monkeypatch):
    reads = []
    once = storage.read
    monkeypatch.setattr(storage, "read", lambda key: reads.append(key) or once(key))
    data = dataset({"bbox": [1, 1, 5, 5]})
    assert len(read(storage, data)) == 1
    coco.read(storage, "iSAID/instances.json", "train/P2.png", WIDTH, HEIGHT)
    assert len(reads) == 1
    assert read(storage, dataset(*[{"bbox": [1, 1, 5, 5]}] * 2))[1:]
    assert len(reads) == 2


def test_of_many_files_the_least_recently_used_goes_first(storage, monkeypatch):
    reads = []
    once = storage.read
    monkeypatch.setattr(storage, "read", lambda key: reads.append(key) or once(key))
    names = [f"{count}.json" for count in range(9)]
    for name in names:
        storage.write(name, dataset())
    for name in (*names[:8], "0.json", "8.json", "0.json", "1.json"):
        coco.read(storage, name, "train/P1.png", WIDTH, HEIGHT)
    assert reads == [*names, "1.json"]


def test_ids_may_be_numbers_here_and_texts_there(storage):
    data = dataset({"bbox": [1, 1, 5, 5], "image_id": "7", "category_id": "3"})
    assert len(read(storage, data)) == 1


def test_ids_may_be_whole_numbers_with_a_point(storage):
    """As pandas writes them where one was missing once."""
    data = dataset({"bbox": [1, 1, 5, 5], "image_id": 7.0, "category_id": 3.0})
    assert len(read(storage, data)) == 1
    assert len(read(storage, dataset({"bbox": [1, 1, 5, 5]}, id=7.0))) == 1


def test_ids_that_occur_twice_are_refused(storage):
    with pytest.raises(AnnotationError, match="two of 'images' have the id 8"):
        read(storage, dataset(id="8"))


def test_a_byte_order_mark_is_no_content(storage):
    assert read(storage, b"\xef\xbb\xbf" + dataset()) == []


RLE = {"size": [HEIGHT, WIDTH], "counts": [0, WIDTH * HEIGHT]}


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"bbox": [1, 2, 3]}, ["annotation 100", "give 4 numbers"]),
        ({"bbox": [1, 2, 3, "wide"]}, ["annotation 100", "'wide' is not a number"]),
        ({"bbox": [1, 2, 3, True]}, ["True is not a number"]),
        ({"bbox": {"x": 1}}, ["bbox is {'x': 1}"]),
        ({"category_id": 4}, ["category_id 4 is unknown", "list it in 'categories'"]),
        ({"category_id": None}, ["category_id is None"]),
        ({"category_id": 3.5}, ["category_id is 3.5", "give a whole number or a text"]),
        ({"category_id": math.nan}, ["category_id is nan"]),
        ({"image_id": [7]}, ["image_id is [7]"]),
        ({"image_id": 9}, ["annotation 100", "image_id 9 is unknown", "list it in 'images'"]),
        ({"image_id": True}, ["image_id is True"]),
        ({"iscrowd": "yes"}, ["'yes' is not a number"]),
        ({"segmentation": [[1, 2, 3, 4, 5]]}, ["polygon is [1, 2, 3, 4, 5]"]),
        ({"segmentation": "x"}, ["segmentation is 'x'"]),
        ({"segmentation": RLE | {"size": [0, 0]}}, ["size is [0, 0]", "make it [40, 60]"]),
        ({"segmentation": RLE | {"counts": [-1, 2401]}}, ["do not add up"]),
        ({"segmentation": RLE | {"counts": "µ"}}, ["counts are 'µ'"]),
        ({"segmentation": RLE | {"counts": "0P"}}, ["counts are '0P'"]),
        ({"segmentation": RLE | {"counts": "05"}}, ["do not add up"]),
        ({"segmentation": RLE | {"counts": {}}}, ["counts are {}"]),
        ({"keypoints": [1, 2]}, ["keypoints is [1, 2]"]),
    ],
)
def test_what_is_not_coco_is_refused(storage, annotation, words):
    with pytest.raises(AnnotationError) as caught:
        read(storage, dataset(annotation))
    assert all(word in str(caught.value) for word in ["iSAID/instances.json", *words])


def test_annotations_of_an_image_of_another_size_are_refused(storage):
    with pytest.raises(AnnotationError, match="image 7: it is about an image of 120 x 80 px"):
        read(storage, dataset(width=120, height=80))
    assert read(storage, dataset(width=None, height=None)) == []
