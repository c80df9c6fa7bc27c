import pytest

from lae_tasks.annotations import Annotation, AnnotationError, voc

#: As DIOR has it: tabs, no `difficult`; and as VOC itself may have it: a `part` within the object.
DIOR = b"""<?xml version="1.0"?>
<annotation>
\t<filename>00001.jpg</filename>
\t<source>
\t\t<database>DIOR</database>
\t</source>
\t<size>
\t\t<width>800</width>
\t\t<height>800</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
\t<object>
\t\t<name>golffield</name>
\t\t<pose>Unspecified</pose>
\t\t<bndbox>
\t\t\t<xmin>133</xmin>
\t\t\t<ymin>237</ymin>
\t\t\t<xmax>684</xmax>
\t\t\t<ymax>672</ymax>
\t\t</bndbox>
\t</object>
\t<object>
\t\t<name>Expressway-Service-area</name>
\t\t<difficult>1</difficult>
\t\t<bndbox>
\t\t\t<ymin>1</ymin>
\t\t\t<xmin>1</xmin>
\t\t\t<ymax>800</ymax>
\t\t\t<xmax>8.5</xmax>
\t\t</bndbox>
\t\t<part>
\t\t\t<name>roof</name>
\t\t\t<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>3</xmax><ymax>3</ymax></bndbox>
\t\t</part>
\t</object>
</annotation>
"""

DIOR_R = b"""<annotation>
    <folder>x</folder>
    <filename>00001.jpg</filename>
    <size><width>800</width><height>800</height><depth>3</depth></size>
    <object>
        <type>robndbox</type>
        <name>ship</name>
        <truncated>0</truncated>
        <difficult>0</difficult>
        <robndbox>
            <x_left_top>101</x_left_top>
            <y_left_top>201</y_left_top>
            <x_right_top>151</x_right_top>
            <y_right_top>191</y_right_top>
            <x_right_bottom>155</x_right_bottom>
            <y_right_bottom>211</y_right_bottom>
            <x_left_bottom>105</x_left_bottom>
            <y_left_bottom>221</y_left_bottom>
        </robndbox>
        <angle>-0.2</angle>
    </object>
    <object>
        <type>bndbox</type>
        <name>dam</name>
        <bndbox><xmin>10</xmin><ymin>20</ymin><xmax>50</xmax><ymax>80</ymax></bndbox>
    </object>
</annotation>
"""

#: RSOD's order of elements: ymax before xmax, the size after the objects, and an owner with a name.
RSOD = b"""<annotation>
\t<source>
\t\t<database>Lmars Detection Dataset of RS</database>
\t</source>
\t<object>
\t\t<bndbox>
\t\t\t<xmin>95</xmin>
\t\t\t<ymin>27</ymin>
\t\t\t<ymax>98</ymax>
\t\t\t<xmax>159</xmax>
\t\t</bndbox>
\t\t<difficult>0</difficult>
\t\t<pose>Left</pose>
\t\t<name>aircraft</name>
\t\t<truncated>1</truncated>
\t</object>
\t<filename>aircraft_1.jpg</filename>
\t<owner>
\t\t<name>Lmars, Wuhan University</name>
\t</owner>
\t<size>
\t\t<width>800</width>
\t\t<depth>3</depth>
\t\t<height>800</height>
\t</size>
</annotation>
"""


def read(storage, data, size=(800, 800)):
    storage.write("Annotations/00001.xml", data)
    return voc.read(storage, "Annotations", "JPEGImages/00001.jpg", *size)


def test_pixels_count_from_1_and_the_last_one_belongs_to_the_box(storage):
    assert read(storage, DIOR) == [
        Annotation("golffield", (132.0, 236.0, 684.0, 672.0)),
        Annotation("Expressway-Service-area", (0.0, 0.0, 8.5, 800.0), difficult=True),
    ]


def test_dior_r_has_corners_of_some_objects_and_boxes_of_others(storage):
    ship, dam = read(storage, DIOR_R)
    assert ship.bbox_xyxy_px == (100.5, 190.5, 154.5, 220.5)
    assert dam == Annotation("dam", (9.0, 19.0, 50.0, 80.0))


def test_the_order_of_elements_does_not_matter(storage):
    assert read(storage, RSOD) == [Annotation("aircraft", (94.0, 26.0, 159.0, 98.0))]


def test_a_file_without_objects_says_that_nothing_is_there(storage):
    assert read(storage, b"<annotation/>") == []


def test_no_file_says_nothing(storage):
    assert voc.read(storage, "Annotations", "00002.jpg", 800, 800) is None


@pytest.mark.parametrize("size", [b"", b"0"])
def test_a_size_that_is_not_filled_in_is_not_compared(storage, size):
    data = DIOR.replace(b"<width>800", b"<width>" + size).replace(
        b"<height>800", b"<height>" + size
    )
    assert len(read(storage, data, (1024, 768))) == 2


@pytest.mark.parametrize("encoding", ["iso-8859-1", "utf-16", "gbk", "utf-8-sig"])
def test_the_encoding_is_the_one_that_the_file_declares(storage, encoding):
    name = "机场" if encoding == "gbk" else "aéroport"
    declared = encoding.replace("-sig", "")
    told = DIOR_R.decode().replace("ship", name)
    data = f'<?xml version="1.0" encoding="{declared}"?>\n{told}'.encode(encoding)
    assert read(storage, data)[0].category == name


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"<xmin>133</xmin>", b"", ["line 16", "<bndbox> has no <xmin>"]),
        (b"<xmin>133</xmin>", b"<xmin> </xmin>", ["line 17", "<xmin> is empty", "fill it in"]),
        (b"<xmin>133</xmin>", b"<xmin>left</xmin>", ["line 17", "'left' is not a number"]),
        (b"<name>golffield</name>", b"<name/>", ["line 14", "<name> is empty"]),
        (b"<difficult>1", b"<difficult>maybe", ["line 25", "'maybe'", "write 0 or 1"]),
        (b"bndbox>", b"box>", ["line 13", "no <bndbox> or <robndbox>"]),
        (b"<width>800", b"<width>600", ["600 x 800 px", "the image has 800 x 800 px"]),
        (b"golffield", b"terrain \xe9", ["line 14", "no XML"]),
        (b"annotation>", b"HRSC_Image>", ["<HRSC_Image>, not <annotation>", "annotation format"]),
        (b"<segmented>0</segmented>", b"<objects/>", ["use the format fair1m"]),
        (DIOR, b"", ["line 1", "no XML"]),
    ],
)
def test_what_is_not_voc_is_refused(storage, old, new, words):
    assert old in DIOR
    with pytest.raises(AnnotationError) as caught:
        read(storage, DIOR.replace(old, new))
    assert all(word in str(caught.value) for word in ["Annotations/00001.xml", *words])


@pytest.mark.parametrize(
    "doctype",
    [
        b'<!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
        b'<!DOCTYPE annotation [<!ENTITY x "aaaa"><!ENTITY y "&x;&x;&x;&x;">]>',
        b'<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/voc.dtd">',
    ],
)
def test_entities_are_neither_expanded_nor_fetched(storage, doctype):
    with pytest.raises(AnnotationError, match="it has a DOCTYPE"):
        read(storage, doctype + b"<annotation><object><name>ship</name></object></annotation>")


def test_a_difficulty_that_is_unspecified_is_none(storage):
    data = DIOR.replace(b"<difficult>1<", b"<difficult>Unspecified<")
    storage.write("Annotations/00001.xml", data)
    found = voc.read(storage, "Annotations", "00001.jpg", 800, 800)
    assert [each.difficult for each in found] == [False, False]
