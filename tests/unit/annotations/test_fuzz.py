"""Damaged label files: each is read or refused; none fails in another way, or loses an object."""

import os
import random

import pytest

from lae_tasks.annotations import AnnotationError, read_annotations
from tests.unit.annotations import (
    test_coco,
    test_dota,
    test_fair1m,
    test_hrsc,
    test_nwpu,
    test_voc,
    test_xview,
    test_yolo,
)

N_FILES = int(os.environ.get("LAE_FUZZ_FILES", "2000")) // 5

RLE = {"size": [40, 60], "counts": "dn15S100000000000000000L"}
COCO = test_coco.dataset(
    {"bbox": [10.5, 5, 20, 8.25], "iscrowd": 0},
    {"segmentation": [[10, 5, 20.5, 5, 20, 9]]},
    {"segmentation": RLE, "iscrowd": 1},
    {"segmentation": {"size": [40, 60], "counts": [2004, 5, 391]}},
    {"keypoints": [12, 8, 2, 0, 0, 0]},
    file_name="P1.png",
)
#: format: (location, key of the file to damage, image, size, file)
FILES = {
    "coco": ("coco.json", "coco.json", "P1.png", (60, 40), COCO),
    "dota": ("", "P1.txt", "P1.png", (4000, 4000), test_dota.V1_0 + test_dota.V2_0),
    "fair1m": ("", "P1.xml", "P1.png", (1000, 1000), test_fair1m.XML),
    "hrsc": ("", "P1.xml", "P1.png", (1166, 753), test_hrsc.XML),
    "nwpu": ("", "P1.txt", "P1.png", (900, 900), test_nwpu.TEXT),
    "voc": ("", "P1.xml", "P1.png", (800, 800), test_voc.DIOR),
    "voc, oriented": ("", "P1.xml", "P1.png", (800, 800), test_voc.DIOR_R),
    "voc, as RSOD": ("", "P1.xml", "P1.png", (800, 800), test_voc.RSOD),
    "xview": ("x.geojson", "x.geojson", "2355.tif", (3000, 3000), test_xview.GEOJSON),
    "yolo": ("", "P1.txt", "P1.png", (200, 100), test_yolo.TEXT),
    "yolo, names": ("", "data.yaml", "P1.png", (200, 100), test_yolo.DATA_YAML),
}
SCRAPS = [b"", b"\x00", b"\xff", b"-", b"nan", b"1e999", b"9" * 400, b"\n", b'"', b"[", b"{", b"<"]
SCRAPS += [b"&a;", b"null", b"true", b"[]", b"\xef\xbb\xbf", b",", b":", b" ", b"\xc3\xa9"]


def damaged(data, rng):
    """The file with a few bytes exchanged, cut out, doubled or replaced by what is awkward."""
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        start = rng.randrange(len(data) + 1)
        stop = min(len(data), start + rng.choice([0, 1, 1, 2, 5, 40]))
        scrap = rng.choice([*SCRAPS, rng.randbytes(1), data[start:stop] * 2])
        data = data[:start] + scrap + data[stop:]
    return data


def check(annotation, width_px, height_px):
    x0, y0, x1, y1 = annotation.bbox_xyxy_px
    assert 0 <= x0 <= x1 <= width_px
    assert 0 <= y0 <= y1 <= height_px
    assert annotation.is_point or (x0 < x1 and y0 < y1)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused(storage, name):
    location, key, image_key, size, data = FILES[name]
    storage.write("P1.txt", test_yolo.TEXT)
    storage.write("classes.txt", b"plane\nno\n")
    rng = random.Random(name)
    read = refused = 0
    for _ in range(N_FILES):
        storage.write(key, damaged(data, rng))
        try:
            found = read_annotations(storage, name.partition(",")[0], location, image_key, *size)
        except AnnotationError as error:
            assert str(error).startswith((key, "P1"))
            refused += 1
            continue
        for each in found.items if found else ():
            check(each, *size)
        read += 1
    # Both happen: a fuzzer whose files are all sound, or all refused at once, shows nothing.
    assert min(read, refused) > N_FILES / 20, (read, refused)
