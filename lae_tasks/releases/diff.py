"""What changed between two releases, by region, and the version number that follows from it."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lae_tasks.releases.manifest import RELEASE_SCHEMA_VERSION, ReleaseManifest, version_number

FIRST_VERSION = "v1.0.0"


@dataclass(frozen=True)
class _View:
    """One object of a release. `parts` are its masks: (tile_id, RLE)."""

    category: str
    bbox_scene: tuple[int, ...]
    parts: frozenset[tuple[str, str]]
    certainty: tuple[float, str]


@dataclass(frozen=True)
class Diff:
    """What a release changes against its parent. Objects are told by their region id.

    Attributes:
        added: Objects that the parent lacks.
        removed: Objects that only the parent has.
        relabelled: Objects with another category.
        moved: Objects with another box or mask.
        rescored: Objects with another score or source only, such as by a steward's yes.
        images_added: Tile ids.
        images_removed: Tile ids.
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


def diff_coco(old: Mapping[str, Any], new: Mapping[str, Any]) -> Diff:
    """Compares the COCO files of two releases.

    Args:
        old: The parent's `coco/instances.json`, parsed; an empty mapping before the first.
        new: That of the release.
    """
    before, after = _views(old), _views(new)
    images_added, images_removed = _only(old, new, "images", "tile_id")
    scenes_added, scenes_removed = _only(old, new, "images", "scene_id")
    categories_added, categories_removed = _only(old, new, "categories", "name")
    diff = Diff(
        images_added=images_added,
        images_removed=images_removed,
        scenes_added=scenes_added,
        scenes_removed=scenes_removed,
        categories_added=categories_added,
        categories_removed=categories_removed,
    )
    for region_id in sorted(before.keys() | after.keys()):
        _compare(region_id, before.get(region_id), after.get(region_id), diff)
    return diff


def _only(
    old: Mapping[str, Any], new: Mapping[str, Any], table: str, key: str
) -> tuple[list[str], list[str]]:
    """Values of a table's key that only the new side has, and those that only the old has."""
    olds, news = ({entry[key] for entry in side.get(table, [])} for side in (old, new))
    return sorted(news - olds), sorted(olds - news)


def _views(coco: Mapping[str, Any]) -> dict[str, _View]:
    names = {entry["id"]: entry["name"] for entry in coco.get("categories", [])}
    tiles = {entry["id"]: entry["tile_id"] for entry in coco.get("images", [])}
    views: dict[str, _View] = {}
    for entry in coco.get("annotations", []):
        part = (tiles[entry["image_id"]], entry["segmentation"]["counts"])
        seen = views.get(entry["region_id"])
        views[entry["region_id"]] = _View(
            category=names[entry["category_id"]],
            bbox_scene=tuple(entry["bbox_scene"]),
            parts=(seen.parts if seen else frozenset()) | {part},
            certainty=(entry["score"], entry["source"]),
        )
    return views


def _compare(region_id: str, old: _View | None, new: _View | None, diff: Diff) -> None:
    """Puts what happened to one object into the diff's lists."""
    if old is None or new is None:
        view, target = (new, diff.added) if old is None else (old, diff.removed)
        if view:
            box = list(view.bbox_scene)
            target.append({"region_id": region_id, "category": view.category, "bbox_scene": box})
        return
    relabelled = old.category != new.category
    moved = old.bbox_scene != new.bbox_scene or _masks_differ(old, new)
    told: dict[str, Any] = {"region_id": region_id, "category": new.category}
    if relabelled:
        diff.relabelled.append({"region_id": region_id, "from": old.category, "to": new.category})
    if moved:
        boxes = {"from": list(old.bbox_scene), "to": list(new.bbox_scene)}
        diff.moved.append({**told, **boxes})
    if old.certainty != new.certainty and not relabelled and not moved:
        diff.rescored.append({**told, "from": list(old.certainty), "to": list(new.certainty)})


def _masks_differ(old: _View, new: _View) -> bool:
    """Whether a mask changed on a tile that both have: new tiles alone move nothing."""
    of_old, of_new = dict(old.parts), dict(new.parts)
    return any(of_old[tile] != of_new[tile] for tile in of_old.keys() & of_new.keys())


def next_version(
    parent: ReleaseManifest | None, diff: Diff, published: Iterable[str]
) -> tuple[str, str]:
    """The version number that a change deserves, and why.

    Major for another schema or a category that went (or was renamed), minor for other images or
    new categories, patch for anything else.

    Args:
        parent: The release before, None for the first.
        diff: What changed against it.
        published: All versions there are; the new one is above them.
    """
    if parent is None:
        return FIRST_VERSION, "the first release"
    major, minor, patch = max(version_number(version) for version in (parent.version, *published))
    if parent.schema_version != RELEASE_SCHEMA_VERSION:
        change = f"schema {parent.schema_version} -> {RELEASE_SCHEMA_VERSION}"
        return f"v{major + 1}.0.0", f"major: {change}"
    if diff.categories_removed:
        return f"v{major + 1}.0.0", f"major: without {', '.join(diff.categories_removed)}"
    if diff.images_added or diff.images_removed or diff.categories_added:
        return f"v{major}.{minor + 1}.0", f"minor: {_told(diff, _WIDER)}"
    return f"v{major}.{minor}.{patch + 1}", f"patch: {_told(diff, _LABELS) or 'other metadata'}"


#: For one, and for several.
_WIDER = {
    "scenes_added": ("1 scene more", "{} scenes more"),
    "scenes_removed": ("1 scene less", "{} scenes less"),
    "images_added": ("1 image more", "{} images more"),
    "images_removed": ("1 image less", "{} images less"),
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
