import pytest

from lae_tasks.annotations import Annotation, AnnotationError, fair1m

XML = b"""<?xml version="1.0" encoding="utf-8"?>
<annotation>
  <source>
    <filename>0.tif</filename>
    <origin>GF2/GF3</origin>
  </source>
  <research>
    <version>1.0</version>
    <provider>FAIR1M</provider>
    <pluginname>FAIR1M</pluginname>
    <pluginclass>object detection</pluginclass>
    <time>2021-07-21</time>
  </research>
  <objects>
    <object>
      <coordinate>pixel</coordinate>
      <type>rectangle</type>
      <description>None</description>
      <possibleresult>
        <name>Liquid Cargo Ship</name>
      </possibleresult>
      <points>
        <point>100.000000,50.500000</point>
        <point>160.000000,60.000000</point>
        <point>158.000000, 72.000000</point>
        <point>98.000000,62.500000</point>
        <point>100.000000,50.500000</point>
      </points>
    </object>
  </objects>
</annotation>
"""
LAST = b"        <point>100.000000,50.500000</point>\n      </points>"


def read(storage, data):
    storage.write("labelXml/0.xml", data)
    return fair1m.read(storage, "labelXml", "images/0.tif", 1000, 1000)


def test_the_fifth_point_closes_the_outline(storage):
    expected = [Annotation("Liquid Cargo Ship", (98.0, 50.5, 160.0, 72.0))]
    assert read(storage, XML) == expected
    assert read(storage, XML.replace(LAST, b"</points>")) == expected


def test_nothing_there_and_nothing_said(storage):
    assert read(storage, b"<annotation><objects/></annotation>") == []
    assert fair1m.read(storage, "labelXml", "images/1.tif", 1000, 1000) is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (LAST, LAST.replace(b"100.0", b"101.0"), ["line 15", "5 points is no closed box"]),
        (b"160.000000,60.000000", b"160.000000", ["line 24", "give 2 numbers"]),
        (b">pixel<", b">geodegree<", ["line 15", "'geodegree'", "in pixels"]),
        (b"objects>", b"things>", ["line 2", "<annotation> has no <objects>"]),
        (b"possibleresult>", b"result>", ["line 15", "has no <possibleresult/name>"]),
    ],
)
def test_what_is_not_fair1m_is_refused(storage, old, new, words):
    assert old in XML
    with pytest.raises(AnnotationError) as caught:
        read(storage, XML.replace(old, new))
    assert all(word in str(caught.value) for word in ["labelXml/0.xml", *words])
