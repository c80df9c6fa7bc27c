import logging

import numpy as np
import psutil
import pyarrow as pa
import pytest

import lae_tasks
from lae_tasks.errors import ContractError
from lae_tasks.formats import tables
from lae_tasks.formats.writing import Source
from lae_tasks.releases import NoReleaseError, pull, read_release
from lae_tasks.releases.dataset import (
    ANNOTATION_SCHEMA,
    Annotation,
    Annotations,
    Category,
    Dataset,
    ReleaseImage,
)
from lae_tasks.releases.manifest import ReleaseFile
from lae_tasks.releases.marks import yank
from lae_tasks.releases.reading import Release
from lae_tasks.storage import LocalStorage
from lae_tasks.tables import sha256_of

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]


@pytest.fixture
def release(published):
    return lae_tasks.load_release(published.store.uri, "v1.0.0")


def test_records_are_typed_and_whole(release):
    counts = release.manifest.counts
    assert len(release.images) == counts["images"]
    assert {type(each) for each in release.images} == {ReleaseImage}
    assert {type(each) for each in release.categories} == {Category}
    assert [each.category_id for each in release.categories] == [
        each.category_id for each in release.manifest.categories
    ]
    annotations = list(release.annotations())
    assert len(annotations) == counts["annotations"]
    first = annotations[0]
    assert type(first) is Annotation
    assert type(first.bbox_xyxy_px) is type(first.bbox_scene_xyxy_px) is tuple
    assert first.source == "engine:sure"


