"""Labelled regions: every label finds its region, whatever was rejected between."""

from pathlib import Path

import pytest

from lae_tasks.contracts import Done, Label, Output, Record, Region
from lae_tasks.errors import ContractError
from lae_tasks.labelled import LabelledRegions, join
from lae_tasks.runner import Work, run
from lae_tasks.storage import LocalStorage
from tests.records import make_label, make_region


def regions(*names: str) -> list[Region]:
    return [make_region(region_id=name) for name in names]


def labels(*names: str) -> list[Label]:
    return [make_label(name) for name in names]


@pytest.mark.parametrize("named", ["abcd", "bd", "", "dbac"])
def test_each_label_finds_its_region(named: str) -> None:
    found = list(join(labels(*named), regions(*"abcd"), "here"))
    assert [(label.region_id, region.region_id) for label, region in found] == [
        (name, name) for name in named
    ]


@pytest.mark.parametrize("named", ["x", "aa"])
def test_a_label_without_a_region_is_refused(named: str) -> None:
    with pytest.raises(ContractError, match=f"here: there is no region {named[-1]}; run segment"):
        list(join(labels(*named), regions("a"), "here"))


def test_tables_are_read_shard_by_shard_and_more_than_once(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)

    def commit(stage: str, shard: str, kind: type[Record], records: list[Record]) -> Output:
        work = Work(stage, "2026-11-22", shard, (kind,), "c", ())
        return run(store, work, ["x"], [Done("x", records)]).outputs[0]

    tables = [
        (
            commit("segment", shard, Region, regions(*names)),
            commit("classify", shard, Label, labels(*names[1:])),
        )
        for shard, names in (("0000", "abc"), ("0001", "def"))
    ]
    rows = LabelledRegions(store, tables)
    for _ in range(2):
        assert [region.region_id for _, region in rows] == list("bcef")
    assert list(rows.ids()) == list("bcef")
