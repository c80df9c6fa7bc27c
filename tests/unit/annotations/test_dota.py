import pytest

from lae_tasks.annotations import Annotation, AnnotationError, dota

V1_0 = b"""imagesource:GoogleEarth
gsd:0.146343590398
2753 2408 2861 2385 2888 2468 2805 2502 plane 0
3445 3391 3484 3409 3478 3422 3437 3402 large-vehicle 1
"""
#: v1.5 and v2.0 have no header; coordinates have decimals, and may lie outside the image.
V2_0 = b"""2244.0 1791.0 2254.5 1795.0 2245.0 1813.0 2238.0 1809.0 small-vehicle 1\r
-2.0 10.0 40.0 10.0 40.0 30.0 -2.0 30.0 container-crane 2\r
"""


def read(storage, data, image_key="2026/P0000.png"):
    storage.write("DOTA/labelTxt/P0000.txt", data)
    return dota.read(storage, "DOTA/labelTxt", image_key, 4000, 4000)


def test_the_header_of_v1_0_is_no_object(storage):
    plane, vehicle = read(storage, V1_0)
    assert plane == Annotation("plane", (2753.0, 2385.0, 2888.0, 2502.0))
    assert (vehicle.category, vehicle.difficult) == ("large-vehicle", True)


def test_v2_0_has_no_header_and_may_say_difficult_2(storage):
    vehicle, crane = read(storage, V2_0)
    assert vehicle.bbox_xyxy_px == (2238.0, 1791.0, 2254.5, 1813.0)
    assert (crane.category, crane.difficult) == ("container-crane", True)


def test_nine_fields_are_not_difficult(storage):
    assert not read(storage, b"1 1 5 1 5 5 1 5 ship")[0].difficult


@pytest.mark.parametrize("data", [b"", b"imagesource:GoogleEarth\ngsd:null\n", b"\xef\xbb\xbf\n\n"])
def test_a_file_without_objects_says_that_nothing_is_there(storage, data):
    assert read(storage, data) == []


def test_no_file_says_nothing(storage):
    assert read(storage, V1_0, "2026/P0001.png") is None


def test_folder_and_suffix_of_the_image_do_not_matter(storage):
    assert read(storage, V1_0, "P0000.tif") == read(storage, V1_0, "a/b/P0000.jpeg")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"gsd:1\n\n1 2 3 4 plane 0", ["line 3", "6 fields", "write x1 y1"]),
        (b"1 1 5 1 5 5 1 5 tennis court 0", ["line 1", "11 fields"]),
        (b"1 1 5 1 5 5 1 five plane 0", ["line 1", "'five' is not a number"]),
        (b"1 1 5 1 5 5 1 5 plane tr", ["line 1", "difficult is 'tr'"]),
        (b"1 1 5 1 5 5 1 5 plane 0\n1 1 5 1 5 5 1 5 caf\xe9 0", ["line 2", "not UTF-8"]),
    ],
)
def test_what_is_not_dota_is_refused(storage, data, words):
    with pytest.raises(AnnotationError) as caught:
        read(storage, data)
    assert all(word in str(caught.value) for word in ["DOTA/labelTxt/P0000.txt", *words])
