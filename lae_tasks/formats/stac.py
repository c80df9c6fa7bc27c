"""A SpatioTemporal Asset Catalog of a release: a collection, and an item for each scene.

    stac/collection.json    the release, with its tables
    stac/<scene_id>.json    a scene: its footprint in WGS 84, its time, its images

STAC 1.1 with the projection extension: an image's `proj:transform` says where its pixels lie. What
no extension has names for begins with `lae:`. A scene that has no place has no geometry.
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rasterio.crs
from pystac import (
    Asset,
    CatalogType,
    Collection,
    Extent,
    Item,
    MediaType,
    SpatialExtent,
    Summaries,
    TemporalExtent,
)
from pystac.extensions.projection import SCHEMA_URI as PROJECTION
from pystac.layout import TemplateLayoutStrategy

from lae_tasks.formats import tables
from lae_tasks.formats.scenes import ReleaseScene
from lae_tasks.releases.manifest import ReleaseManifest

FOLDER = "stac"
COLLECTION_PATH = f"{FOLDER}/collection.json"

_EVERYWHERE = [-180.0, -90.0, 180.0, 90.0]
_CODE = re.compile(r"[A-Z]+:\w+")
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")
_TABLES = {
    "annotations": (tables.ANNOTATIONS_PATH, "Annotations of all images, by image_id"),
    "images": (tables.IMAGES_PATH, "All images, with their scene, window and place"),
    "categories": (tables.CATEGORIES_PATH, "Categories"),
}
#: Where a scene's time comes from.
_ACQUIRED, _CAME_IN = "the file's tags", "the night it came in: when it was taken is not known"
_RELEASED = "the release: neither when it was taken nor when it came in is known"


def write(root: Path, manifest: ReleaseManifest, scenes: Sequence[ReleaseScene]) -> None:
    """Writes the catalogue below a release's folder.

    Args:
        root: The folder.
        manifest: The release's manifest; its list of files need not be complete yet.
        scenes: The release's scenes.
    """
    (root / FOLDER).mkdir()
    items = [_item(scene, manifest) for scene in scenes]
    collection = _collection(manifest, items)
    # Links are relative to this place; nothing is read or written there.
    collection.set_self_href(f"/{COLLECTION_PATH}")
    collection.add_items(items, strategy=TemplateLayoutStrategy(item_template="${id}.json"))
    _write(root / COLLECTION_PATH, collection)
    for item in items:
        _write(root / FOLDER / f"{item.id}.json", item)


def _write(path: Path, part: Collection | Item) -> None:
    values = part.to_dict(include_self_link=False)
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    path.write_text(f"{text}\n", encoding="utf-8")


def _collection(manifest: ReleaseManifest, items: Sequence[Item]) -> Collection:
    licence = manifest.licence
    collection = Collection(
        id=f"{manifest.dataset}-{manifest.version}",
        title=f"{manifest.title} {manifest.version}",
        description=f"{manifest.title}, {manifest.version}: {manifest.counts['objects']} objects "
        f"on {manifest.counts['images']} images of {manifest.counts['scenes']} scenes. "
        f"Licence: {licence}.",
        extent=_extent(items),
        # What is no SPDX identifier is "other", by the specification.
        license=licence if _SPDX.fullmatch(licence) and licence != "unknown" else "other",
        keywords=[entry.name for entry in manifest.categories if entry.objects],
        extra_fields={
            "lae:version": manifest.version,
            "lae:digest": manifest.digest,
            "lae:licence": licence,
            "lae:counts": manifest.counts,
        },
        summaries=_summaries(items),
        assets={name: _table(name) for name in _TABLES},
        catalog_type=CatalogType.SELF_CONTAINED,
    )
    return collection


def _extent(items: Sequence[Item]) -> Extent:
    boxes = [item.bbox for item in items if item.bbox]
    whole = _EVERYWHERE
    if boxes:
        west, south, east, north = zip(*boxes, strict=True)
        whole = [min(west), min(south), max(east), max(north)]
        if any(box[0] > box[2] for box in boxes):  # across the date line
            whole = [-180.0, whole[1], 180.0, whole[3]]
    times = [item.datetime for item in items if item.datetime]
    return Extent(
        SpatialExtent([whole]),
        TemporalExtent([[min(times, default=None), max(times, default=None)]]),
    )


def _summaries(items: Sequence[Item]) -> Summaries:
    found = {
        name: sorted({str(item.properties[name]) for item in items if item.properties.get(name)})
        for name in ("lae:split", "proj:code")
    }
    return Summaries({name: values for name, values in found.items() if values})


def _table(name: str) -> Asset:
    path, title = _TABLES[name]
    return Asset(f"../{path}", title=title, media_type=MediaType.PARQUET, roles=["data"])


def _item(scene: ReleaseScene, manifest: ReleaseManifest) -> Item:
    when, source = _when(scene, manifest)
    properties: dict[str, Any] = {
        "title": scene.scene_key,
        "lae:datetime_is_of": source,
        "lae:split": scene.split,
        "lae:images": len(scene.images),
        "lae:annotations": scene.annotations,
        "lae:objects": sum(scene.objects.values()),
        "lae:objects_by_category": dict(scene.objects),
    }
    if scene.night:
        properties["lae:night"] = scene.night
    if scene.scene and scene.scene.gsd_m:
        properties["gsd"] = scene.scene.gsd_m
    if scene.crs:
        properties |= _projection(scene)
    footprint = scene.footprint
    return Item(
        id=scene.scene_id,
        geometry=footprint,
        bbox=_bbox(footprint) if footprint else None,
        datetime=when,
        properties=properties,
        stac_extensions=[PROJECTION] if scene.crs else [],
        assets=_assets(scene),
    )


def _when(scene: ReleaseScene, manifest: ReleaseManifest) -> tuple[datetime, str]:
    """The scene's time, and what it is the time of; without a time zone it is taken as UTC."""
    told = (
        (scene.scene.acquired_at if scene.scene else None, _ACQUIRED),
        (scene.night, _CAME_IN),
    )
    for text, source in told:
        try:
            when = datetime.fromisoformat(text or "")
        except ValueError:
            continue
        return (when if when.tzinfo else when.replace(tzinfo=UTC)), source
    return datetime.fromisoformat(manifest.created_at), _RELEASED


