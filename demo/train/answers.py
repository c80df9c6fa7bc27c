"""How the LVLM is taught to answer: in the style that the paper's prompt asks for."""

from __future__ import annotations

import re
from importlib import resources

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
_SAID = re.compile(r'"([^"]+)"(?: with a likelihood of ([01](?:\.\d+)?))?')


def paper_prompt() -> str:
    """The prompt of the LAE-Label paper, word for word, without a line break at its end."""
    path = resources.files("lae_tasks") / "prompts" / "lae_paper.txt"
    return path.read_text(encoding="utf-8").strip()


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


def parse_answer(text: str) -> tuple[str | None, float | None]:
    """Read an answer for the evaluation; the engine has its own, more forgiving parser.

    Args:
        text: what the model said.

    Returns:
        The lower-case category, or None for "Unrecognized" and for anything unreadable; and the
        likelihood as said, if any.
    """
    match = _SAID.search(text)
    if match is None or match.group(1) == UNRECOGNISED:
        return None, None
    likelihood = float(match.group(2)) if match.group(2) else None
    return match.group(1).lower(), likelihood
