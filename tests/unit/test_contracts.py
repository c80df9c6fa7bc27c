"""Contracts: immutable, checked, and the same after a trip through Parquet."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lae_tasks.contracts import Label, Record, Region, Scene, Verdict
from lae_tasks.errors import ContractError
from lae_tasks.schema import arrow_schema
from lae_tasks.tables import TableWriter, iter_records
from tests.records import make_region


def write_table(path: Path, records: Sequence[Record], kind: type[Record]) -> Path:
    writer = TableWriter(path, kind)
    for record in records:
        writer.add(record)
    writer.close()
    return path


def through_parquet(record: Record) -> Record:
    with tempfile.TemporaryDirectory() as folder:
        path = write_table(Path(folder) / "table", [record], type(record))
        (found,) = iter_records(path, type(record), "here")
        return found


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        make_region().area_px = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "values",
    [
        {"area_px": 0},
        {"predicted_iou": 1.2},
        {"stability_score": float("nan")},
        {"bbox_xyxy_px": (5, 2, 5, 6)},
        {"prompt_type": "guess"},
        {"prompt_category": ""},
        {"colour": "red"},
    ],
)
def test_a_bad_value_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make_region(**values)


score = st.none() | st.floats(0, 1)


@given(
    st.builds(
        Label,
        crop_std=st.floats(0, 255),
        likelihood_said=score,
        token_confidence=score,
        clip_score_said=score,
    )
)
def test_labels_survive_parquet(label: Label) -> None:
    assert through_parquet(label) == label


def test_tuples_optionals_and_enums_survive_parquet() -> None:
    scene = Scene(
        scene_id="s",
        raw_key="a b/ü.tif",
        etag="e",
        size_bytes=1,
        width_px=2,
        height_px=3,
        bands=4,
        dtype="uint16",
        crs=None,
        transform=(0.3, 0.0, 5e5, 0.0, -0.3, 5e6),
        gsd_m=0.3,
        acquired_at=None,
    )
    verdict = Verdict(
        verdict_id="v",
        region_id="r",
        tile_id="t",
        scene_id="s",
        task_key="k",
        task_created_at="2026-11-21T00:00:00+00:00",
        annotation_id=7,
        annotator="a@b.c",
        decided_at="2026-11-22T00:00:00+00:00",
        action="relabel",
        category="ship",
        bbox_xyxy_px=(0, 0, 3, 4),
        seconds=None,
    )
    assert through_parquet(scene) == scene
    assert through_parquet(verdict) == verdict


def test_a_table_of_another_contract_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "table", [make_region()], Region)
    with pytest.raises(ContractError, match=r"x\.parquet: not a table of Label"):
        list(iter_records(path, Label, "x.parquet"))
    path.write_bytes(b"PAR0")
    with pytest.raises(ContractError, match="not a Parquet file"):
        list(iter_records(path, Label, "x.parquet"))


def test_the_schema_names_contract_and_version() -> None:
    assert arrow_schema(Region).metadata == {
        b"lae.contract": b"Region",
        b"lae.schema_version": b"7",
    }
