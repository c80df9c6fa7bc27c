"""All that a store knows of one annotation: from its scene to the versions that it is in.

Tables are read by columns, night by night and version by version; nothing is read whole but the
rows that are asked for.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lae_tasks.accounts import Manifest, Output, Rejection
from lae_tasks.contracts import (
    Decision,
    Label,
    Merge,
    Record,
    Region,
    ReviewItem,
    Scene,
    Tile,
    Verdict,
)
from lae_tasks.errors import ContractError, LaeError, UnlistableError
from lae_tasks.formats import tables
from lae_tasks.releases.manifest import ReleaseManifest, list_versions, named, read_release
from lae_tasks.releases.reading import read_whole
from lae_tasks.review.verdicts import fold_verdicts
from lae_tasks.runner import iter_manifests, read_manifest
from lae_tasks.state import SHARD_STAGES, WHOLE
from lae_tasks.storage import Storage
from lae_tasks.tables import R, read_columns

#: So many versions are looked at, the newest ones.
VERSIONS = 50

_RELEASED = ("region_id", "category", "bbox_scene_xyxy_px", "score", "source")
#: Of the annotations' columns; none before it is a list, which would count otherwise.


class UnknownRegionError(LaeError):
    """Nothing in the store has that region id."""


@dataclass(frozen=True)
class InVersion:
    """An annotation as one version has it.

    Attributes:
        bbox_xyxy_px: Of the whole object, in scene pixels.
        images: How many images of the version show it.
    """

    version: str
    category: str
    bbox_xyxy_px: tuple[int, int, int, int]
    score: float
    source: str
    images: int


@dataclass
class Origin:
    """What a night made of a region; None where it says nothing, as of what a steward drew.

    Attributes:
        revisions: Of the models, by stage.
        merge: As what the name counts that the model said.
        rejections: Of the region, by a stage.
    """

    night: str
    shard: str | None = None
    scene: Scene | None = None
    tile: Tile | None = None
    region: Region | None = None
    label: Label | None = None
    decision: Decision | None = None
    merge: Merge | None = None
    revisions: dict[str, str] = field(default_factory=dict)
    rejections: list[Rejection] = field(default_factory=list)


@dataclass(frozen=True)
class History:
    """All of it.

    Attributes:
        versions: Those that it is in, newest first.
        looked_at: How many versions were looked at, of `published`.
        origin: None if its night ran again without it.
        review_items: As it was sent to stewards.
        verdicts: All of them, in their order.
        held: The one that holds.
    """

    region_id: str
    versions: list[InVersion]
    looked_at: int
    published: int
    origin: Origin | None
    review_items: list[ReviewItem]
    verdicts: list[Verdict]
    held: Verdict | None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values."""

        def plain(value: Any) -> Any:
            if isinstance(value, Record):
                return value.model_dump(mode="json")
            if isinstance(value, list):
                return [plain(each) for each in value]
            if isinstance(value, (InVersion, Origin)):
                return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
            return value

        return {each.name: plain(getattr(self, each.name)) for each in fields(self)}


def read_history(store: Storage, region_id: str, most: int = VERSIONS) -> History:
    """Gathers what a store knows of a region.

    Args:
        store: The store itself.
        region_id: As the tables of a release, its COCO file and its diff have it.
        most: Of so many versions, the newest ones.

    Raises:
        UnknownRegionError: If nothing has that id.
        UnlistableError: If the store is a mirror: what nights and stewards said is searched for.
        ContractError: If a table is damaged.
    """
    try:
        published = list_versions(store)
    except UnlistableError as error:
        raise UnlistableError(
            f"{store.uri}: what nights and stewards said of {region_id} is in no mirror; give the "
            "bucket or folder that it is a copy of"
        ) from error
    looked_at = published[::-1][:most]
    verdicts = sorted(
        _of_region(store, iter_manifests(store, "collect"), Verdict, region_id),
        key=lambda verdict: (verdict.decided_at, verdict.verdict_id),
    )
    items = list(_of_region(store, iter_manifests(store, "review"), ReviewItem, region_id))
    origin = _origin(store, region_id) or (_drawn(store, verdicts[0]) if verdicts else None)
    region = origin.region if origin else None
    scenes = [told.scene_id for told in (region, *verdicts, *items) if told]
    versions = _versions(store, looked_at, region_id, scenes[0] if scenes else None)
    if not (versions or verdicts or items or origin):
        raise UnknownRegionError(
            f"{store.uri} knows no region {region_id!r}; give a region_id as tables and COCO files "
            "of a release and `lae diff` have them"
        )
    held = fold_verdicts(verdicts).get(region_id)
    return History(
        region_id, versions, len(looked_at), len(published), origin, items, verdicts, held
    )


def _versions(
    store: Storage, looked_at: Sequence[str], region_id: str, scene_id: str | None
) -> list[InVersion]:
    """Those of some versions, newest first, that have a region; of a scene, if that is known."""
    found = []
    for version in looked_at:
        manifest = read_release(store, version)
        if scene_id and manifest.split_of and scene_id not in manifest.split_of:
            break  # neither this version nor one before it has the scene
        if rows := _rows_in(store, manifest, region_id, scene_id):
            first = rows[0]
            x0, y0, x1, y1 = first["bbox_scene_xyxy_px"]
            told = (first["category"], (x0, y0, x1, y1), first["score"], first["source"])
            found.append(InVersion(version, *told, images=len(rows)))
    return found