def test_images_come_with_their_annotations_by_split(published):
    release = lae_tasks.load_release(published.store.uri)
    every = list(release.by_image())
    assert [image for image, _ in every] == list(release.images)
    assert all(
        each.image_id == image.image_id for image, annotations in every for each in annotations
    )
    parts = {name: list(release.by_image(split=name)) for name in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == len(every)
    for name, pairs in parts.items():
        assert {image.split for image, _ in pairs} <= {name}
        annotations = sum(len(each) for _, each in pairs)
        assert annotations == release.manifest.splits.get(name, {}).get("annotations", 0)


def test_pixels_are_those_of_the_image(release):
    image = release.images[0]
    pixels = release.pixels(image)
    assert pixels.shape == (image.height_px, image.width_px, 3)
    assert pixels.dtype == np.uint8


def test_nothing_is_read_before_it_is_asked_for(own):
    class Counting(LocalStorage):
        seen = ()

        def read(self, key):
            self.seen = (*self.seen, key)
            return super().read(key)

        def download(self, key, path):
            self.seen = (*self.seen, key)
            super().download(key, path)

    store = Counting(own.store.root)
    release = Release(store, read_release(own.store))
    assert store.seen == ()
    assert next(release.annotations())
    assert store.seen == (release.manifest.file(tables.ANNOTATIONS_PATH).key,)


@pytest.mark.parametrize("name", ["images", "categories", "annotations"])
def test_a_damaged_table_is_told(own, name):
    release = lae_tasks.load_release(own.store.uri)
    file = release.manifest.file(f"tables/{name}.parquet")
    content = bytearray(own.store.read(file.key))
    content[len(content) // 2] ^= 1
    own.store.write(file.key, bytes(content))
    with pytest.raises(ContractError, match=rf"is damaged, tables/{name}\.parquet had another"):
        list(release.annotations() if name == "annotations" else getattr(release, name))


def test_a_damaged_image_is_told(own):
    release = lae_tasks.load_release(own.store.uri)
    image = release.images[0]
    own.store.write(image.key, b"no picture")
    with pytest.raises(ContractError, match="is not the image of the release"):
        release.pixels(image)


def test_a_version_that_is_not_there_is_told(published):
    with pytest.raises(NoReleaseError, match=r"no release v9\.0\.0; there are: v1\.0\.0"):
        lae_tasks.load_release(published.store.uri, "v9.0.0")


def test_a_yanked_version_is_opened_with_a_warning(own, caplog):
    yank(own.store, "v1.0.0", "wrong masks")
    with caplog.at_level(logging.WARNING):
        assert lae_tasks.load_release(own.store.uri, "v1.0.0").manifest.version == "v1.0.0"
    assert "v1.0.0 was yanked at" in caplog.text
    assert "wrong masks" in caplog.text


@pytest.fixture
def folder(published, tmp_path):
    """The first version, pulled."""
    pull(published.store, "v1.0.0", tmp_path / "pulled", formats=["odvg"])
    return tmp_path / "pulled"


@pytest.mark.parametrize("version", ["latest", "v1.0.0", "1.0.0"])
def test_a_folder_that_it_was_pulled_to_is_opened(release, folder, version, monkeypatch):
    monkeypatch.chdir(folder.parent)
    offline = lae_tasks.load_release("pulled", version)
    assert offline.manifest.version == "v1.0.0"
    pairs = zip(offline.by_image(), release.by_image(), strict=True)
    for (image, annotations), (published, others) in pairs:
        assert (image.tile_id, annotations) == (published.tile_id, others)
        assert np.array_equal(offline.pixels(image), release.pixels(published))


def test_a_folder_that_it_was_pulled_to_is_checked(published, folder):
    image = lae_tasks.load_release(str(folder)).images[0]
    (folder / image.path).write_bytes(b"no picture")
    with pytest.raises(ContractError, match="is not the image of the release"):
        lae_tasks.load_release(str(folder)).pixels(image)
    (folder / image.path).unlink()
    with pytest.raises(ContractError, match=r"names it for images/.*; if this was pulled"):
        lae_tasks.load_release(str(folder)).pixels(image)
    (folder / tables.IMAGES_PATH).write_bytes(b"damaged")
    with pytest.raises(ContractError, match=r"is damaged, tables/images\.parquet"):
        list(lae_tasks.load_release(str(folder)).by_image())
    with pytest.raises(NoReleaseError, match=r"has v1\.0\.0, not v1\.0\.1; pull that one"):
        lae_tasks.load_release(str(folder), "v1.0.1")
    (folder / "manifest.json").rename(folder / "manifest.json.part")
    with pytest.raises(ContractError, match="its pull did not end"):
        lae_tasks.load_release(str(folder))


def large(tmp_path, published, images, each):
    """A release of so many images with so many annotations each."""
    count = images * each
    ids = np.arange(count)
    columns = {
        "annotation_id": ids + 1,
        "image_id": ids // each + 1,
        "region_id": [f"{number:016x}" for number in ids],
        "category_id": np.ones(count, np.int64),
        "category": ["ship"] * count,
        "bbox_xyxy_px": [(0, 0, 9, 9)] * count,
        "mask_rle": [f"{number:040x}" for number in ids],
        "area_px": np.full(count, 81),
        "bbox_scene_xyxy_px": [(0, 0, 9, 9)] * count,
        "score": np.ones(count),
        "source": ["engine:sure"] * count,
        "area_m2": [None] * count,
        "lon_lat": [None] * count,
    }
    arrays = [pa.array(columns[field.name], field.type) for field in ANNOTATION_SCHEMA]
    dataset = Dataset(
        tuple(
            ReleaseImage(number, f"tile-{number}", "s", "s.tif", (0, 0, 9, 9), "k", "d")
            for number in range(1, images + 1)
        ),
        Annotations(pa.table(arrays, schema=ANNOTATION_SCHEMA)),
        (Category(1, "ship"),),
    )
    folder = tmp_path / "tables"
    folder.mkdir()
    tables.Writer(Source(dataset, published.config.release, lambda image: b""), folder)
    files = tuple(
        ReleaseFile(
            path=f"tables/{path.name}",
            sha256=sha256_of(path),
            size_bytes=path.stat().st_size,
            key=f"tables/{path.name}",
            is_data=True,
        )
        for path in folder.iterdir()
    )
    manifest = read_release(published.store).model_copy(update={"files": files})
    return Release(LocalStorage(tmp_path), manifest)


def test_many_annotations_are_never_all_in_memory(tmp_path, published):
    release = large(tmp_path, published, images=2_000, each=100)
    process = psutil.Process()
    for _ in zip(range(300), release.by_image(), strict=False):  # what stays once it was used
        pass
    before = most = process.memory_info().rss
    count = 0
    for image, annotations in release.by_image():
        count += len(annotations)
        if image.image_id % 50 == 0:
            most = max(most, process.memory_info().rss)
    assert count == 200_000
    grown = (most - before) / 2**20
    print(f"{count} annotations: {grown:.0f} MiB more")  # noqa: T201 - shown by pytest -s
    assert grown < 60
