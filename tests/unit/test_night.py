"""A night: what it registered stays, what another night registered is known."""

import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from demo.stack.settings import REPO
from lae_tasks.accounts import Done
from lae_tasks.config import AnnotationSource
from lae_tasks.config_file import load_config
from lae_tasks.contracts import Decision, Label, Region, Tile
from lae_tasks.errors import ConfigError, ContractError
from lae_tasks.local import open_night
from lae_tasks.night import Night, plan, run_stage
from lae_tasks.routing.dry_run import dry_run
from lae_tasks.runner import Work, run
from lae_tasks.schema import arrow_schema
from lae_tasks.stages import ingest as ingest_stage
from lae_tasks.stages import route
from lae_tasks.state import read_plan
from lae_tasks.tables import read_table
from tests.records import labelled, make_tile
from tests.unit.rasters import gradient, write_raster
from tests.unit.stages.test_route import random_night


@pytest.fixture
def night(tmp_path: Path) -> Night:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(3):
        write_raster(raw / f"{number}.tif", gradient(3, 20, 20 + number))
    return another(tmp_path, "2026-11-22")


def another(folder: Path, name: str) -> Night:
    config = load_config(
        REPO / "demo" / "lae.yaml", raw=str(folder / "raw"), store=str(folder / "store")
    )
    return open_night(config, name)


def shards(night: Night) -> dict[str, list[str]]:
    found = read_plan(night.store, night.night)
    return {shard: [scene.raw_key for scene in scenes] for shard, scenes in found.items()}


def test_a_rerun_adds_scenes_and_never_loses_one(night: Night, tmp_path: Path) -> None:
    first = run_stage(night, "ingest")
    assert shards(night) == {"0000": ["0.tif", "1.tif"], "0001": ["2.tif"]}
    assert run_stage(night, "ingest") == first
    (tmp_path / "raw" / "0.tif").unlink()
    write_raster(tmp_path / "raw" / "new.tif", gradient(3, 30, 30))
    again = run_stage(night, "ingest")
    assert (again.n_in, again.n_done) == (4, 4)
    assert shards(night) == {"0000": ["0.tif", "1.tif"], "0001": ["2.tif"], "0002": ["new.tif"]}
    assert run_stage(night, "ingest") == again


def test_another_night_takes_in_only_what_is_new(night: Night, tmp_path: Path) -> None:
    run_stage(night, "ingest")
    for name in ("2026-11-21", "2026-11-23"):
        other = another(tmp_path, name)
        assert run_stage(other, "ingest").n_in == 0
        assert plan(other) == []


def test_new_annotations_are_worked_on_again(night: Night) -> None:
    run_stage(night, "ingest")
    source = AnnotationSource(format="dota", location="labels")
    config = night.config.model_copy(update={"annotations": (source,)})
    annotated = replace(night, config=config)
    night.raw.write("labels/0.txt", b"1 1 9 1 9 9 1 9 ship 0")
    first = run_stage(annotated, "tile", "0000")
    assert [output.rows for output in first.tables] == [2, 1]
    assert run_stage(annotated, "tile", "0000") == first
    night.raw.write("labels/1.txt", b"1 1 9 1 9 9 1 9 ship 0")
    second = run_stage(annotated, "tile", "0000")
    assert [output.rows for output in second.tables] == [2, 2]
    night.raw.write("labels/1.txt", b"1 1 9 1 9 9 1")
    third = run_stage(annotated, "tile", "0000")
    assert third.rejected_by_reason == {"unreadable annotations": 1}


def with_labels(night: Night, **source: str) -> Night:
    sources = (AnnotationSource.model_validate({"format": "dota"} | source),)
    return replace(night, config=night.config.model_copy(update={"annotations": sources}))


def test_a_night_does_not_begin_with_labels_of_no_scene(night: Night) -> None:
    night.raw.write("labels/train/0.txt", b"1 1 9 1 9 9 1 9 ship 0")
    with pytest.raises(ConfigError, match=r"'labels': it says nothing of any scene below '/': for"):
        run_stage(with_labels(night, location="labels"), "ingest")
    with pytest.raises(ConfigError, match=r"annotations\.images 'images': no scene lies there"):
        run_stage(with_labels(night, location="labels/train", images="images"), "ingest")
    assert plan(night) == []
    assert run_stage(with_labels(night, location="labels/train"), "ingest").n_done == 3


def test_new_scenes_may_come_without_labels(night: Night, tmp_path: Path) -> None:
    night.raw.write("labels/0.txt", b"1 1 9 1 9 9 1 9 ship 0")
    first = run_stage(with_labels(night, location="labels"), "ingest")
    (tmp_path / "raw" / "0.tif").unlink()
    assert run_stage(with_labels(night, location="labels"), "ingest").n_done == 3
    write_raster(tmp_path / "raw" / "new.tif", gradient(3, 30, 30))
    other = with_labels(another(tmp_path, "2026-11-23"), location="labels")
    assert run_stage(other, "ingest").n_done == 1
    assert first.n_done == 3


def test_what_a_night_refused_is_not_read_again_until_the_settings_change(
    night: Night, tmp_path: Path
) -> None:
    (tmp_path / "raw" / "broken.tif").write_bytes(b"hello")
    first = run_stage(night, "ingest")
    assert first.rejected_by_reason == {"unreadable": 1}
    other = another(tmp_path, "2026-11-23")
    assert run_stage(other, "ingest").n_in == 0
    ingest = other.config.ingest.model_copy(update={"max_pixels": 10**6})
    changed = replace(other, config=other.config.model_copy(update={"ingest": ingest}))
    assert run_stage(changed, "ingest").rejected_by_reason == {"unreadable": 1}
    assert run_stage(night, "ingest") == first
    (tmp_path / "raw" / "broken.tif").write_bytes(b"hello again")
    assert run_stage(another(tmp_path, "2026-11-24"), "ingest").n_rejected == 1


