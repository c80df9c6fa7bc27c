"""Train, validation and test: splits that share no scene and no ground, and stay as they are.

* A scene is in one split with all its images. What any release before says of a scene holds.
* Scenes whose footprints overlap are in the same split. A new scene that overlaps scenes of two
  splits is in none: its images are in the release, but neither trained on nor tested with.
* Other new scenes go where images and categories are short of their shares: the largest first,
  each to where the squared deviations from the shares, relative to each total, become least. It is
  the greedy way of iterative stratification (Sechidis, Tsoumakas, Vlahavas, ECML PKDD 2011), but
  scenes are whole.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt
import shapely
from shapely import affinity

from lae_tasks.config import ReleaseConfig
from lae_tasks.imagery.georeference import Georeference
from lae_tasks.releases.dataset import SPLITS, Dataset, ReleaseImage, Split
from lae_tasks.releases.manifest import ReleaseManifest

Counts = npt.NDArray[np.float64]
#: Scenes that share less of the ground than this share of the smaller one only touch.
_MIN_OVERLAP = 1e-6


def splits_before(
    parent: ReleaseManifest | None, before: Dataset | None
) -> dict[str, Split | None]:
    """The split of each scene that the release before, or one before that, has.

    Args:
        parent: The release before; None for the first.
        before: What is in it.
    """
    if parent and parent.split_of:
        return dict(parent.split_of)
    return {image.scene_id: image.split for image in before.images} if before else {}


def with_splits(
    dataset: Dataset, known: Mapping[str, Split | None], config: ReleaseConfig
) -> Dataset:
    """The dataset with a split for each image.

    Args:
        dataset: What is to be released.
        known: What the releases before say of scenes.
        config: The shares of validation and test.
    """
    shares = (1 - config.val_share - config.test_share, config.val_share, config.test_share)
    split_of = assign(
        _counts(dataset), neighbours(dataset.images), known, dict(zip(SPLITS, shares, strict=True))
    )
    images = tuple(replace(image, split=split_of[image.scene_id]) for image in dataset.images)
    return replace(dataset, images=images)


def assign(
    counts: Mapping[str, Counts],
    near: Mapping[str, set[str]],
    known: Mapping[str, Split | None],
    shares: Mapping[Split, float],
) -> dict[str, Split | None]:
    """The split of each scene.

    Args:
        counts: Of each scene its images and its annotations of each category, (n,).
        near: Of each scene those whose ground it shares.
        known: What the release before says.
        shares: Of each split.
    """
    found = {scene: known[scene] for scene in counts if scene in known}
    _join_neighbours(sorted(counts.keys() - found.keys()), near, found)
    groups = _groups(sorted(counts.keys() - found.keys()), near)
    of_group = {group: np.sum([counts[scene] for scene in group], axis=0) for group in groups}
    total = np.maximum(np.sum(list(counts.values()), axis=0), 1) if counts else np.ones(1)
    wanted = {split: share * total for split, share in shares.items()}
    have = {split: np.zeros_like(total) for split in shares}
    for scene, split in found.items():
        if split:
            have[split] = have[split] + counts[scene]
    for group in sorted(groups, key=lambda group: (-of_group[group][0], group)):

        def deviation(split: Split, more: Counts = of_group[group]) -> float:
            gaps = [(have[s] + (more if s == split else 0) - wanted[s]) / total for s in have]
            return float(np.square(gaps).sum())

        best = min((split for split in shares if shares[split]), key=deviation)
        have[best] = have[best] + of_group[group]
        found |= dict.fromkeys(group, best)
    return _apart(found, near)


def _apart(
    found: Mapping[str, Split | None], near: Mapping[str, set[str]]
) -> dict[str, Split | None]:
    """Takes scenes out that share ground with another split, those for training first.

    It takes scenes that were assigned before their place was known.
    """
    apart = dict(found)
    for scene, split in sorted(found.items()):
        beside = {apart.get(other) for other in near.get(scene, ())} - {None, split}
        if (split == "train" and beside) or (split == "val" and "test" in beside):
            apart[scene] = None
    return apart


def _join_neighbours(
    new: Sequence[str], near: Mapping[str, set[str]], found: dict[str, Split | None]
) -> None:
    """Puts new scenes beside those that they overlap, until none has a neighbour any more."""
    changed = True
    while changed:
        changed = False
        for scene in new:
            beside = {split for n in near.get(scene, ()) if (split := found.get(n))}
            if scene not in found and beside:
                found[scene] = beside.pop() if len(beside) == 1 else None
                changed = True


def _groups(scenes: Sequence[str], near: Mapping[str, set[str]]) -> list[tuple[str, ...]]:
    """Scenes that hang together, each in one group."""
    left = dict.fromkeys(scenes)
    groups = []
    while left:
        group, waiting = set(), [next(iter(left))]
        while waiting:
            scene = waiting.pop()
            if scene in left:
                del left[scene]
                group.add(scene)
                waiting += near.get(scene, ())
        groups.append(tuple(sorted(group)))
    return groups


def _counts(dataset: Dataset) -> dict[str, Counts]:
    """Of each scene its images, then its annotations of each category."""
    place = {category.category_id: n for n, category in enumerate(dataset.categories, start=1)}
    scene_of = {image.image_id: image.scene_id for image in dataset.images}
    counts: dict[str, Counts] = {scene: np.zeros(len(place) + 1) for scene in scene_of.values()}
    for scene in scene_of.values():
        counts[scene][0] += 1
    table = dataset.annotations.table.group_by(["image_id", "category_id"]).aggregate(
        [([], "count_all")]
    )
    for row in table.to_pylist():
        if row["image_id"] in scene_of and row["category_id"] in place:
            counts[scene_of[row["image_id"]]][place[row["category_id"]]] += row["count_all"]
    return counts


def neighbours(images: Sequence[ReleaseImage]) -> dict[str, set[str]]:
    """Of each scene those whose footprint overlaps its own; scenes without a place have none."""
    of_scene: defaultdict[str, list[ReleaseImage]] = defaultdict(list)
    for image in images:
        if image.place:
            of_scene[image.scene_id].append(image)
    scenes: list[str] = []
    shapes: list[shapely.Geometry] = []
    for scene, those in of_scene.items():
        for shape in _ground(those):
            scenes.append(scene)
            shapes.append(shape)
    found: defaultdict[str, set[str]] = defaultdict(set)
    if not scenes:
        return found
    pairs = shapely.STRtree(shapes).query(shapes, predicate="intersects").T
    for one, other in pairs[pairs[:, 0] < pairs[:, 1]].tolist():
        smaller = min(shapes[one].area, shapes[other].area)
        shared = shapes[one].intersection(shapes[other]).area
        if scenes[one] != scenes[other] and shared > _MIN_OVERLAP * smaller:
            found[scenes[one]].add(scenes[other])
            found[scenes[other]].add(scenes[one])
    return found


#: Straight edges of a grid are no straight lines in degrees: so many points an edge are looked at.
_POINTS_AN_EDGE = 5


def _ground(images: Sequence[ReleaseImage]) -> list[shapely.Geometry]:
    """The hull of a scene's images in degrees; twice, a turn apart, where it crosses 180°."""
    windows = np.array([image.window_px for image in images])
    left, top = windows[:, :2].min(axis=0).tolist()
    right, bottom = (windows[:, :2] + windows[:, 2:]).max(axis=0).tolist()
    first = images[0]
    if first.place is None:
        return []
    place = first.place.window(-first.window_px[0], -first.window_px[1])  # of the scene
    steps = np.linspace(0, 1, _POINTS_AN_EDGE).tolist()
    edge = [(left + t * (right - left), top + t * (bottom - top)) for t in steps]
    points_px = [(x, y) for x, y in product({x for x, _ in edge}, {y for _, y in edge})]
    border = [p for p in points_px if p[0] in (left, right) or p[1] in (top, bottom)]
    points = [point for each in sorted(border) if (point := place.lon_lat(*each))]
    if len(points) < len(border):
        return []
    longitudes = [east for east, _ in points]
    if max(longitudes) - min(longitudes) <= 180:
        return [shapely.MultiPoint(points).convex_hull]
    hull = shapely.MultiPoint([(east % 360, north) for east, north in points]).convex_hull
    return [hull, affinity.translate(hull, xoff=-360)]


def footprint(place: Georeference, width_px: int, height_px: int) -> list[tuple[float, float]]:
    """The corners of a raster as WGS 84 longitude and latitude, clockwise from its first pixel.

    Empty if one of them has none. Of a raster across the date line they lie far apart.
    """
    corners_px = [(0, 0), (width_px, 0), (width_px, height_px), (0, height_px)]
    corners = [place.lon_lat(*corner) for corner in corners_px]
    return [corner for corner in corners if corner] if all(corners) else []


def count_splits(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Scenes, images and annotations of each split, and of what is in none."""
    of_image = Counter(dataset.annotations.column("image_id").to_pylist())
    found: dict[str, dict[str, int]] = {}
    for split in (*SPLITS, None):
        images = [image for image in dataset.images if image.split == split]
        if images:
            found[split or "none"] = {
                "scenes": len({image.scene_id for image in images}),
                "images": len(images),
                "annotations": sum(of_image[image.image_id] for image in images),
            }
    return found
