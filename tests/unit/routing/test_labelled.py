"""Labelled regions: every label finds its region, whatever was rejected between."""

from pathlib import Path

import numpy as np
import pytest

from lae_tasks.accounts import Done, Output
from lae_tasks.contracts import Label, Record, Region, Scene, Tile
from lae_tasks.errors import ContractError
from lae_tasks.routing.labelled import Names, ShardTables, join, read_labelled
from lae_tasks.runner import Work, run
from lae_tasks.storage import LocalStorage
from tests.records import (
    columns_of,
    labelled,
    make_label,
    make_region,
    make_scene,
    make_tile,
)


def regions(*names: str) -> list[Region]:
    return [make_region(region_id=name, scene_id=f"scene of {name}") for name in names]


def labels(*names: str) -> list[Label]:
    return [make_label(name) for name in names]


@pytest.mark.parametrize("named", ["abcd", "bd", "", "dbac"])
def test_each_label_finds_its_region(named: str) -> None:
    found = labelled(labels(*named), regions(*"abcd"))
    assert found.region_id.to_pylist() == list(named)
    scenes = found.names("scene_id")
    assert [scenes.distinct[index] for index in scenes.index] == [f"scene of {n}" for n in named]


@pytest.mark.parametrize("named", ["x", "aa", "ax"])
def test_a_label_without_a_region_is_refused(named: str) -> None:
    with pytest.raises(ContractError, match=f"here: there is no region {named[-1]}; run segment"):
        join(columns_of(labels(*named), Label), columns_of(regions("a"), Region), "here")


def test_tables_are_read_shard_by_shard(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)

    def commit(stage: str, shard: str, kind: type[Record], records: list[Record]) -> Output:
        work = Work(stage, "2026-11-22", shard, (kind,), "c", ())
        return run(store, work, ["x"], [Done("x", records)]).outputs[0]

    shards = []
    for shard, names in (("0000", "abc"), ("0001", "def"), ("0002", "")):
        tile = make_tile((0, 0, 10, 20), tile_id=f"t{shard}")
        its = [each.model_copy(update={"tile_id": tile.tile_id}) for each in regions(*names)]
        shards.append(
            ShardTables(
                commit("tile", shard, Tile, [tile]),
                commit("segment", shard, Region, its),
                commit("classify", shard, Label, labels(*names[1:])),
            )
        )
    scenes = commit("ingest", "all", Scene, [make_scene()])
    rows = read_labelled(store, shards, scenes, {"mask_rle", "crop_std"})
    assert rows.region_id.to_pylist() == list("bcef")
    assert rows.names("tile_id").counts() == {"t0000": 2, "t0001": 2}
    assert rows.names("scene_id").counts() == {f"scene of {name}": 1 for name in "bcef"}
    assert rows.window_area_px().tolist() == [200.0] * 4
    assert rows.boxes_xyxy_px.tolist() == [[1, 2, 5, 6]] * 4
    assert rows.mask_rle[2].as_py() == make_region().mask_rle
    assert rows.numbers("crop_std").tolist() == [30.0] * 4
    with pytest.raises(KeyError):
        rows.numbers("nodata_share")  # nobody asked for it
    assert len(read_labelled(store, [], scenes, ())) == 0


def test_what_is_not_known_is_neither_a_number_nor_a_flag_nor_a_name() -> None:
    made = [
        make_label("a", likelihood_said=None, clip_agrees=None, category_said=None),
        make_label("b", likelihood_said=0.25, clip_agrees=False),
        make_label("c", likelihood_said=0.0, clip_agrees=True),
    ]
    rows = labelled(made, regions(*"abc"))
    assert np.isnan(rows.numbers("likelihood_said")).tolist() == [True, False, False]
    assert rows.flags("clip_agrees").tolist() == [False, False, True]
    assert rows.flags("clip_agrees", False).tolist() == [False, True, False]
    assert rows.names("category_said").index.tolist() == [-1, 0, 0]
    assert rows.imported.tolist() == [False] * 3


def test_lists_of_names_are_looked_at_by_their_place() -> None:
    made = [
        make_label("a", clip_categories=("x", "y"), clip_scores=(0.5, 0.4)),
        make_label("b", clip_categories=(), clip_scores=()),
        make_label("c", clip_categories=("y",), clip_scores=(0.5,)),
    ]
    lists = labelled(made, regions(*"abc")).name_lists("clip_categories")
    assert lists.longest() == 2
    first, second, third = (lists.at(place) for place in range(3))
    assert (first.counts(), second.counts(), third.counts()) == ({"x": 1, "y": 1}, {"y": 1}, {})
    assert first.index.tolist()[1] == -1


def test_names_are_asked_once_each() -> None:
    names = Names(("Ship", "ship", "boat"), np.array([0, 1, -1, 2, 1], dtype=np.int32))
    asked: list[str] = []
    assert names.where(lambda n: bool(asked.append(n)) or n == "ship").tolist() == [
        *(False, True, False, False, True)
    ]
    assert asked == ["Ship", "ship", "boat"]
    lower = names.mapped(str.lower)
    assert (lower.distinct, lower.index.tolist()) == (("ship", "boat"), [0, 0, -1, 1, 0])
    assert lower.counts() == {"ship": 3, "boat": 1}
    pairs: list[tuple[str, str]] = []
    same = names.where_both(lower, lambda a, b: bool(pairs.append((a, b))) or a == b)
    assert same.tolist() == [False, True, False, True, True]
    assert pairs == [("Ship", "ship"), ("ship", "ship"), ("boat", "boat")]
    nothing = Names((), np.full(5, -1, dtype=np.int32))
    assert not names.where_both(nothing, lambda *_: True).any()