def _rows_in(
    store: Storage, manifest: ReleaseManifest, region_id: str, scene_id: str | None
) -> list[dict[str, Any]]:
    """The annotations of a region in a version.

    Only those of its scene's images are looked at, and of others only the ids are read: a table may
    have a million rows. So its digest is not checked.
    """
    if not manifest.has(tables.ANNOTATIONS_PATH):
        return []  # of an older engine
    least, most = -math.inf, math.inf
    if scene_id:
        images = tables.read(read_whole(store, manifest, tables.IMAGES_PATH))
        ids = pc.min_max(_matches(images, "scene_id", scene_id)["image_id"]).as_py()
        if ids["min"] is None:
            return []
        least, most = ids["min"], ids["max"]
    file = manifest.file(tables.ANNOTATIONS_PATH)
    rows = []
    with named(file.path), closing(store.open(file.key)) as source:
        try:
            # Without threads: see `lae_tasks.tables`.
            with pq.ParquetFile(source, pre_buffer=False) as table:
                column = table.schema.names.index("image_id")
                for number in range(table.num_row_groups):
                    shown = table.metadata.row_group(number).column(column).statistics
                    if shown and (shown.max < least or shown.min > most):
                        continue
                    ids = table.read_row_group(number, ["region_id"], use_threads=False)
                    if _matches(ids, "region_id", region_id).num_rows:
                        group = table.read_row_group(number, [*_RELEASED], use_threads=False)
                        rows += _matches(group, "region_id", region_id).to_pylist()
        except (pa.ArrowInvalid, OSError) as error:
            raise ContractError(
                f"{store.uri}/{file.key}: is damaged ({error}): restore it from a backup"
            ) from error
    return rows


def _origin(store: Storage, region_id: str) -> Origin | None:
    """The night that made a region, with all that it says of it."""
    for segment in iter_manifests(store, "segment"):
        region = _row(store, segment.outputs[0], Region, region_id)
        if region is None:
            continue
        origin = Origin(segment.night, segment.shard, region=region)
        manifests = [
            found
            for stage in SHARD_STAGES
            if (found := read_manifest(store, stage, segment.night, segment.shard))
        ]
        route = read_manifest(store, "route", segment.night, WHOLE)
        _place(store, origin, region.scene_id, region.tile_id)
        for manifest in manifests:
            if manifest.model_revision:
                origin.revisions[manifest.stage] = manifest.model_revision
            if manifest.stage == "classify":
                origin.label = _row(store, manifest.outputs[0], Label, region_id)
        if route:
            origin.decision = _row(store, route.outputs[0], Decision, region_id)
            if origin.label and origin.label.category_said:
                said = origin.label.category_said
                origin.merge = _row(store, route.outputs[1], Merge, said)
        for manifest in (*manifests, *((route,) if route else ())):
            for output in manifest.outputs:
                if output.key.startswith("rejects/"):
                    origin.rejections += _rows(store, output, Rejection, "rejected_id", region_id)
        return origin
    return None


def _drawn(store: Storage, verdict: Verdict) -> Origin | None:
    """Where a steward drew a region that no night has made."""
    for ingest in iter_manifests(store, "ingest"):
        if _rows(store, ingest.outputs[0], Scene, "scene_id", verdict.scene_id):
            origin = Origin(ingest.night)
            _place(store, origin, verdict.scene_id, verdict.tile_id)
            return origin
    return None


def _place(store: Storage, origin: Origin, scene_id: str, tile_id: str) -> None:
    """Adds the scene and the tile of a night."""
    for ingest in iter_manifests(store, "ingest", origin.night):
        origin.scene = origin.scene or _row(store, ingest.outputs[0], Scene, scene_id)
    for tile in iter_manifests(store, "tile", origin.night):
        if origin.shard in (None, tile.shard):
            origin.tile = origin.tile or _row(store, tile.outputs[0], Tile, tile_id)
            if origin.tile:
                origin.shard = tile.shard


def _of_region(
    store: Storage, manifests: Iterable[Manifest], kind: type[R], region_id: str
) -> Iterator[R]:
    """The records of a region in the main tables of some manifests."""
    for manifest in manifests:
        yield from _rows(store, manifest.outputs[0], kind, "region_id", region_id)


def _row(store: Storage, output: Output, kind: type[R], value: str) -> R | None:
    """The record of an id, which is a contract's first field."""
    found = _rows(store, output, kind, next(iter(kind.model_fields)), value)
    return found[0] if found else None


def _rows(store: Storage, output: Output, kind: type[R], column: str, value: str) -> Sequence[R]:
    """The records that have a value; their other columns are read only if there are any."""
    ids = read_columns(store, output, kind, [column])
    if not _matches(ids, column, value).num_rows:
        return []
    table = read_columns(store, output, kind, list(kind.model_fields))
    rows = _matches(table, column, value).to_pylist()
    return [kind.model_validate(row) for row in rows]


def _matches(table: pa.Table, column: str, value: str) -> pa.Table:
    return table.filter(pc.equal(table[column], value))
