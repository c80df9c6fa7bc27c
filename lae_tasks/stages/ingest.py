"""Ingest: objects below the raw prefix become registered Scenes."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lae_tasks.accounts import Done, Rejection
from lae_tasks.config import AnnotationSource, IngestConfig
from lae_tasks.contracts import Assignment, Scene
from lae_tasks.errors import ConflictError
from lae_tasks.imagery.raster import UnreadableError, open_raster
from lae_tasks.imagery.raster_source import SIDECARS
from lae_tasks.regions.prompts import is_annotation
from lae_tasks.storage import MissingObjectError, ObjectInfo, Storage

logger = logging.getLogger(__name__)

STAGE = "ingest"
#: Hex digits of the content's sha256 that are a scene's id.
SCENE_ID_DIGITS = 16

#: Reasons that ask nothing of anybody: the file is read with the scenes that it belongs to.
READ_WITH_SCENES = ("annotation", "sidecar")

_CHANGED = "replaced or removed while it was registered; the next night takes what is there"


@dataclass(frozen=True)
class Registered:
    """A scene that the night has already, and its shard."""

    scene: Scene
    shard: str


def run(
    objects: Sequence[ObjectInfo],
    raw: Storage,
    known: Iterable[Scene],
    config: IngestConfig,
    kept: Sequence[Registered] = (),
    annotations: Sequence[AnnotationSource] = (),
) -> Iterator[Done | Rejection]:
    """Registers every object that is a raster; its pixels are decoded when it is tiled.

    Of a raster the header is read, and all bytes for their digest, unless the server keeps that.

    Args:
        objects: What to read.
        raw: The storage that they lie in.
        known: Scenes of other nights: the same bytes under a new name are no new scene.
        config: The stage's settings.
        kept: Scenes that this night registered before. They stay in their shards; new scenes go
            to new shards.
        annotations: Whose files are read with the scenes that they speak of.

    Yields:
        One Done (a Scene and its Assignment to a shard) or Rejection for each kept scene and each
        object, by its `record_id`.
    """
    seen = {scene.scene_id: scene.raw_key for scene in known}
    for each in kept:
        seen[each.scene.scene_id] = each.scene.raw_key
        assignment = Assignment(scene_id=each.scene.scene_id, shard=each.shard)
        yield Done(each.scene.raw_key, (each.scene, assignment))
    first_shard = 1 + max((int(each.shard) for each in kept), default=-1)
    registered = 0
    for info in objects:
        scene = _read(info, raw, config, annotations)
        if isinstance(scene, Scene) and scene.scene_id in seen:
            yield _rejected(info, "duplicate", _same_bytes(info.key, seen[scene.scene_id]))
        elif isinstance(scene, Scene):
            seen[scene.scene_id] = info.key
            shard = f"{first_shard + registered // config.shard_scenes:04d}"
            registered += 1
            assignment = Assignment(scene_id=scene.scene_id, shard=shard)
            yield Done(info.key, (scene, assignment))
        else:
            yield scene


def record_id(key: str) -> str:
    """A key as it is accounted for: its own, with bytes that are no UTF-8 written as escapes."""
    return key.encode("utf-8", "backslashreplace").decode()


def may_be_scene(
    key: str, config: IngestConfig, annotations: Sequence[AnnotationSource] = ()
) -> bool:
    """Whether an object is opened as a raster, by its key."""
    suffix = PurePosixPath(key).suffix.lower()
    return suffix in config.suffixes and not is_annotation(key, annotations)


def _same_bytes(key: str, registered_key: str) -> str:
    if key == registered_key:
        return "a scene since it was first uploaded, with the same bytes; nothing is to be done"
    return f"the same bytes as {registered_key}, which is a scene already; nothing is to be done"


def _rejected(info: ObjectInfo, reason: str, detail: str) -> Rejection:
    return Rejection(
        rejected_id=record_id(info.key), stage=STAGE, reason=reason, detail=detail, etag=info.etag
    )


def _read(
    info: ObjectInfo,
    raw: Storage,
    config: IngestConfig,
    annotations: Sequence[AnnotationSource],
) -> Scene | Rejection:
    if record_id(info.key) != info.key:
        return _rejected(info, "unreadable name", "the file's name is not UTF-8; rename it")
    if is_annotation(info.key, annotations):
        detail = "no scene of its own: it is read with the scenes that it speaks of"
        return _rejected(info, "annotation", detail)
    suffix = PurePosixPath(info.key).suffix.lower()
    if suffix in SIDECARS:
        return _rejected(info, "sidecar", "no scene of its own: it is read with the one beside it")
    if suffix not in config.suffixes:
        return _rejected(info, "unsupported", f"suffix {suffix!r} is not in ingest.suffixes")
    if info.size_bytes == 0:
        return _rejected(info, "empty", "the object has 0 bytes; upload it again")
    try:
        with open_raster(raw, info.key) as raster:
            facts = raster.info
        if facts.width_px * facts.height_px > config.max_pixels:
            size = f"{facts.width_px} x {facts.height_px} px"
            return _rejected(info, "too large", f"{size}: more than ingest.max_pixels")
        digest = raw.sha256(info.key)
    except UnreadableError as error:
        return _rejected(info, "unreadable", str(error))
    except (MissingObjectError, ConflictError):
        return _rejected(info, "changed", _CHANGED)
    now = raw.stat(info.key)
    if now is None or now.etag != info.etag:
        return _rejected(info, "changed", _CHANGED)
    return Scene(
        scene_id=digest[:SCENE_ID_DIGITS],
        raw_key=info.key,
        etag=info.etag,
        size_bytes=info.size_bytes,
        width_px=facts.width_px,
        height_px=facts.height_px,
        bands=facts.bands,
        dtype=facts.dtype,
        crs=facts.crs,
        transform=facts.transform,
        gsd_m=facts.gsd_m,
        acquired_at=facts.acquired_at,
    )
