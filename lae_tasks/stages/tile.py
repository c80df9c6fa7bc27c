"""Tile: a Scene becomes windows with an 8-bit RGB rendition each."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from lae_tasks.accounts import Done, Rejection
from lae_tasks.config import TileConfig
from lae_tasks.contracts import Scene, Tile
from lae_tasks.errors import ContractError, TransientError
from lae_tasks.geometry import tile_windows
from lae_tasks.imagery.raster import Raster, UnreadableError, open_raster
from lae_tasks.regions.prompts import ScenePrompts
from lae_tasks.stages.ingest import SCENE_ID_DIGITS
from lae_tasks.storage import MissingObjectError, Storage

STAGE = "tile"


def run(
    scenes: Sequence[Scene],
    raw: Storage,
    store: Storage,
    config: TileConfig,
    prompts: Mapping[str, ScenePrompts] = MappingProxyType({}),
) -> Iterator[Done | Rejection]:
    """Cuts scenes into tiles and stores their renditions, named by content.

    Args:
        scenes: The scenes.
        raw: The storage that they lie in.
        store: Where the renditions go.
        config: The stage's settings.
        prompts: What scenes came with, by the scene's id.

    Yields:
        One Done (the scene's Tiles, and its Prompts) or Rejection for each scene; the counter
        `empty_tiles` holds the windows without data, which make no tile, and
        `unusable_annotations` what lies nowhere in the scene.
    """
    for scene in scenes:
        asked = prompts.get(scene.scene_id, ScenePrompts())
        if asked.problem:
            yield _rejected(scene, "unreadable annotations", asked.problem)
            continue
        try:
            result = _cut(scene, raw, store, config)
            if isinstance(result, Done) and scene.scene_id in prompts:
                counts = {
                    **result.counts,
                    "prompts": len(asked.prompts),
                    "prompts_without_tile": 0 if result.outputs else len(asked.prompts),
                    "unusable_annotations": asked.unusable,
                }
                result = Done(result.record_id, (*result.outputs, *asked.prompts), counts)
            yield result
        except UnreadableError as error:
            yield _rejected(scene, "unreadable", str(error))
        except MissingObjectError:
            yield _rejected(scene, "gone", "the object was removed after it was registered")


def _rejected(scene: Scene, reason: str, detail: str) -> Rejection:
    return Rejection(
        rejected_id=scene.scene_id,
        stage=STAGE,
        reason=reason,
        detail=f"{scene.raw_key}: {detail}",
    )


def _cut(scene: Scene, raw: Storage, store: Storage, config: TileConfig) -> Done | Rejection:
    info = raw.stat(scene.raw_key)
    # Uploaded again it has another etag, and may be the same.
    if info and info.etag != scene.etag and not _is_same(scene, raw):
        return _rejected(scene, "changed", "the object changed after it was registered")
    with open_raster(raw, scene.raw_key, config.bands, config.size_px) as raster:
        result = _cut_open(scene, raster, store, config)
    if raw.stat(scene.raw_key) != info:
        raise TransientError(f"{raw.uri}/{scene.raw_key}: was replaced while it was read")
    return result


def _is_same(scene: Scene, raw: Storage) -> bool:
    return raw.sha256(scene.raw_key)[:SCENE_ID_DIGITS] == scene.scene_id


def _cut_open(scene: Scene, raster: Raster, store: Storage, config: TileConfig) -> Done:
    stretch = raster.stretch(config.stretch_percentiles)
    tiles = []
    empty = 0
    size = (scene.width_px, scene.height_px, config.size_px, config.overlap_px)
    for window in raster.reading_order(tile_windows(*size)):
        rgb, valid = raster.read_rgb(window, stretch)
        share = float(valid.mean())
        # A wedge of one colour without a nodata tag holds nothing either.
        if share < config.min_valid_fraction or (rgb == rgb[0, 0]).all():
            empty += 1
            continue
        data = encode_png(rgb)
        digest = hashlib.sha256(data).hexdigest()
        key = image_key(digest)
        store.write(key, data)
        valid_key = None if valid.all() else _write_valid(valid, store)
        x, y, width, height = window
        tiles.append(
            Tile(
                tile_id=f"{scene.scene_id}-{x}-{y}-{width}x{height}",
                scene_id=scene.scene_id,
                raw_key=scene.raw_key,
                window_px=window,
                image_key=key,
                image_sha256=digest,
                valid_fraction=round(share, 6),
                valid_key=valid_key,
            )
        )
    tiles.sort(key=lambda each: each.window_px[1::-1])  # row by row, however it is stored
    return Done(scene.scene_id, tiles, {"empty_tiles": empty})


def _write_valid(valid: npt.NDArray[np.bool_], store: Storage) -> str:
    """Stores where pixels hold data, as a one-bit PNG; its key."""
    buffer = io.BytesIO()
    Image.fromarray(valid).save(buffer, "PNG")
    key = image_key(hashlib.sha256(buffer.getvalue()).hexdigest())
    store.write(key, buffer.getvalue())
    return key


def image_key(sha256: str) -> str:
    """Where a rendition lies in the store: by content, so the same picture is stored once."""
    return f"images/{sha256[:2]}/{sha256}.png"


def encode_png(rgb: npt.NDArray[np.uint8]) -> bytes:
    """PNG bytes of an RGB image of shape (height, width, 3).

    Run lengths alone: a third of the time of Pillow's, for a file of about the same size.
    """
    settings = [
        cv2.IMWRITE_PNG_COMPRESSION,
        1,
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_RLE,
    ]
    _, data = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), settings)
    return data.tobytes()


def load_valid(tile: Tile, store: Storage) -> npt.NDArray[np.bool_]:
    """Where a tile's pixels hold data, (height, width)."""
    if tile.valid_key is None:
        return np.ones((tile.window_px[3], tile.window_px[2]), dtype=bool)
    return np.asarray(_stored(tile.valid_key, store).convert("1"))


def load_image(tile: Tile, store: Storage) -> npt.NDArray[np.uint8]:
    """A tile's rendition as uint8 RGB of shape (height, width, 3)."""
    return np.asarray(_stored(tile.image_key, store).convert("RGB"))


def _stored(key: str, store: Storage) -> Image.Image:
    try:
        return Image.open(io.BytesIO(store.read(key)))
    except UnidentifiedImageError as error:
        raise ContractError(
            f"{store.uri}/{key}: is no image any more; delete it and the manifests of tile that "
            "name its tiles, and run their nights again"
        ) from error
