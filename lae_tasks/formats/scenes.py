"""The scenes of a release, each with its images, its objects and its place on the ground."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lae_tasks.contracts import Scene
from lae_tasks.formats.figures import Objects, by_category, image_places
from lae_tasks.imagery.georeference import place_of
from lae_tasks.releases.dataset import Dataset, ReleaseImage, Split
from lae_tasks.releases.splits import footprint
from lae_tasks.state import State

LonLat = tuple[float, float]


@dataclass(frozen=True)
class ReleaseScene:
    """A scene as a release holds it.

    Attributes:
        scene_key: Its key below the raw prefix.
        footprint: Polygon, or two of them where it crosses the date line, as GeoJSON geometry in
            WGS 84; None where its place is not known.
        crs: `EPSG:n` or WKT; None likewise.
        objects: How many of each category it has.
        scene: What was registered; None where that is not at hand.
        night: In which it came in; None likewise.
    """

    scene_id: str
    scene_key: str
    split: Split | None
    images: tuple[ReleaseImage, ...]
    annotations: int
    objects: Mapping[str, int]
    footprint: dict[str, Any] | None
    crs: str | None
    scene: Scene | None
    night: str | None


def scenes_of(dataset: Dataset, objects: Objects, state: State) -> list[ReleaseScene]:
    """The scenes in the order of their images.

    Args:
        dataset: The release.
        objects: Its objects.
        state: What it was made of.
    """
    images: defaultdict[str, list[ReleaseImage]] = defaultdict(list)
    for image in dataset.images:
        images[image.scene_id].append(image)
    by_scene = by_category(
        dataset, objects, {place: image.scene_id for place, image in enumerate(dataset.images)}
    )
    annotations = _annotations(dataset)
    return [
        ReleaseScene(
            scene_id=scene_id,
            scene_key=those[0].scene_key,
            split=those[0].split,
            images=tuple(those),
            annotations=annotations.get(scene_id, 0),
            objects=by_scene.get(scene_id, {}),
            footprint=outline(_corners(state.scenes.get(scene_id))),
            crs=next((each.place.crs for each in those if each.place), None),
            scene=state.scenes.get(scene_id),
            night=state.night_of.get(scene_id),
        )
        for scene_id, those in images.items()
    ]


def _annotations(dataset: Dataset) -> dict[str, int]:
    """How many each scene has."""
    ids = dataset.annotations.column("image_id").combine_chunks()
    places = image_places(dataset, ids)
    counts = np.bincount(places[places >= 0], minlength=len(dataset.images))
    found: defaultdict[str, int] = defaultdict(int)
    for image, count in zip(dataset.images, counts.tolist(), strict=True):
        found[image.scene_id] += count
    return found


def _corners(scene: Scene | None) -> list[LonLat]:
    place = place_of(scene) if scene else None
    return footprint(place, scene.width_px, scene.height_px) if scene and place else []


def outline(corners: Sequence[LonLat]) -> dict[str, Any] | None:
    """The smallest convex shape around corners, as GeoJSON; cut in two at the date line.

    Corners that lie more than half the Earth apart are taken to lie around the date line. None if
    they span no area.
    """
    import shapely
    from shapely.affinity import translate

    if not corners:
        return None
    points = np.array(corners)
    if np.ptp(points[:, 0]) > 180:
        points[:, 0] %= 360
    hull = shapely.MultiPoint(points).convex_hull
    if hull.geom_type != "Polygon":
        return None
    here = hull & shapely.box(-180, -90, 180, 90)
    beyond = translate(hull & shapely.box(180, -90, 540, 90), xoff=-360)
    parts = [part for part in (here, beyond) if part.geom_type == "Polygon" and part.area]
    rings = [[_ring(part)] for part in parts]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _ring(polygon: Any) -> list[list[float]]:
    """Its outer ring, counterclockwise; to seven digits, which is a centimetre on the ground."""
    from shapely.geometry.polygon import orient

    ring = orient(polygon).exterior.coords
    return [[round(float(east), 7), round(float(north), 7)] for east, north in ring]
