"""What scenes came with: the annotations of existing data sets, as prompts for masks."""

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lae_tasks.annotations import (
    Annotation,
    AnnotationError,
    label_file,
    read_annotations,
    says_something,
)
from lae_tasks.config import AnnotationSource
from lae_tasks.contracts import Prompt, PromptType, Scene
from lae_tasks.errors import ConfigError
from lae_tasks.storage import Storage


@dataclass(frozen=True)
class ScenePrompts:
    """The prompts of one scene.

    Attributes:
        prompts: In the order of the sources.
        unusable: Annotations without area within the scene or a finite place.
        problem: Why the annotations cannot be read; None if they can.
    """

    prompts: tuple[Prompt, ...] = ()
    unusable: int = 0
    problem: str | None = None


def read_prompts(raw: Storage, sources: Sequence[AnnotationSource], scene: Scene) -> ScenePrompts:
    """What the sources say of a scene; no prompts if they say nothing of it."""
    prompts: list[Prompt] = []
    unusable = 0
    seen: Counter[str] = Counter()
    for source in sources:
        if not PurePosixPath(scene.raw_key).is_relative_to(source.images):
            continue
        try:
            found = read_annotations(
                raw,
                source.format,
                source.location,
                scene.raw_key,
                scene.width_px,
                scene.height_px,
            )
        except AnnotationError as error:
            return ScenePrompts(problem=str(error))
        if found:
            unusable += found.unusable
            prompts += [_prompt(scene, item, seen) for item in found.items]
    return ScenePrompts(tuple(prompts), unusable)


def require_annotations(raw: Storage, sources: Sequence[AnnotationSource]) -> None:
    """Raises ConfigError if nothing lies where a source should: a misspelt place says nothing."""
    for source in sources:
        if not _lies_there(raw, source.location):
            raise ConfigError(
                f"annotations.location {source.location!r}: nothing lies there in {raw.uri}; "
                "check the spelling, or leave the source out"
            )


def _lies_there(raw: Storage, location: str) -> bool:
    """Whether there is an object of that key, or any in that folder."""
    if location and raw.stat(location):
        return True
    return next(iter(raw.list(f"{location}/" if location else "")), None) is not None


def require_labels(
    raw: Storage,
    sources: Sequence[AnnotationSource],
    keys: Collection[str],
    scenes: Collection[str],
) -> None:
    """Raises ConfigError if a source says nothing of any of its scenes.

    Then a place is misspelt, and a night would search all of them by the grid. That it says nothing
    of one scene among others is as it may be.

    Args:
        raw: Where scenes and sources lie.
        sources: The sources.
        keys: The keys of all objects in it.
        scenes: The keys of all scenes, of this night or another, and of what may become one.
    """
    for source in sources:
        own = sorted(key for key in scenes if PurePosixPath(key).is_relative_to(source.images))
        if source.images and not own:
            raise ConfigError(
                f"annotations.images {source.images!r}: no scene lies there in {raw.uri}; "
                "check the spelling, and ingest.suffixes, or leave the source out"
            )
        if own and not _says_something(raw, source, own, keys):
            raise ConfigError(_nothing_said(source, own, keys))


def _says_something(
    raw: Storage, source: AnnotationSource, scenes: Sequence[str], keys: Collection[str]
) -> bool:
    labelled = [key for key in scenes if label_file(source.format, source.location, key) in keys]
    try:
        return says_something(raw, source.format, source.location, labelled)
    except AnnotationError:  # which is told of each scene when it is tiled
        return True


def _nothing_said(source: AnnotationSource, scenes: Sequence[str], keys: Collection[str]) -> str:
    wanted = [label_file(source.format, source.location, key) for key in scenes]
    names = {PurePosixPath(key).name for key in wanted}
    elsewhere = sorted(key for key in keys if PurePosixPath(key).name in names)
    problem = f"there is no {wanted[0]!r}"
    if wanted[0] in keys:
        problem = "the file does not list it"
    elif elsewhere:
        problem += f", but {elsewhere[0]!r}"
    return (
        f"annotations.location {source.location!r}: it says nothing of any scene below "
        f"{source.images or '/'!r}: for {scenes[0]!r}, {problem}; correct location, images or "
        "format, or leave the source out"
    )


def is_annotation(key: str, sources: Sequence[AnnotationSource]) -> bool:
    """Whether a key below raw is of a source's own files."""
    path = PurePosixPath(key)
    return any(
        path.is_relative_to(source.location)
        # A folder of labels may be the folder of the images, too.
        and (path == PurePosixPath(source.location) or path.suffix.lower() in _LABEL_SUFFIXES)
        for source in sources
    )


_LABEL_SUFFIXES = frozenset({".txt", ".xml", ".json", ".geojson", ".yaml", ".yml"})


def _prompt(scene: Scene, item: Annotation, seen: Counter[str]) -> Prompt:
    kind = PromptType.POINT if item.is_point else PromptType.BOX
    # Not its name: when that is corrected, the region and what stewards said of it stay.
    identity = f"{scene.scene_id}|{kind}|{item.bbox_xyxy_px}"
    seen[identity] += 1  # a data set may have two objects in one place
    digest = hashlib.sha256(f"{identity}|{seen[identity]}".encode()).hexdigest()
    return Prompt(
        prompt_id=digest[:16],
        scene_id=scene.scene_id,
        prompt_type=kind,
        bbox_xyxy_px=item.bbox_xyxy_px,
        category=item.category,
        difficult=item.difficult,
    )