def test_a_rerun_of_ingest_that_dies_forgets_no_scene(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stage(night, "ingest")
    (tmp_path / "raw" / "0.tif").unlink()
    write_raster(tmp_path / "raw" / "new.tif", gradient(3, 30, 30))

    def dies(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(ingest_stage, "_read", dies)
        with pytest.raises(MemoryError):
            run_stage(night, "ingest")
    assert shards(night) == {"0000": ["0.tif", "1.tif"], "0001": ["2.tif"]}
    run_stage(night, "ingest")
    assert shards(night) == {"0000": ["0.tif", "1.tif"], "0001": ["2.tif"], "0002": ["new.tif"]}


def test_a_stage_runs_again_on_demand(night: Night) -> None:
    first = run_stage(night, "ingest")
    again = run_stage(night, "ingest", again=True)
    assert again.outputs == first.outputs
    assert run_stage(night, "ingest") == again != first
    with pytest.raises(ConfigError, match="leave out the shard"):
        run_stage(night, "ingest", "0000", again=True)


def test_a_raw_folder_that_is_not_there_is_missed(night: Night, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "raw")
    with pytest.raises(ConfigError, match="there is no such folder"):
        run_stage(night, "ingest")


def test_a_name_that_is_no_utf8_is_refused_once(night: Night, tmp_path: Path) -> None:
    (tmp_path / "raw" / os.fsdecode(b"caf\xe9.tif")).write_bytes(b"x")
    assert run_stage(night, "ingest").rejected_by_reason == {"unreadable name": 1}
    assert run_stage(another(tmp_path, "2026-11-23"), "ingest").n_in == 0


def test_a_night_is_a_date(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for name in ("2026/11/22", "2026-1-2", "today", "20261122"):
        with pytest.raises(ConfigError, match="give a date such as"):
            another(tmp_path, name)


def test_a_stage_whose_input_is_not_there_says_so(night: Night) -> None:
    with pytest.raises(ContractError, match="ingest 2026-11-22/all is not committed"):
        run_stage(night, "route")
    run_stage(night, "ingest")
    with pytest.raises(ContractError, match="tile 2026-11-22/0000 is not committed"):
        run_stage(night, "classify", "0000")
    with pytest.raises(ConfigError, match="give one of ingest, tile"):
        run_stage(night, "segmant", "0000")
    with pytest.raises(ConfigError, match="leave out the shard '0000'"):
        run_stage(night, "route", "0000")
    with pytest.raises(ContractError, match="its shards are: 0000, 0001"):
        run_stage(night, "tile", "0099")


@pytest.fixture
def named_night(night: Night) -> Night:
    """A night of 40 labels in two shards, before route; without CLIP."""
    classify = night.config.classify.model_copy(update={"clip_model": None})
    night = replace(night, config=night.config.model_copy(update={"classify": classify}))
    run_stage(night, "ingest")
    labels, regions = random_night(0, 40)
    for shard, part in (("0000", slice(0, 25)), ("0001", slice(25, 40))):
        tables = (
            ("tile", Tile, [make_tile(tile_id="t1")]),
            ("segment", Region, regions[part]),
            ("classify", Label, labels[part]),
        )
        for stage, kind, records in tables:
            work = Work(stage, night.night, shard, (kind,), "c", ())
            run(night.store, work, ["x"], [Done("x", records)])
    return night


def test_a_night_is_routed_from_its_tables(named_night: Night) -> None:
    night = named_night
    labels, regions = random_night(0, 40)
    manifest = run_stage(night, "route")
    vocabulary, settings = night.config.vocabulary, night.config.route
    expected = route.run(labelled(labels, regions), None, vocabulary, settings)
    decisions = read_table(night.store, manifest.outputs[0], Decision)
    made = pa.Table.from_pylist(expected.tables[0].to_pylist(), schema=arrow_schema(Decision))
    assert decisions == [Decision.model_validate(row) for row in made.to_pylist()]
    assert [decision.region_id for decision in decisions] == [r.region_id for r in regions]
    assert (manifest.n_in, manifest.n_done, sum(manifest.counts.values())) == (40, 40, 40)
    assert manifest.counts == expected.counts
    assert run_stage(night, "route") == manifest


def test_the_rules_are_tried_without_a_trace(named_night: Night) -> None:
    before = {info.key for info in named_night.store.list()}
    counts = {each.rule: each for each in dry_run(named_night)}
    assert {info.key for info in named_night.store.list()} == before
    manifest = run_stage(named_night, "route")
    told: Counter[str] = Counter()
    for each in dry_run(named_night):
        told[f"{each.then} {each.rule}"] += each.in_order
    assert dict(+told) == manifest.counts
    labels, regions = random_night(0, 40)
    monochrome = counts["monochrome"]
    assert monochrome.parameters == {"min_std": 2.0}
    assert monochrome.alone == sum(label.crop_std < 2 for label in labels)
    assert monochrome.alone > monochrome.in_order > 0
    assert counts["imported"].alone == sum(r.prompt_category is not None for r in regions)
    assert counts["duplicate"].alone is None


def test_the_rules_cannot_be_tried_before_there_are_labels(night: Night) -> None:
    with pytest.raises(ContractError, match="ingest 2026-11-22/all is not committed"):
        dry_run(night)
