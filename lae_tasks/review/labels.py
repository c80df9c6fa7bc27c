"""The categories that a steward sees beside a tile, with their digit keys and colours."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from lae_tasks.contracts import Decision, ReviewItem

T = TypeVar("T")

HOTKEYS = "123456789"

#: Twelve colours that show on land and water, and can be read as text on a white page.
PALETTE = (
    "#ff3b30", "#ff8c00", "#cc9a00", "#2db84d", "#00b3b3", "#1e90ff",
    "#8a5cff", "#e83fb8", "#b5542c", "#6aa300", "#00a0e0", "#c2185b",
)  # fmt: skip


def labels(
    items: Iterable[ReviewItem],
    decisions: Iterable[Decision],
    vocabulary: Sequence[str],
    frequent: Sequence[str] = (),
) -> list[dict[str, str]]:
    """The labels of a tile as Label Studio takes them, those with a digit key first.

    All categories of the boxes are among them. The other candidates, most likely first, then the
    vocabulary, then what is frequent fill up to nine. A category has the same digit and colour on
    every tile as far as it can: those of its place in the vocabulary.

    Args:
        items: The boxes.
        decisions: The decisions on them.
        vocabulary: The config's, in its order.
        frequent: Other names worth offering, best first: a tile without a box has no candidates.
    """
    shown = Counter(item.category for item in items)
    others: Counter[str] = Counter()
    for decision in decisions:
        # The first candidates of a box weigh more than its last.
        for rank, name in enumerate(decision.candidates):
            others[name] += max(1, 10 - rank)
    names = sorted(shown, key=lambda name: (-shown[name], name))
    rest = [*sorted(others, key=lambda name: (-others[name], name)), *vocabulary, *frequent]
    fill = [name for name in dict.fromkeys(rest) if name not in shown]
    names += fill[: max(0, len(HOTKEYS) - len(names))]
    keys = _share_out(HOTKEYS, names[: len(HOTKEYS)], vocabulary)
    colours = _share_out(PALETTE, names, vocabulary)
    return [
        {"value": name, "background": colours[name]}
        | ({"hotkey": keys[name]} if name in keys else {})
        for name in sorted(names, key=lambda name: (keys.get(name, "~"), name))
    ]


def _share_out(slots: Sequence[T], names: Sequence[str], vocabulary: Sequence[str]) -> dict[str, T]:
    """One of the slots for each name: its own by its place in the vocabulary, else a free one.

    A name that the vocabulary lacks has one by digest. With more names than slots, some share.
    """
    places = {name: place for place, name in enumerate(vocabulary)}
    free = list(slots)
    given = {}
    for name in sorted(names, key=lambda name: (places.get(name, len(places)), name)):
        place = places.get(name, hashlib.sha256(name.encode()).digest()[0])
        own = slots[place % len(slots)]
        given[name] = own if own in free or not free else free[0]
        if free:
            free.remove(given[name])
    return given
