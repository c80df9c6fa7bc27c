"""The labels of a night, each with the region that it names, as columns."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lae_tasks.accounts import Output
from lae_tasks.contracts import Label, Region, Scene, Tile
from lae_tasks.errors import ContractError
from lae_tasks.imagery.georeference import place_of
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.schema import arrow_schema
from lae_tasks.storage import Storage
from lae_tasks.tables import read_columns, read_table
from lae_tasks.trust.records import Calibration

Flags = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.float64]

#: What is read in any case: of labels, and of regions.
_OF_LABEL = ("region_id", "category_said", "alternatives", "clip_categories")
_OF_REGION = ("region_id", "tile_id", "scene_id", "bbox_xyxy_px", "prompt_category")
#: What says the same of many rows: kept once, with a number in each row.
_REPEATED = frozenset({"tile_id", "scene_id", "category_said", "prompt_category"})


class ShardTables(NamedTuple):
    """What the stages before made of a shard."""

    tiles: Output
    regions: Output
    labels: Output


@dataclass(frozen=True)
class Names:
    """A column of names.

    Attributes:
        distinct: Each name once.
        index: Of each row, which of them; -1 for none.
    """

    distinct: tuple[str, ...]
    index: Index

    @classmethod
    def of(cls, names: Sequence[str | None]) -> "Names":
        """A column of names that are at hand one by one."""
        distinct = sorted({name for name in names if name is not None})
        number_of: dict[str | None, int] = {name: number for number, name in enumerate(distinct)}
        index = np.array([number_of.get(name, -1) for name in names], dtype=np.int32)
        return cls(tuple(distinct), index)

    def where(self, test: Callable[[str], bool]) -> Flags:
        """The rows whose name passes a test, which each name takes once; no name passes none."""
        passed = np.array([*map(test, self.distinct), False], dtype=bool)
        return passed[self.index]

    def mapped(self, name_of: Callable[[str], str]) -> "Names":
        """The column with other names for the same rows; names that become one are one."""
        names = [name_of(name) for name in self.distinct]
        number_of = {name: number for number, name in enumerate(dict.fromkeys(names))}
        numbers = np.array([*map(number_of.__getitem__, names), -1], dtype=np.int32)
        return Names(tuple(number_of), numbers[self.index])

    def counts(self) -> dict[str, int]:
        """How many rows bear each name; those that none bears are left out."""
        counted = np.bincount(self.index + 1, minlength=len(self.distinct) + 1)[1:]
        return {n: int(c) for n, c in zip(self.distinct, counted, strict=True) if c}

    def where_both(self, other: "Names", test: Callable[[str, str], bool]) -> Flags:
        """The rows whose two names pass a test, which each pair takes once; no name passes none."""
        rows = np.flatnonzero((self.index >= 0) & (other.index >= 0))
        pairs = self.index[rows] * np.int64(len(other.distinct)) + other.index[rows]
        distinct, number = np.unique(pairs, return_inverse=True)
        places = (divmod(pair, len(other.distinct)) for pair in distinct.tolist())
        passed = [test(self.distinct[own], other.distinct[its]) for own, its in places]
        found = np.zeros(len(self.index), dtype=bool)
        found[rows] = np.array(passed, dtype=bool)[number]
        return found


@dataclass(frozen=True)
class NameLists:
    """A column of lists of names.

    Attributes:
        names: The names of all lists, one after the other.
        start: Of each row where its list begins in `names`; at last, their number.
    """

    names: Names
    start: npt.NDArray[np.int64]

    def at(self, place: int) -> Names:
        """The names at a place of each list."""
        there = self.start[:-1] + place < self.start[1:]
        index = np.full(len(there), -1, dtype=np.int32)
        index[there] = self.names.index[self.start[:-1][there] + place]
        return Names(self.names.distinct, index)

    def longest(self) -> int:
        """The length of the longest list."""
        return int(np.diff(self.start).max(initial=0))


class LabelledRegions:
    """Labels with their regions, a column for each field that anything looks at.

    The columns are named as in `contracts.Label` and `contracts.Region`; each method gives one of
    them in the form that is best to work with.
    """

    def __init__(
        self,
        table: pa.Table,
        window_area_px: Mapping[str, int],
        read_scenes: Callable[[], Iterable[Scene]],
    ) -> None:
        self._table = table
        self._window_area_px = window_area_px
        self._read_scenes = read_scenes

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def taken(self, places: pa.Array) -> "LabelledRegions":
        """Some of the rows, by their places."""
        return LabelledRegions(self._table.take(places), self._window_area_px, self._read_scenes)

    @property
    def region_id(self) -> pa.ChunkedArray:
        """The regions' ids."""
        return self._table.column("region_id")

    def numbers(self, column: str) -> Numbers:
        """A column of numbers; NaN where none is known."""
        found = self._table.column(column).cast(pa.float64())
        return np.asarray(found.to_numpy(), dtype=np.float64)

    def flags(self, column: str, value: bool = True) -> Flags:
        """Where a column of flags has this value; where it is not known, it has none."""
        same = pc.fill_null(pc.equal(self._table.column(column), value), False)
        return np.asarray(same.to_numpy(), dtype=bool)

    def names(self, column: str) -> Names:
        """A column of names."""
        return _names(_whole(self._table.column(column)))

    def name_lists(self, column: str) -> NameLists:
        """A column of lists of names."""
        lists = _whole(self._table.column(column))
        start = lists.offsets.to_numpy()
        values = lists.values.slice(start[0], start[-1] - start[0])
        return NameLists(_names(pc.dictionary_encode(values)), (start - start[0]).astype(np.int64))

    @cached_property
    def boxes_xyxy_px(self) -> npt.NDArray[np.int64]:
        """The regions' boxes, (n, 4)."""
        boxes = _whole(self._table.column("bbox_xyxy_px"))
        return np.asarray(boxes.flatten().to_numpy(), dtype=np.int64).reshape(-1, 4)

    @property
    def imported(self) -> Flags:
        """Where the region came with the name that its data set gave it."""
        return np.asarray(self._table.column("prompt_category").is_valid().to_numpy(), dtype=bool)

    def window_area_px(self) -> Numbers:
        """The pixels of the window of each region's tile."""
        return self._by_name("tile_id", self._window_area_px.__getitem__)

    def area(self, unit: str) -> Numbers:
        """The masks' areas in `px`, or in `m2` by the pixel in the middle of the scene.

        NaN where the ground is not known.
        """
        area_px = self.numbers("area_px")
        if unit == "px":
            return area_px
        scenes = {scene.scene_id: scene for scene in self._read_scenes()}

        def pixel_m2(scene_id: str) -> float:
            scene = scenes[scene_id]
            place = place_of(scene)
            middle = scene.width_px / 2, scene.height_px / 2
            return (place.pixel_area_m2(*middle) if place else None) or np.nan

        return area_px * self._by_name("scene_id", pixel_m2)

    @property
    def mask_rle(self) -> pa.ChunkedArray:
        """The regions' masks, RLE of the size of the boxes; only where masks were read."""
        return self._table.column("mask_rle")

    def _by_name(self, column: str, value_of: Callable[[str], float]) -> Numbers:
        names = self.names(column)
        return np.array([value_of(name) for name in names.distinct], dtype=np.float64)[names.index]


