"""Runner: every record is accounted for, a committed shard is skipped, the manifest comes last."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lae_tasks.accounts import Counted, Done, Rejection
from lae_tasks.contracts import Merge, Region
from lae_tasks.errors import ContractError, TransientError
from lae_tasks.runner import (
    Columns,
    Work,
    iter_manifests,
    read_manifest,
    require_again,
    run,
    run_columns,
)
from lae_tasks.storage import LocalStorage
from lae_tasks.tables import iter_table, read_table
from tests.records import columns_of, make_region

WORK = Work("segment", "2026-11-22", "0000", (Region, Merge), "config", ("input",), "model")
MERGE = Merge(name="a", canonical="b", rule="similar", similarity=0.9, count=1, by="engine")


def results() -> Iterator[Done | Rejection | Counted]:
    yield Done("t1", (make_region(region_id="r1"), make_region(region_id="r2"), MERGE), {"x": 2})
    yield Rejection(rejected_id="t2", stage="segment", reason="gone", detail="why")
    yield Counted({"x": 1, "y": 5})
    yield Done("t3", (), {"x": 1})


@pytest.fixture
def store(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


def test_a_shard_is_written_and_counted(store: LocalStorage) -> None:
    manifest = run(store, WORK, ["t1", "t2", "t3"], results())
    assert (manifest.n_in, manifest.n_done, manifest.n_rejected) == (3, 2, 1)
    assert manifest.counts == {"x": 4, "y": 5}
    assert manifest.rejected_by_reason == {"gone": 1}
    base = "segment/2026-11-22/0000"
    assert [output.key for output in manifest.outputs] == [
        f"{name}.{output.sha256[:16]}.parquet"
        for name, output in zip(
            (f"runs/{base}.region", f"runs/{base}.merge", f"rejects/{base}"),
            manifest.outputs,
            strict=True,
        )
    ]
    regions, merges, rejections = manifest.outputs
    assert [r.region_id for r in read_table(store, regions, Region)] == ["r1", "r2"]
    assert read_table(store, merges, Merge) == [MERGE]
    assert read_table(store, rejections, Rejection)[0].detail == "why"
    assert list(iter_manifests(store, "segment")) == [manifest]


def test_a_committed_shard_is_not_run_again(store: LocalStorage) -> None:
    first = run(store, WORK, ["t1", "t2", "t3"], results())

    def never() -> Iterator[Any]:
        raise AssertionError("the stage ran again")
        yield

    assert run(store, WORK, never(), never()) == first


def test_a_committed_shard_runs_again_on_demand(store: LocalStorage) -> None:
    where = (store, "segment", "2026-11-22", "0000")
    require_again(*where)
    assert list(store.list()) == []  # it is not done at all
    first = run(store, WORK, ["t1", "t2", "t3"], results())
    require_again(*where)
    # Until then it counts, whatever becomes of the attempt.
    with pytest.raises(ContractError):
        run(store, WORK, ["t1", "t2", "t3"], [])
    kept = read_manifest(*where)
    assert kept and kept.outputs == first.outputs
    second = run(store, WORK, ["t1", "t2", "t3"], [Done(name) for name in ("t1", "t2", "t3")])
    assert (second.n_done, second.fingerprint) == (3, first.fingerprint)
    assert not {output.key for output in first.outputs} & {info.key for info in store.list()}
    assert run(store, WORK, [], []) == second


def test_the_same_records_give_the_same_tables(store: LocalStorage, tmp_path: Path) -> None:
    ids = [f"t{number}" for number in range(2500)]

    def many() -> Iterator[Done]:
        for name in ids:
            yield Done(name, (make_region(region_id=name), make_region(region_id=f"{name}b")))

    first = run(store, WORK, iter(ids), many())
    again = run(LocalStorage(tmp_path / "other"), WORK, iter(ids), many())
    assert again.outputs == first.outputs
    assert [output.rows for output in first.outputs] == [5000, 0]
    found = [region.region_id for region in iter_table(store, first.outputs[0], Region)]
    assert found[::2] == ids


@pytest.mark.parametrize(
    "change", [{"config_sha256": "other"}, {"inputs": ("other",)}, {"model_revision": "other"}]
)
def test_whatever_the_result_depends_on_runs_it_again(
    store: LocalStorage, change: dict[str, object]
) -> None:
    run(store, WORK, ["t1", "t2", "t3"], results())
    again = run(store, replace(WORK, **change), ["t3"], [Done("t3")])
    assert again.n_in == 1
    assert {info.key for info in store.list()} == {
        "runs/segment/2026-11-22/0000.json",
        *(output.key for output in again.outputs),
    }


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (["t1", "t2", "t3", "t4"], r"lost: \['t4'\]"),
        (["t1", "t2"], r"twice: \['t3'\]"),
        (["t1", "t2", "t3", "t3"], r"lost: \['t3'\]"),
    ],
)
def test_an_unaccounted_record_stops_the_commit(
    store: LocalStorage, ids: list[str], problem: str
) -> None:
    with pytest.raises(ContractError, match=problem):
        run(store, WORK, ids, results())
    assert read_manifest(store, "segment", "2026-11-22", "0000") is None


def test_a_stage_that_dies_commits_nothing(store: LocalStorage) -> None:
    def dies() -> Iterator[Done | Rejection]:
        yield Done("t1", (make_region(),))
        raise MemoryError

    with pytest.raises(MemoryError):
        run(store, WORK, ["t1"], dies())
    assert list(store.list()) == []


def test_until_a_shard_that_is_run_again_is_done_the_old_one_counts(store: LocalStorage) -> None:
    first = run(store, WORK, ["t1", "t2", "t3"], results())

    def dies() -> Iterator[Done | Rejection]:
        raise MemoryError
        yield

    with pytest.raises(MemoryError):
        run(store, replace(WORK, config_sha256="other"), ["t1"], dies())
    assert read_manifest(store, "segment", "2026-11-22", "0000") == first
    assert len(read_table(store, first.outputs[0], Region)) == 2


def test_an_attempt_that_comes_late_changes_nothing(store: LocalStorage) -> None:
    committed = []

    def late() -> Iterator[Done | Rejection]:
        committed.append(run(store, WORK, ["t1", "t2", "t3"], results()))
        yield from (Done(name, ()) for name in ("t1", "t2", "t3"))

    assert run(store, WORK, ["t1", "t2", "t3"], late()) == committed[0]
    assert len(read_table(store, committed[0].outputs[0], Region)) == 2


def test_a_table_that_is_damaged_or_gone_is_refused(store: LocalStorage) -> None:
    manifest = run(store, WORK, ["t1", "t2", "t3"], results())
    output = manifest.outputs[0]
    store.write(output.key, store.read(output.key) + b" ")
    with pytest.raises(
        ContractError, match=r"sha256 is not.*delete runs/segment/2026-11-22/0000\.json"
    ):
        read_table(store, output, Region)
    store.delete(output.key)
    with pytest.raises(TransientError, match="replaced while it was read"):
        read_table(store, output, Region)


def test_a_broken_manifest_is_said_to_be_broken(store: LocalStorage) -> None:
    store.write("runs/segment/2026-11-22/0000.json", b"{}")
    with pytest.raises(ContractError, match=r"0000\.json: not a manifest.*delete runs/segment"):
        run(store, WORK, [], [])
    store.write("runs/segment/2026-11-22/0000.json", b'{"stage": "segment", "schema_version": 1}')
    with pytest.raises(ContractError, match=r"another engine wrote.*set `store` to a new place"):
        run(store, WORK, [], [])


def columns(*names: str, came_in: str = "abc") -> Columns:
    made = [make_region(region_id=name) for name in names]
    tables = (columns_of(made, Region), columns_of([MERGE], Merge))
    return Columns(pa.chunked_array([list(came_in)]), tables, {"x": 2})


def test_columns_are_committed_as_records_are(store: LocalStorage) -> None:
    manifest = run_columns(store, WORK, lambda: columns(*"abc"))
    assert (manifest.n_in, manifest.n_done, manifest.n_rejected) == (3, 3, 0)
    assert manifest.counts == {"x": 2}
    regions, merges = manifest.outputs
    assert read_table(store, regions, Region) == [make_region(region_id=name) for name in "abc"]
    assert read_table(store, merges, Merge) == [MERGE]

    def never() -> Columns:
        raise AssertionError("the stage ran again")

    assert run_columns(store, WORK, never) == manifest
    again = run_columns(store, replace(WORK, config_sha256="other"), lambda: columns(*"abc"))
    assert again.outputs == manifest.outputs


@pytest.mark.parametrize(
    ("came_in", "came_out", "problem"),
    [
        ("abc", "ab", r"3 records came in, 2 came out; lost: \['c'\], unasked for or twice: \[\]"),
        ("ab", "abb", r"lost: \[\], unasked for or twice: \['b'\]"),
        ("abc", "abx", r"lost: \['c'\], unasked for or twice: \['x'\]"),
        ("", "a", r"twice: \['a'\]"),
    ],
)
def test_columns_that_lack_a_record_stop_the_commit(
    store: LocalStorage, came_in: str, came_out: str, problem: str
) -> None:
    with pytest.raises(ContractError, match=problem):
        run_columns(store, WORK, lambda: columns(*came_out, came_in=came_in))
    assert list(store.list()) == []


def test_the_order_of_columns_rows_is_free(store: LocalStorage) -> None:
    assert run_columns(store, WORK, lambda: columns(*"cab")).n_done == 3


def test_columns_that_break_their_contract_stop_the_commit(store: LocalStorage) -> None:
    made = columns(*"abc")
    for column in (None, pa.nulls(3, pa.string())):
        table = made.tables[0].drop_columns("tile_id")
        table = table if column is None else table.append_column("tile_id", column)
        broken = replace(made, tables=(table, made.tables[1]))
        with pytest.raises(ContractError, match=r"not a table of Region: .*tile_id"):
            run_columns(store, WORK, lambda broken=broken: broken)  # type: ignore[misc]
    assert list(store.list()) == []
