import json

import pytest

from lae_tasks.annotations import Annotation, AnnotationError, xview


def feature(image_id="2355.tif", type_id=73, bounds="2712,1145,2746,1177"):
    """A feature as the published file has it."""
    return {
        "type": "Feature",
        "properties": {
            "bounds_imcoords": bounds,
            "edited_by": "somebody",
            "cat_id": "1040010028371A00",
            "type_id": type_id,
            "ingest_time": "2017/07/24 12:49:09.118+00",
            "index_right": 2356,
            "image_id": image_id,
            "point_geom": "0101000020E6100000",
            "feature_id": 374410,
            "grid_file": "Grid2.shp",
        },
        "geometry": {
            "type": "Polygon",
            "coordinates": [[[-90.5, 14.5], [-90.5, 14.6], [-90.4, 14.6], [-90.5, 14.5]]],
        },
    }


def collection(*features):
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    told = {"type": "FeatureCollection", "crs": crs, "features": features}
    return json.dumps(told).encode()


GEOJSON = collection(
    feature(),
    feature("100.tif", 18, "1,2,3,4"),
    feature(type_id=75, bounds="-5,0,20,30"),
)


def read(storage, data, image_key="train_images/2355.tif"):
    storage.write("xView_train.geojson", data)
    return xview.read(storage, "xView_train.geojson", image_key, 3000, 3000)


def test_boxes_of_one_image(storage):
    assert read(storage, GEOJSON)[0] == Annotation("Building", (2712.0, 1145.0, 2746.0, 1177.0))


def test_the_published_types_without_a_name_have_no_category(storage):
    assert read(storage, GEOJSON)[1] == Annotation(None, (-5.0, 0.0, 20.0, 30.0))


def test_there_are_60_classes():
    assert len(xview.CATEGORIES) == 60


def test_an_image_without_features_is_unknown(storage):
    assert read(storage, GEOJSON, "train_images/355.tif") is None


def test_a_damaged_feature_is_an_error_of_its_image_only(storage):
    data = collection(feature(), feature("100.tif", bounds=None))
    assert len(read(storage, data)) == 1
    with pytest.raises(AnnotationError, match="feature 2: bounds_imcoords is None"):
        read(storage, data, "100.tif")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (collection(feature(type_id=14)), ["feature 1", "type_id 14 is not in xView"]),
        (collection(feature(type_id="car")), ["feature 1", "'car' is not a number"]),
        (collection(feature(bounds="1,2,3")), ["feature 1", "give 4 numbers"]),
        (collection(feature(bounds="1,2,3,x")), ["feature 1", "'x' is not a number"]),
        (collection(feature(image_id=2355)), ["feature 1", "no text image_id"]),
        (collection({"type": "Feature"}), ["feature 1", "no text image_id"]),
        (b'{"features": {}}', ["'features' is {}"]),
        (b'{\n"features": [', ["line 2", "no JSON"]),
        (b"[]", ["give a JSON object"]),
        (b"[" * 200_000, ["no JSON"]),
        (b"", ["no JSON"]),
    ],
)
def test_what_is_not_xview_is_refused(storage, data, words):
    with pytest.raises(AnnotationError) as caught:
        read(storage, data)
    assert all(word in str(caught.value) for word in ["xView_train.geojson", *words])


def test_a_wrong_location_is_told(storage):
    with pytest.raises(AnnotationError, match="no such file; correct the data set's location"):
        xview.read(storage, "xview.geojson", "2355.tif", 3000, 3000)