@dataclass(frozen=True)
class Candidates:
    """Labelled regions with all that the rules look at.

    Attributes:
        category: The canonical names; none where a region was not recognized.
        confidence: P(right) by the calibration; without one, the score that the config names, NaN
            where it is not known. 1 where the name was imported.
        calibration: What was learned from verdicts; None until there are enough.
    """

    rows: LabelledRegions
    category: Names
    confidence: Numbers
    vocabulary: Vocabulary
    calibration: Calibration | None = None


def read_labelled(
    store: Storage,
    shards: Iterable[ShardTables],
    scenes: Output,
    columns: Collection[str],
) -> LabelledRegions:
    """Reads the labels of a night with their regions, in the order of shards and labels.

    Args:
        store: Where the tables are.
        shards: Those of each shard, in order.
        scenes: The table of the night's scenes; it is read if areas on the ground are asked for.
        columns: Further columns that will be asked for, by their names in Label and Region.

    Raises:
        ContractError: If a label's region is not there, or has a label already.
        LaeError: What `read_columns` raises.
    """
    of_label, of_region = (
        [*base, *(name for name in kind.model_fields if name in columns and name not in base)]
        for kind, base in ((Label, _OF_LABEL), (Region, _OF_REGION))
    )
    parts: list[pa.Table] = []
    windows: dict[str, int] = {}
    for shard in shards:
        regions = read_columns(store, shard.regions, Region, of_region)
        labels = read_columns(store, shard.labels, Label, of_label)
        parts.append(join(labels, regions, f"{store.uri}/{shard.labels.key}"))
        tiles = read_columns(store, shard.tiles, Tile, ("tile_id", "window_px")).to_pydict()
        sides = (window[2:] for window in tiles["window_px"])
        windows |= {t: w * h for t, (w, h) in zip(tiles["tile_id"], sides, strict=True)}
    if not parts:
        parts = [_nothing(of_label, of_region)]
    table = pa.concat_tables(parts).unify_dictionaries()
    parts.clear()
    return LabelledRegions(table, windows, lambda: read_table(store, scenes, Scene))


def join(labels: pa.Table, regions: pa.Table, place: str) -> pa.Table:
    """Each label with its region, in the order of the labels.

    Raises:
        ContractError: If there is no region of a label's id, or another label has it; `place` says
            where the label stands.
    """
    ids, known = (_whole(table.column("region_id")) for table in (labels, regions))
    found = regions.drop_columns("region_id")
    if not ids.equals(known):  # some replies could not be read
        rows = pc.fill_null(pc.index_in(ids, value_set=known), -1).to_numpy()
        wrong = np.ones(len(rows), dtype=bool)
        wrong[np.unique(rows, return_index=True)[1]] = False
        wrong |= rows < 0
        if wrong.any():
            named = ids[int(wrong.argmax())]
            raise ContractError(
                f"{place}: there is no region {named}; run segment and classify again"
            )
        found = found.take(pa.array(rows))
    for field in found.schema:
        labels = labels.append_column(field, found.column(field.name))
    for number, name in enumerate(labels.column_names):
        if name in _REPEATED:
            labels = labels.set_column(number, name, labels.column(name).dictionary_encode())
    return labels


def _nothing(of_label: Sequence[str], of_region: Sequence[str]) -> pa.Table:
    """The table of a night without shards."""
    labels = arrow_schema(Label).empty_table().select(of_label)
    return join(labels, arrow_schema(Region).empty_table().select(of_region), "nowhere")


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    found = column.combine_chunks()
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _names(column: pa.DictionaryArray) -> Names:
    index = pc.fill_null(column.indices, -1).to_numpy().astype(np.int32, copy=False)
    return Names(tuple(column.dictionary.to_pylist()), index)
