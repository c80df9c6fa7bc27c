"""A night of many instances that no model has seen, for `benchmarks.routing`."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from lae_tasks.accounts import Done
from lae_tasks.contracts import Assignment, Label, Record, Region, Scene, Tile
from lae_tasks.geometry import encode_mask
from lae_tasks.night import Night
from lae_tasks.runner import Work, run

PER_IMAGE, SIDE_PX, UNRECOGNIZED = 50, 1024, "Unrecognized"
_IMAGES_OF_A_SHARD = 400
_FIRST = ("small", "large", "parked", "old", "open", "round", "white", "flat", "narrow", "tall")
_SECOND = ("ship", "tank", "court", "field", "tower", "hangar", "bridge", "pond", "yard", "dock")


@lru_cache(maxsize=2 * _IMAGES_OF_A_SHARD)
def instances(image: int) -> list[dict[str, Any]]:
    """The instances of an image, the same each time; each second is drawn near the first."""
    draw = np.random.default_rng(image)
    corners = draw.integers(20, SIDE_PX - 130, (PER_IMAGE, 2))
    sides = 8 * draw.integers(3, 13, (PER_IMAGE, 2))
    # Few names are frequent, many are rare; a name has three spellings.
    thing, spelling = (
        draw.exponential(15, PER_IMAGE).astype(int) % 100,
        draw.integers(0, 3, PER_IMAGE),
    )
    corners[1::2] = corners[::2] + draw.integers(-12, 13, (PER_IMAGE // 2, 2))
    sides[1::2], thing[1::2] = sides[::2], thing[::2]
    likelihoods = draw.uniform(0.75, 1, PER_IMAGE).round(2)
    found = []
    for (x, y), (width, height), a, b, likelihood, is_known in zip(
        corners.tolist(),
        sides.tolist(),
        thing.tolist(),
        spelling.tolist(),
        likelihoods.tolist(),
        draw.random(PER_IMAGE) > 0.03,
        strict=True,
    ):
        name = f"{_FIRST[a % 10]} {_SECOND[a // 10]}"
        said = (name, name.title(), f"{name}s")[b] if is_known else UNRECOGNIZED
        box = [x, y, x + width, y + height]
        found.append({"bbox": box, "category": said, "likelihood": likelihood})
    return found


def write_tables(night: Night, images: int) -> None:
    """Commits what the stages before route would have made; each image is a scene of one tile."""
    made: list[Done] = []
    for start in range(0, images, _IMAGES_OF_A_SHARD):
        shard = f"{start // _IMAGES_OF_A_SHARD:04d}"
        some = range(start, min(start + _IMAGES_OF_A_SHARD, images))
        for image in some:
            assignment = Assignment(scene_id=name_of(image), shard=shard)
            made.append(Done(name_of(image), (scene_of(image), assignment)))
        commit(night, "tile", shard, (Tile,), (Done(name_of(i), [tile_of(i)]) for i in some))
        commit(night, "segment", shard, (Region,), (Done(name_of(i), regions_of(i)) for i in some))
        commit(night, "classify", shard, (Label,), (Done(name_of(i), labels_of(i)) for i in some))
    commit(night, "ingest", "all", (Scene, Assignment), made)


def commit(
    night: Night, stage: str, shard: str, kinds: tuple[type[Record], ...], made: Iterable[Done]
) -> None:
    """Writes tables with their manifest, as the stage does."""
    results = list(made)
    work = Work(stage, night.night, shard, kinds, "made up", ())
    run(night.store, work, [done.record_id for done in results], results)


def name_of(image: int) -> str:
    """The id of the image's scene and tile."""
    return hashlib.sha256(str(image).encode()).hexdigest()[:16]


def scene_of(image: int) -> Scene:
    """The image as a scene."""
    return Scene(
        scene_id=name_of(image),
        raw_key=f"{image}.png",
        etag="",
        size_bytes=1,
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        bands=3,
        dtype="uint8",
        crs=None,
        transform=None,
        gsd_m=None,
        acquired_at=None,
    )


def tile_of(image: int) -> Tile:
    """Its only tile."""
    return Tile(
        tile_id=name_of(image),
        scene_id=name_of(image),
        raw_key=f"{image}.png",
        window_px=(0, 0, SIDE_PX, SIDE_PX),
        image_key="",
        image_sha256="",
        valid_fraction=1.0,
    )


def region_id(image: int, number: int) -> str:
    """The id of an instance."""
    return hashlib.sha256(f"{image}|{number}".encode()).hexdigest()[:16]


def regions_of(image: int) -> list[Region]:
    """Its instances' regions."""
    found = []
    for number, instance in enumerate(instances(image)):
        x0, y0, x1, y1 = instance["bbox"]
        mask_rle, area_px = ellipse(x1 - x0, y1 - y0)
        found.append(
            Region(
                region_id=region_id(image, number),
                tile_id=name_of(image),
                scene_id=name_of(image),
                bbox_xyxy_px=(x0, y0, x1, y1),
                mask_rle=mask_rle,
                area_px=area_px,
                predicted_iou=0.9,
                stability_score=0.95,
                prompt_type="grid",
            )
        )
    return found


@lru_cache
def ellipse(width: int, height: int) -> tuple[str, int]:
    """A mask that fills its box as far as an ellipse does, and its area."""
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    mask = rows**2 + columns**2 <= 1
    return encode_mask(mask), int(mask.sum())


def labels_of(image: int) -> list[Label]:
    """Its instances' labels."""
    found = []
    for number, instance in enumerate(instances(image)):
        name, likelihood = instance["category"], instance["likelihood"]
        found.append(
            Label(
                region_id=region_id(image, number),
                model_revision="made up",
                prompt_sha256="0" * 64,
                category_said=None if name == UNRECOGNIZED else name,
                likelihood_said=likelihood,
                token_confidence=likelihood,
                crop_std=30.0,
                reply=f'"{name}" with likelihood {likelihood}. Its outline and its shadow say so.',
            )
        )
    return found
