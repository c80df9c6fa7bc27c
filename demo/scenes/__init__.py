"""The synthetic world: seeded overhead scenes with exact truth."""

from demo.scenes.generator import (
    CATEGORIES,
    DISTRACTORS,
    SyntheticObject,
    SyntheticScene,
    generate_scene,
)
from demo.scenes.world import write_world

__all__ = [
    "CATEGORIES",
    "DISTRACTORS",
    "SyntheticObject",
    "SyntheticScene",
    "generate_scene",
    "write_world",
]
