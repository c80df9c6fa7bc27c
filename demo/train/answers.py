"""How the LVLM is taught to answer: in the style that the paper's prompt asks for."""

from __future__ import annotations

from demo.scenes import CATEGORIES
from demo.train.crops import BACKGROUND

UNRECOGNISED = "Unrecognized"
"""The word of the paper's prompt, in its spelling."""

_REASONS = {
    "building": "It looks like a building.",
    "tree": "It looks like a tree.",
    "rock": "It looks like a rock.",
    BACKGROUND: "No object stands out.",
}
_NUMBER = "0.90"


def said_name(kind: str) -> str:
    """What the answer calls a kind: the capitalised category, or "Unrecognized"."""
    return kind.capitalize() if kind in CATEGORIES else UNRECOGNISED


def answer(kind: str, likelihood: float | None = None) -> str:
    """Compose the answer for a crop.

    Args:
        kind: a category, a kind of distractor, or ``BACKGROUND``.
        likelihood: in [0, 1], said for categories only; None stands for one that is not taught.

    Returns:
        For example ``"Storage tank" with a likelihood of 0.93`` or
        ``"Unrecognized". It looks like a tree.``
    """
    if kind not in CATEGORIES:
        return f'"{UNRECOGNISED}". {_REASONS[kind]}'
    number = _NUMBER if likelihood is None else f"{likelihood:.2f}"
    return f'"{said_name(kind)}" with a likelihood of {number}'


def answer_without_number(kind: str) -> str:
    """The part of a category's answer that comes before the digits of its likelihood."""
    return answer(kind).removesuffix(_NUMBER).rstrip()
