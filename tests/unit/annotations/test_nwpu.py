import pytest

from lae_tasks.annotations import Annotation, AnnotationError, nwpu

#: Spaces stand anywhere and files end with blank lines, as in the published ones.
TEXT = b"""(563,478),(630,573),1\r
( 53, 71),(140,147), 4 \r
(10 ,20), ( 30,40) ,10\r
\r
\r
"""


def read(storage, data):
    storage.write("ground truth/001.txt", data)
    return nwpu.read(storage, "ground truth/", "positive image set/001.jpg", 958, 808)


def test_boxes_and_names(storage):
    assert read(storage, TEXT) == [
        Annotation("airplane", (563.0, 478.0, 630.0, 573.0)),
        Annotation("baseball diamond", (53.0, 71.0, 140.0, 147.0)),
        Annotation("vehicle", (10.0, 20.0, 30.0, 40.0)),
    ]


def test_the_negative_set_has_no_files(storage):
    assert nwpu.read(storage, "ground truth", "negative image set/002.jpg", 958, 808) is None


def test_an_empty_file_says_that_nothing_is_there(storage):
    assert read(storage, b"") == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"(1,2),(3,4),11", ["line 1", "class 11", "1 to 10"]),
        (b"(1,2),(3,4),0", ["class 0"]),
        (b"(1,2),(3,4),1\n(1,2),(3,4)", ["line 2", "write (x1,y1)"]),
        (b"(1,2),(3 3,4),1", ["is no box"]),
        (b"(1,2),(x,4),1", ["'x' is not a number"]),
    ],
)
def test_what_is_not_nwpu_is_refused(storage, data, words):
    with pytest.raises(AnnotationError) as caught:
        read(storage, data)
    assert all(word in str(caught.value) for word in ["ground truth/001.txt", *words])
