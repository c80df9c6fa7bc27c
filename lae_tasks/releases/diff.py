"""What changed between two releases, by region."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.compute as pc

from lae_tasks.releases.dataset import Annotations, Dataset

#: Where a release has its diff to the version before.
DIFF_PATH = "diff.json"
#: Lists of objects in a diff, as `lae diff` and cards tell them.
OBJECTS = ("added", "removed", "relabelled", "moved", "rescored")

_TEXTS = ("region_id", "category", "cause")
_LINES_AT_ONCE = 20_000
_NOTHING = pa.table({"region_id": pa.array([], pa.string())})


@dataclass(frozen=True)
class Changes:
    """Objects that changed in the same way, in the order of their region ids.

    Each entry has `region_id`, its `category`, what it was and is, and `cause`: the verdict or the
    rule that it comes from, where that is known.

    Attributes:
        table: Entries as columns, as a release may change a million objects. What an object was
            and is are texts in JSON.
    """

    table: pa.Table = field(
        default_factory=lambda: pa.table({"region_id": pa.array([], pa.string())})
    )

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def first(self, count: int) -> list[dict[str, Any]]:
        """The first entries."""
        return list(Changes(self.table.slice(0, count)))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(json.loads, self.lines())

    def lines(self) -> Iterator[str]:
        """Each entry as JSON."""
        for batch in self.table.to_batches(_LINES_AT_ONCE):
            columns = [
                map(_json, values) if name in _TEXTS else values
                for name, values in batch.to_pydict().items()
            ]
            form = ", ".join(f'"{name}": %s' for name in batch.schema.names)
            for values in zip(*columns, strict=True):
                yield f"{{{form}}}" % values

    def count(self, column: str) -> dict[str, int]:
        """How many entries have each value of a column."""
        if column not in self.table.column_names:
            return {}
        counted = self.table[column].value_counts().to_pylist()
        return {
            each["values"] if column in _TEXTS else json.loads(each["values"]): each["counts"]
            for each in counted
        }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class Diff:
    """What a release changes against another one. Objects are told by their region id.

    Attributes:
        added: Objects that the other one lacks.
        removed: Objects that only the other one has.
        relabelled: Objects with another category.
        moved: Objects with another box or mask.
        rescored: Objects with another score or source only, such as by a steward's yes.
        images_added: Tile ids.
        images_removed: Tile ids.
        images_changed: Tile ids of those with other pixels.
        scenes_added: Scene ids.
        scenes_removed: Scene ids.
        categories_added: Names.
        categories_removed: Names.
    """

    added: Changes = field(default_factory=Changes)
    removed: Changes = field(default_factory=Changes)
    relabelled: Changes = field(default_factory=Changes)
    moved: Changes = field(default_factory=Changes)
    rescored: Changes = field(default_factory=Changes)
    images_added: list[str] = field(default_factory=list)
    images_removed: list[str] = field(default_factory=list)
    images_changed: list[str] = field(default_factory=list)
    scenes_added: list[str] = field(default_factory=list)
    scenes_removed: list[str] = field(default_factory=list)
    categories_added: list[str] = field(default_factory=list)
    categories_removed: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """How many of each."""
        return {name: len(entries) for name, entries in vars(self).items()}

    def by_category(self) -> dict[str, dict[str, int]]:
        """Added, removed, relabelled to and from, moved and rescored objects of each category."""
        columns = [(kind, kind, "category") for kind in ("added", "removed", "moved", "rescored")]
        columns += [(f"relabelled_{way}", "relabelled", way) for way in ("from", "to")]
        counted: dict[str, Counter[str]] = {}
        for told, kind, column in columns:
            for name, count in getattr(self, kind).count(column).items():
                counted.setdefault(name, Counter())[told] += count
        return {name: dict(sorted(counted[name].items())) for name in sorted(counted)}

    def write(self, file: TextIO, head: Mapping[str, Any]) -> None:
        """Writes the diff as JSON, an object in a line.

        Args:
            file: Where it goes.
            head: What is told before it, such as of which versions it is.
        """
        told = {**head, "counts": self.counts(), "by_category": self.by_category()}
        parts = [f'"{name}": {_json(value)}' for name, value in told.items()]
        file.write("{" + ",\n".join(parts))
        for name, entries in vars(self).items():
            file.write(f',\n"{name}": [')
            lines = entries.lines() if isinstance(entries, Changes) else map(_json, entries)
            for number, line in enumerate(lines):
                file.write(f"{',' if number else ''}\n{line}")
            file.write("]")
        file.write("}\n")


#: Says of a region, and whether the new release has it, which verdict or rule that comes from.
Cause = Callable[[str, bool], str]


def diff_datasets(old: Dataset | None, new: Dataset, cause: Cause = lambda *_: "") -> Diff:
    """Compares two releases.

    Args:
        old: The one before; None before the first, of which no objects are told.
        new: The one after it.
        cause: Says where the change of a region comes from, which is in now or not.
    """
    before = old or Dataset((), Annotations.of(()), ())
    pixels = [{each.tile_id: each.sha256 for each in side.images} for side in (before, new)]
    images = [side.keys() for side in pixels]
    scenes = [{each.scene_id for each in side.images} for side in (before, new)]
    names = [{each.name for each in side.categories} for side in (before, new)]
    return Diff(
        **(_changed(old, new, cause) if old else {}),
        images_added=sorted(images[1] - images[0]),
        images_removed=sorted(images[0] - images[1]),
        images_changed=sorted(
            tile for tile in images[0] & images[1] if pixels[0][tile] != pixels[1][tile]
        ),
        scenes_added=sorted(scenes[1] - scenes[0]),
        scenes_removed=sorted(scenes[0] - scenes[1]),
        categories_added=sorted(names[1] - names[0]),
        categories_removed=sorted(names[0] - names[1]),
    )


def _changed(old: Dataset, new: Dataset, cause: Cause) -> dict[str, Changes]:
    """The objects that differ, by kind.

    Columns are joined, not objects: of a million, few differ. And a part of the regions at a time,
    by the last character of their ids, as a join takes several times the memory of its tables.
    """
    sides = [_with_tiles(side) for side in (old, new)]
    ends = [pc.utf8_slice_codeunits(side["region_id"], -1) for side in sides]
    found: dict[str, list[pa.Table]] = {kind: [] for kind in OBJECTS}
    for end in sorted({*pc.unique(ends[0]).to_pylist(), *pc.unique(ends[1]).to_pylist()}):
        was, now = (side.filter(pc.equal(its, end)) for side, its in zip(sides, ends, strict=True))
        for kind, table in _changed_of(was, now, cause).items():
            found[kind].append(table)
    return {
        kind: Changes(pa.concat_tables(tables).sort_by("region_id"))
        for kind, tables in found.items()
        if tables
    }


def _with_tiles(side: Dataset) -> pa.Table:
    """What is compared of each annotation, and the tile that it is on."""
    tile_of = {image.image_id: image.tile_id for image in side.images}
    ids = pa.array(tile_of, pa.int64())
    tiles = pa.array(tile_of.values(), pa.string())
    table = side.annotations.table
    places = pc.index_in(table["image_id"], ids)
    return table.select(_COMPARED).append_column("tile_id", pc.take(tiles, places.combine_chunks()))


_COMPARED = ["region_id", "category", "bbox_scene_xyxy_px", "score", "source", "mask_rle"]


def _changed_of(old: pa.Table, new: pa.Table, cause: Cause) -> dict[str, pa.Table]:
    sides = [_objects(side) for side in (old, new)]
    both = sides[0].join(sides[1], "region_id", join_type="full outer", right_suffix="_new")
    was, now = pc.is_valid(both["category"]), pc.is_valid(both["category_new"])
    stays = pc.and_(was, now)
    differs = {
        name: pc.and_(stays, pc.fill_null(pc.not_equal(both[name], both[f"{name}_new"]), False))
        for name in ("category", "box", "said")
    }
    relabelled, mask = differs["category"], pc.is_in(both["region_id"], _other_masks(old, new))
    moved = pc.or_(differs["box"], pc.and_(stays, mask))
    rescored = pc.and_not(differs["said"], pc.or_(relabelled, moved))

    def told(chosen: pa.ChunkedArray, **columns: str) -> pa.Table:
        rows = both.filter(chosen)
        is_in = pc.is_valid(rows["category_new"]).to_pylist()
        why = [cause(*each) for each in zip(rows["region_id"].to_pylist(), is_in, strict=True)]
        values = {key: rows[name] for key, name in columns.items()}
        return pa.table(
            {"region_id": rows["region_id"], **values, "cause": pa.array(why, pa.string())}
        )

    return {
        "added": told(pc.invert(was), category="category_new", bbox_scene="box_new"),
        "removed": told(pc.invert(now), category="category", bbox_scene="box"),
        "relabelled": told(relabelled, **{"from": "name", "to": "name_new"}),
        "moved": told(moved, category="category_new", **{"from": "box", "to": "box_new"}),
        "rescored": told(rescored, category="category_new", **{"from": "said", "to": "said_new"}),
    }


def _objects(table: pa.Table) -> pa.Table:
    """One row for each object: its values are the same on every image.

    What a diff tells as it was and is comes as JSON; a join takes no lists anyway.
    """
    x0, y0, x1, y1 = pc.list_flatten(table["bbox_scene_xyxy_px"]).to_numpy().reshape(-1, 4).T
    columns = {
        "region_id": table["region_id"],
        "category": table["category"],
        "name": _quoted(table["category"]),
        "box": _listed(*map(pa.array, (x0, y0, x1 - x0, y1 - y0))),
        "said": _listed(table["score"], _quoted(table["source"])),
    }
    return (
        pa.table(columns)
        .group_by("region_id", use_threads=False)
        .aggregate([(name, "first") for name in columns if name != "region_id"])
        .rename_columns({f"{name}_first": name for name in columns if name != "region_id"})
    )


def _listed(*columns: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """A JSON list of each row."""
    joined = pc.binary_join_element_wise(*(pc.cast(each, pa.string()) for each in columns), ", ")
    return pc.binary_join_element_wise("[", joined, "]", "")


def _quoted(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts, of which few differ, as JSON."""
    known = pc.unique(column)
    texts = pa.array([_json(each) for each in known.to_pylist()], pa.string())
    return pc.take(texts, pc.index_in(column, known))


def _other_masks(old: pa.Table, new: pa.Table) -> pa.Array:
    """Regions with another mask on an image that both sides have: new images alone move nothing."""
    keys = ["tile_id", "region_id"]
    sides = [side.select([*keys, "mask_rle"]) for side in (old, new)]
    both = sides[0].join(sides[1], keys, join_type="inner", right_suffix="_new")
    differ = both.filter(pc.not_equal(both["mask_rle"], both["mask_rle_new"]))
    return pc.unique(differ["region_id"])
