"""What changed between two releases, by region, and the version number that follows from it."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lae_tasks.releases.dataset import Annotations, Dataset
from lae_tasks.releases.manifest import RELEASE_SCHEMA_VERSION, ReleaseManifest, version_number

FIRST_VERSION = "v1.0.0"
#: Where a release has its diff to the version before.
DIFF_PATH = "diff.json"
#: Lists of objects in a diff, as `lae diff` and cards tell them.
OBJECTS = ("added", "removed", "relabelled", "moved", "rescored")


@dataclass(frozen=True)
class Diff:
    """What a release changes against another one. Objects are told by their region id.

    Each entry of objects has `region_id`, `category`, what it was and is, and `cause`: the verdict
    or the rule that it comes from, where that is known.

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

    added: list[dict[str, Any]] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)
    relabelled: list[dict[str, Any]] = field(default_factory=list)
    moved: list[dict[str, Any]] = field(default_factory=list)
    rescored: list[dict[str, Any]] = field(default_factory=list)
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
        counted: dict[str, Counter[str]] = {}
        for kind in ("added", "removed", "moved", "rescored"):
            for entry in getattr(self, kind):
                counted.setdefault(entry["category"], Counter())[kind] += 1
        for entry in self.relabelled:
            counted.setdefault(entry["from"], Counter())["relabelled_from"] += 1
            counted.setdefault(entry["to"], Counter())["relabelled_to"] += 1
        return {name: dict(sorted(counted[name].items())) for name in sorted(counted)}

    def encode(self, parent: str | None) -> bytes:
        """The diff as JSON."""
        values = {
            "parent": parent,
            "counts": self.counts(),
            "by_category": self.by_category(),
            **vars(self),
        }
        return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()


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
    diff = Diff(
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
    if old:
        for row in sorted(_changed(old, new), key=lambda row: str(row["region_id"])):
            _tell(row, diff, cause(row["region_id"], row["category_new"] is not None))
    return diff


def _changed(old: Dataset, new: Dataset) -> Iterator[dict[str, Any]]:
    """The objects that differ: both sides' values, and whether a mask differs.

    Columns are joined, not objects: of a million, few differ. And a part of the regions at a time,
    by the last character of their ids, as a join takes several times the memory of its tables.
    """
    sides = [_with_tiles(side) for side in (old, new)]
    ends = [pc.utf8_slice_codeunits(side["region_id"], -1) for side in sides]
    for end in sorted({*pc.unique(ends[0]).to_pylist(), *pc.unique(ends[1]).to_pylist()}):
        parts = [side.filter(pc.equal(its, end)) for side, its in zip(sides, ends, strict=True)]
        yield from _changed_of(*parts)


def _with_tiles(side: Dataset) -> pa.Table:
    """What is compared of each annotation, and the tile that it is on."""
    tile_of = {image.image_id: image.tile_id for image in side.images}
    ids = pa.array(tile_of, pa.int64())
    tiles = pa.array(tile_of.values(), pa.string())
    table = side.annotations.table
    places = pc.index_in(table["image_id"], ids)
    return table.select(_COMPARED).append_column("tile_id", pc.take(tiles, places.combine_chunks()))


_COMPARED = ["region_id", "category", "bbox_scene_xyxy_px", "score", "source", "mask_rle"]


def _changed_of(old: pa.Table, new: pa.Table) -> list[dict[str, Any]]:
    sides = [_objects(side) for side in (old, new)]
    both = sides[0].join(sides[1], "region_id", join_type="full outer", right_suffix="_new")
    same = pa.scalar(True)
    for name in ("category", "box", "score", "source"):
        equal = pc.equal(both[name], both[f"{name}_new"])
        same = pc.and_(pc.fill_null(equal, False), same)
    masks = _other_masks(old, new)
    found = both.filter(pc.or_(pc.invert(same), pc.is_in(both["region_id"], masks)))
    with_mask = set(masks.to_pylist())
    return [row | {"other_mask": row["region_id"] in with_mask} for row in found.to_pylist()]


def _objects(table: pa.Table) -> pa.Table:
    """One row for each object: its values are the same on every image."""
    boxes = table["bbox_scene_xyxy_px"].combine_chunks()
    edges, count = pc.list_flatten(boxes), len(boxes)
    # A join takes no lists; a text of them is compared as well.
    parts = [
        pc.cast(edges.take(pa.array(range(place, 4 * count, 4), pa.int64())), pa.string())
        for place in range(4)
    ]
    columns = {
        "region_id": table["region_id"],
        "category": table["category"],
        "box": pc.binary_join_element_wise(*parts, ","),
        "score": table["score"],
        "source": table["source"],
    }
    return (
        pa.table(columns)
        .group_by("region_id", use_threads=False)
        .aggregate([(name, "first") for name in columns if name != "region_id"])
        .rename_columns({f"{name}_first": name for name in columns if name != "region_id"})
    )


def _other_masks(old: pa.Table, new: pa.Table) -> pa.Array:
    """Regions with another mask on an image that both sides have: new images alone move nothing."""
    keys = ["tile_id", "region_id"]
    sides = [side.select([*keys, "mask_rle"]) for side in (old, new)]
    both = sides[0].join(sides[1], keys, join_type="inner", right_suffix="_new")
    differ = both.filter(pc.not_equal(both["mask_rle"], both["mask_rle_new"]))
    return pc.unique(differ["region_id"])


def _tell(row: Mapping[str, Any], diff: Diff, cause: str) -> None:
    """Puts what happened to one object into the diff's lists."""
    told = {"region_id": row["region_id"], "cause": cause}
    if row["category"] is None or row["category_new"] is None:
        is_new = row["category"] is None
        target, suffix = (diff.added, "_new") if is_new else (diff.removed, "")
        box = _xywh(row[f"box{suffix}"])
        target.append(told | {"category": row[f"category{suffix}"], "bbox_scene": box})
        return
    relabelled = row["category"] != row["category_new"]
    moved = row["box"] != row["box_new"] or row["other_mask"]
    if relabelled:
        diff.relabelled.append(told | {"from": row["category"], "to": row["category_new"]})
    told["category"] = row["category_new"]
    if moved:
        diff.moved.append(told | {"from": _xywh(row["box"]), "to": _xywh(row["box_new"])})
    if not relabelled and not moved:
        was, now = [row["score"], row["source"]], [row["score_new"], row["source_new"]]
        diff.rescored.append(told | {"from": was, "to": now})


def _xywh(text: str) -> list[int]:
    x0, y0, x1, y1 = map(int, text.split(","))
    return [x0, y0, x1 - x0, y1 - y0]


def next_version(
    parent: ReleaseManifest | None,
    diff: Diff,
    published: Iterable[str],
    vocabulary: tuple[str, ...],
    formats: tuple[str, ...],
) -> tuple[str, str]:
    """The version number that a change deserves, and why.

    Major for another schema, another vocabulary, or a category that went (or was renamed), which
    all change what a model has to be built for. Minor for other images, or for a category that is
    new by what nights or stewards say. Patch for anything else.

    Args:
        parent: The release before, None for the first.
        diff: What changed against it.
        published: All versions there are; the new one is above them.
        vocabulary: The config's names.
        formats: What the release is written in.
    """
    if parent is None:
        return FIRST_VERSION, "the first release"
    major, minor, patch = max(version_number(version) for version in (parent.version, *published))
    wider, change = f"v{major + 1}.0.0", _breaking(parent, diff, vocabulary)
    if change:
        return wider, f"major: {change}"
    if diff.images_added or diff.images_removed or diff.images_changed or diff.categories_added:
        return f"v{major}.{minor + 1}.0", f"minor: {_told(diff, _WIDER)}"
    said = [_told(diff, _LABELS)]
    if parent.formats != formats:
        said.append(f"written in {', '.join(formats)}")
    told = ", ".join(filter(None, said)) or "other metadata"
    return f"v{major}.{minor}.{patch + 1}", f"patch: {told}"


def _breaking(parent: ReleaseManifest, diff: Diff, vocabulary: tuple[str, ...]) -> str:
    """What changed that readers of the parent may stumble over; empty if nothing."""
    if parent.schema_version != RELEASE_SCHEMA_VERSION:
        return f"schema {parent.schema_version} -> {RELEASE_SCHEMA_VERSION}"
    if diff.categories_removed:
        return f"without {', '.join(diff.categories_removed)}"
    if parent.vocabulary != vocabulary:
        more = [name for name in vocabulary if name not in parent.vocabulary]
        less = [name for name in parent.vocabulary if name not in vocabulary]
        parts = [f"with {', '.join(more)}" * bool(more), f"without {', '.join(less)}" * bool(less)]
        return f"vocabulary {' and '.join(filter(None, parts)) or 'in another order'}"
    return ""


#: For one, and for several.
_WIDER = {
    "scenes_added": ("1 scene more", "{} scenes more"),
    "scenes_removed": ("1 scene less", "{} scenes less"),
    "images_added": ("1 image more", "{} images more"),
    "images_removed": ("1 image less", "{} images less"),
    "images_changed": ("1 image with other pixels", "{} images with other pixels"),
    "categories_added": ("1 category more", "{} categories more"),
}
_LABELS = {
    "added": ("1 object added", "{} objects added"),
    "removed": ("1 removed", "{} removed"),
    "relabelled": ("1 relabelled", "{} relabelled"),
    "moved": ("1 moved", "{} moved"),
    "rescored": ("1 with another score or source", "{} with another score or source"),
}


def _told(diff: Diff, phrases: Mapping[str, tuple[str, str]]) -> str:
    counts = diff.counts()
    return ", ".join(
        phrases[name][counts[name] > 1].format(counts[name]) for name in phrases if counts[name]
    )
