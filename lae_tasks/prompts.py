"""What scenes came with: the annotations of existing data sets, as prompts for masks."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from lae_tasks.annotations import Annotation, AnnotationError, read_annotations
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
