"""The synthetic world: seeded overhead scenes with exact truth."""

from demo.scenes.generator import (
    CATEGORIES,
    DISTRACTORS,
    SyntheticObject,
    SyntheticScene,
    generate_scene,
)

__all__ = [
    "CATEGORIES",
    "DISTRACTORS",
    "SyntheticObject",
    "SyntheticScene",
    "generate_scene",
]
