"""Names that mean the same become one category, with a ledger of every merge.

A merge is undone by giving its name a place in the vocabulary and routing the night again: labels
keep the names as they were said.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lae_tasks.contracts import Merge
from lae_tasks.naming.names import canonical_form
from lae_tasks.naming.phrases import is_name
from lae_tasks.naming.vocabulary import Vocabulary

Vectors = npt.NDArray[np.float32]

#: Names that are compared with all representatives in one product of matrices.
_NAMES_AT_ONCE = 512


@dataclass(frozen=True)
class _Meaning:
    """What a name is taken for before similarity is looked at, or after.

    Attributes:
        may_move: Whether similarity may still make it another one.
    """

    canonical: str
    rule: str
    by: str
    similarity: float | None = None
    may_move: bool = False


def merge_names(
    counts: Mapping[str, int],
    vocabulary: Vocabulary,
    imported: Collection[str] = (),
    embed: Callable[[Sequence[str]], Vectors] | None = None,
    threshold: float = 1.0,
) -> list[Merge]:
    """Decides, for each name as it was said, the category that it counts as.

    First what the vocabulary says of it, then what data sets call things, then its canonical form;
    last, by text similarity, the nearest representative above the threshold. Representatives are
    the vocabulary with its synonyms, imported names and, after them, names by falling frequency.
    A name only ever joins a representative, never another member, so chains cannot drift; and
    the ranking makes the result independent of the order in which names came.

    Args:
        counts: How often each name was said.
        vocabulary: Names and synonyms that outrank similarity. Blocked names join nothing, nor does
            what is no name.
        imported: Names of data sets, which are kept as they are.
        embed: Unit vectors (n, d) of n names; None merges without similarity.
        threshold: Cosine similarity above which two names are one.

    Returns:
        One ledger line for each name that was said, ordered by name.
    """
    kept = {canonical_form(name): name for name in sorted(imported, reverse=True)}
    meanings = {name: _meaning(name, vocabulary, kept) for name in counts}
    free: Counter[str] = Counter()  # names that similarity may still move
    for name, meaning in meanings.items():
        if meaning.may_move:
            free[meaning.canonical] += counts[name]
    nearest = _nearest(free, _fixed(vocabulary, kept), embed, threshold)
    ledger = []
    for name, meaning in sorted(meanings.items()):
        if meaning.may_move:
            meaning = nearest.get(meaning.canonical, meaning)
        same = meaning.canonical == name
        ledger.append(
            Merge(
                name=name,
                canonical=meaning.canonical,
                rule="same" if same else meaning.rule,
                similarity=meaning.similarity,
                count=counts[name],
                by=meaning.by,
            )
        )
    return ledger


def _meaning(name: str, vocabulary: Vocabulary, kept: Mapping[str, str]) -> _Meaning:
    form = canonical_form(name)
    known = vocabulary.meaning(name)
    if known:
        category, by = known
        same = canonical_form(category) == form
        return _Meaning(category, "canonical form" if same else "synonym", by)
    if form in kept:
        return _Meaning(kept[form], "canonical form", "data set")
    if vocabulary.blocks(name):
        return _Meaning(form, "canonical form", "vocabulary")
    # A sentence resembles any other sentence: what is no name neither joins nor is joined.
    return _Meaning(form, "canonical form", "engine", may_move=is_name(name))


def _fixed(vocabulary: Vocabulary, kept: Mapping[str, str]) -> dict[str, str]:
    """Representatives that no frequency outranks, with the category of each, in their rank."""
    fixed = {name: name for name in vocabulary.names}
    for category in vocabulary.categories:
        for synonym in category.synonyms:
            fixed.setdefault(synonym.name, category.name)
    for name in sorted(kept.values()):
        if vocabulary.meaning(name) is None:
            fixed.setdefault(name, name)
    return fixed


def _nearest(
    free: Mapping[str, int],
    fixed: Mapping[str, str],
    embed: Callable[[Sequence[str]], Vectors] | None,
    threshold: float,
) -> dict[str, _Meaning]:
    """Of the names that join a representative: which."""
    ranked = sorted(free, key=lambda name: (-free[name], name))
    if embed is None or not ranked:
        return {}
    names = [*fixed, *ranked]
    vectors = embed([canonical_form(name) for name in names])
    chosen = np.zeros(len(names), dtype=bool)
    chosen[: len(fixed)] = True
    found: dict[str, _Meaning] = {}
    for start in range(len(fixed), len(names), _NAMES_AT_ONCE):
        block = slice(start, min(start + _NAMES_AT_ONCE, len(names)))
        before = np.flatnonzero(chosen[:start])
        # Against all representatives so far at once; within the block one after the other.
        similar = np.zeros((block.stop - start, block.stop), dtype=np.float32)
        similar[:, before] = vectors[block] @ vectors[before].T
        similar[:, block] = vectors[block] @ vectors[block].T
        for row, index in enumerate(range(block.start, block.stop)):
            likeness = np.where(chosen[: block.stop], similar[row], -1.0)
            best = int(likeness.argmax()) if likeness.size else 0
            if chosen[best] and likeness[best] > threshold:
                similarity = round(min(1.0, float(likeness[best])), 4)
                canonical = fixed.get(names[best], names[best])
                found[names[index]] = _Meaning(canonical, "similar", "engine", similarity)
            else:
                chosen[index] = True
    return found
