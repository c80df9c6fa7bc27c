import math

import pytest

from lae_tasks.annotations import AnnotationError, hrsc

XML = b"""<HRSC_Image>
  <Img_ID>100000001</Img_ID>
  <Img_FileName>100000001</Img_FileName>
  <Img_FileFmt>bmp</Img_FileFmt>
  <Img_Location>69.040297,33.070036</Img_Location>
  <Img_SizeWidth>1166</Img_SizeWidth>
  <Img_SizeHeight>753</Img_SizeHeight>
  <Img_SizeDepth>3</Img_SizeDepth>
  <Img_SclPxlNum></Img_SclPxlNum>
  <Annotated>1</Annotated>
  <HRSC_Objects>
    <HRSC_Object>
      <Object_ID>100000001</Object_ID>
      <Class_ID>100000013</Class_ID>
      <truncated>0</truncated>
      <difficult>0</difficult>
      <box_xmin>194</box_xmin>
      <box_ymin>243</box_ymin>
      <box_xmax>972</box_xmax>
      <box_ymax>507</box_ymax>
      <mbox_cx>500.0</mbox_cx>
      <mbox_cy>300.0</mbox_cy>
      <mbox_w>200.0</mbox_w>
      <mbox_h>40.0</mbox_h>
      <mbox_ang>-0.5235988</mbox_ang>
      <header_x>964</header_x>
      <header_y>290</header_y>
    </HRSC_Object>
  </HRSC_Objects>
</HRSC_Image>
"""


def read(storage, data, size=(1166, 753)):
    storage.write("Annotations/100000001.xml", data)
    return hrsc.read(storage, "Annotations", "AllImages/100000001.bmp", *size)


def test_an_angle_turns_x_towards_y(storage):
    (ship,) = read(storage, XML)
    assert (ship.category, ship.difficult) == ("Kuznetsov", False)
    cos, sin = math.cos(math.pi / 6), 0.5
    half_width, half_height = 100 * cos + 20 * sin, 100 * sin + 20 * cos
    assert ship.bbox_xyxy_px == pytest.approx(
        (500 - half_width, 300 - half_height, 500 + half_width, 300 + half_height), abs=1e-4
    )


@pytest.mark.parametrize("angle", [0.0, 0.3, -1.2, math.pi / 2])
def test_centre_and_size_come_back_from_the_corners(angle):
    (a, b, c, _) = hrsc._corners(500, 300, 200, 40, angle)
    assert (math.dist(a, b), math.dist(b, c)) == pytest.approx((200, 40))
    assert math.atan2(b[1] - a[1], b[0] - a[0]) == pytest.approx(angle)
    assert ((a[0] + c[0]) / 2, (a[1] + c[1]) / 2) == pytest.approx((500, 300))


def test_a_byte_order_mark_is_no_content(storage):
    assert len(read(storage, b"\xef\xbb\xbf" + XML)) == 1


def test_an_image_without_ships_and_one_that_was_not_annotated(storage):
    head, tail = XML.split(b"<HRSC_Objects>")[0], b"<HRSC_Objects/></HRSC_Image>"
    assert read(storage, head + tail) == []
    assert read(storage, head.replace(b"<Annotated>1", b"<Annotated>0") + tail) is None
    assert hrsc.read(storage, "Annotations", "100000002.bmp", 1166, 753) is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"100000013", b"100000021", ["line 12", "'100000021' is not in HRSC2016"]),
        (b"mbox_ang>", b"angle>", ["line 12", "<HRSC_Object> has no <mbox_ang>"]),
        (b"1166", b"1172", ["1172 x 753 px"]),
        (b"HRSC_Image>", b"annotation>", ["not <HRSC_Image>"]),
    ],
)
def test_what_is_not_hrsc_is_refused(storage, old, new, words):
    with pytest.raises(AnnotationError) as caught:
        read(storage, XML.replace(old, new))
    assert all(word in str(caught.value) for word in ["Annotations/100000001.xml", *words])
