"""Ingest: every object becomes a Scene or a Rejection with a reason that a person understands."""

import os
import warnings
import zipfile
from pathlib import Path

import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from lae_tasks.accounts import Done, Rejection
from lae_tasks.config import AnnotationSource, IngestConfig
from lae_tasks.contracts import Assignment, Scene
from lae_tasks.stages import ingest
from lae_tasks.storage import LocalStorage
from tests.unit.rasters import gradient, write_raster


@pytest.fixture
def raw(tmp_path: Path) -> LocalStorage:
    write_raster(tmp_path / "b.tif", gradient(3, 20, 30))
    write_raster(tmp_path / "a.tif", gradient(1, 40, 50, "uint16", 900))
    return LocalStorage(tmp_path)


def run(raw: LocalStorage, known: tuple[Scene, ...] = (), **config: object) -> list[object]:
    objects = list(raw.list())
    return list(ingest.run(objects, raw, known, IngestConfig.model_validate(config)))


def scenes(results: list[object]) -> list[Scene]:
    return [r.outputs[0] for r in results if isinstance(r, Done)]  # type: ignore[misc]


def rejections(results: list[object]) -> dict[str, str]:
    return {r.rejected_id: r.reason for r in results if isinstance(r, Rejection)}


def test_scenes_are_registered_with_what_the_file_says(raw: LocalStorage) -> None:
    first, second = scenes(run(raw))
    assert (first.raw_key, second.raw_key) == ("a.tif", "b.tif")
    assert (first.width_px, first.height_px, first.bands, first.dtype) == (50, 40, 1, "uint16")
    assert (first.crs, first.gsd_m) == ("EPSG:32631", 0.5)
    assert len(first.scene_id) == 16


def test_a_zip_of_a_raster_and_a_decompression_bomb_are_refused(
    raw: LocalStorage, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "zipped.tif", "w") as archive:
        archive.writestr("a.tif", raw.read("a.tif"))
    (tmp_path / "zipped.zip").write_bytes((tmp_path / "zipped.tif").read_bytes())
    profile = {"driver": "GTiff", "width": 70_000, "height": 70_000, "count": 3, "dtype": "uint8"}
    blocks = {"tiled": True, "compress": "deflate", "SPARSE_OK": True, "BIGTIFF": "YES"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        rasterio.open(tmp_path / "bomb.tif", "w", **profile, **blocks).close()
    assert (tmp_path / "bomb.tif").stat().st_size < 2_000_000
    assert rejections(run(raw)) == {
        "bomb.tif": "too large",
        "zipped.tif": "unreadable",
        "zipped.zip": "unsupported",
    }


def test_files_of_annotations_are_no_scenes_and_need_no_mending(raw: LocalStorage) -> None:
    raw.write("labels/a.txt", b"1 2 3")
    raw.write("labels/b.xml", b"<annotation/>")
    source = AnnotationSource(format="voc", location="labels")
    results = list(ingest.run(list(raw.list()), raw, (), IngestConfig(), annotations=[source]))
    assert rejections(list(results)) == {"labels/a.txt": "annotation", "labels/b.xml": "annotation"}
    assert len(scenes(list(results))) == 2


def test_scenes_are_assigned_to_shards_in_order(raw: LocalStorage) -> None:
    results = run(raw, shard_scenes=1)
    shards = [r.outputs[1] for r in results if isinstance(r, Done)]
    assert [a.shard for a in shards if isinstance(a, Assignment)] == ["0000", "0001"]


def test_what_is_no_sound_raster_is_rejected_and_the_rest_goes_on(raw: LocalStorage) -> None:
    raw.write("0.tif", b"")
    raw.write("notes.txt", b"hello")
    raw.write("text with space ü.tif", b"hello")
    raw.write("sub/copy.tif", raw.read("a.tif"))
    whole = raw.read("b.tif")
    raw.write("cut.tif", whole[: len(whole) // 2])
    results = run(raw)
    assert rejections(results) == {
        "0.tif": "empty",
        "notes.txt": "unsupported",
        "sub/copy.tif": "duplicate",
        "text with space ü.tif": "unreadable",
    }
    # That cut.tif lacks its end shows when it is decoded: when it is tiled.
    assert {scene.raw_key for scene in scenes(results)} == {"a.tif", "b.tif", "cut.tif"}
    assert len(results) == 7


def test_a_rejection_names_no_temporary_file(raw: LocalStorage) -> None:
    raw.write("text.tif", b"hello")
    (rejection,) = (r for r in run(raw) if isinstance(r, Rejection))
    assert "/tmp" not in rejection.detail


def test_a_scene_that_is_too_large_is_not_decoded(raw: LocalStorage) -> None:
    assert rejections(run(raw, max_pixels=700)) == {"a.tif": "too large"}


def test_known_bytes_are_no_new_scene(raw: LocalStorage) -> None:
    first, _ = scenes(run(raw))
    raw.write("renamed.tif", raw.read("a.tif"))
    info = raw.stat("renamed.tif")
    assert info
    (result,) = ingest.run([info], raw, [first], IngestConfig())
    assert isinstance(result, Rejection)
    assert "the same bytes as a.tif, which is a scene already" in result.detail
    assert result.etag == info.etag


def test_a_scene_that_is_uploaded_again_is_told_apart_from_a_copy(raw: LocalStorage) -> None:
    first, _ = scenes(run(raw))
    info = raw.stat("a.tif")
    assert info
    (result,) = ingest.run([info], raw, [first], IngestConfig())
    assert isinstance(result, Rejection)
    assert "since it was first uploaded" in result.detail


def test_a_scene_that_is_replaced_meanwhile_waits_for_the_next_night(raw: LocalStorage) -> None:
    class Replaced(LocalStorage):
        def sha256(self, key: str) -> str:
            write_raster(self.root / key, gradient(3, 64, 64))
            return super().sha256(key)

    results = run(Replaced(raw.root))
    assert rejections(results) == {"a.tif": "changed", "b.tif": "changed"}


def test_a_name_that_is_no_utf8_is_rejected_and_the_rest_goes_on(raw: LocalStorage) -> None:
    (raw.root / os.fsdecode(b"caf\xe9.tif")).write_bytes(b"x")
    results = run(raw)
    assert rejections(results) == {"caf\\udce9.tif": "unreadable name"}
    assert len(scenes(results)) == 2