def _projection(scene: ReleaseScene) -> dict[str, Any]:
    """Its CRS by a code, else as WKT 2; its size and transform."""
    found: dict[str, Any] = {"proj:code": scene.crs}
    if not _CODE.fullmatch(scene.crs or ""):
        crs = rasterio.crs.CRS.from_user_input(scene.crs)
        found = {"proj:code": None, "proj:wkt2": crs.to_wkt(version="WKT2_2019")}
    if scene.scene and scene.scene.transform:
        found["proj:shape"] = [scene.scene.height_px, scene.scene.width_px]
        found["proj:transform"] = list(scene.scene.transform)
    return found


def _bbox(footprint: dict[str, Any]) -> list[float]:
    """West, south, east, north; across the date line the west is the larger, as in GeoJSON."""
    is_one = footprint["type"] == "Polygon"
    polygons = [footprint["coordinates"]] if is_one else footprint["coordinates"]
    spans = [[*zip(*polygon[0], strict=True)] for polygon in polygons]
    south = min(min(north) for _, north in spans)
    north = max(max(north) for _, north in spans)
    if is_one:
        return [min(spans[0][0]), south, max(spans[0][0]), north]
    # The part west of the date line comes first.
    return [min(spans[0][0]), south, max(spans[1][0]), north]


def _assets(scene: ReleaseScene) -> dict[str, Asset]:
    """Its images, each with its own transform, and the table that annotates them."""
    assets = {"annotations": _table("annotations")}
    for image in scene.images:
        place: dict[str, Any] = {}
        if image.place:
            place = {
                "proj:shape": [image.height_px, image.width_px],
                "proj:transform": list(image.place.transform),
            }
        assets[image.tile_id] = Asset(
            f"../{image.path}", media_type=MediaType.PNG, roles=["data"], extra_fields=place
        )
    return assets
