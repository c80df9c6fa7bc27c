"""Category names: one canonical form, and near-synonyms merged with a ledger of every merge."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lae_tasks.contracts import Merge

_DETERMINER = r"(?:an?|the|some|several|many|one|two|multiple)"
_DETERMINERS = re.compile(rf"^(?:{_DETERMINER}\s+)+")
#: In "one-way road" and "a-frame house" they are none: their hyphen stays, so that a name that is
#: read once more keeps them.
_NO_DETERMINER = re.compile(rf"^({_DETERMINER})([-/])(?=\w)")
#: Singular nouns that look like plurals to inflect.
_SINGULAR = frozenset({"gas", "canvas", "atlas", "glass", "lens"})
_MARKS = " .,;:!?'\"()[]-/"


@cache
def canonical_form(name: str) -> str:
    """A name in lower case and singular, without determiners, hyphens or doubled spaces.

    The canonical form of a canonical form is the same.

    >>> canonical_form("The  Tennis-Courts")
    'tennis court'
    """
    form = _once(name)
    # What was peeled off may bring another layer to light, such as "the (ships)".
    for _ in name:
        name, form = form, _once(form)
        if form == name:
            break
    return form


def _lower(name: str) -> str:
    return re.sub(r"[\s_]+", " ", unicodedata.normalize("NFKC", name).lower()).strip(_MARKS)


def same_spelling(name: str) -> str:
    """What names have in common that differ in case, hyphens, spaces or outer marks only."""
    return re.sub(r"[\s\-/]+", " ", _lower(name))


def _once(name: str) -> str:
    text = _lower(name)
    text = _DETERMINERS.sub("", text)  # before hyphens go: "one-way road" has none
    kept = _NO_DETERMINER.match(text)
    start, rest = (kept[1] + kept[2], text[kept.end() :]) if kept else ("", text)
    text = start + re.sub(r"[\s\-/]+", " ", rest).strip(_MARKS)
    head, _, last = text.rpartition(" ")
    if last in _SINGULAR or last.endswith(("us", "ss", "is")):
        return text
    singular = _inflect().singular_noun(last) if last.isalpha() else False
    return f"{head} {singular}".strip() if singular else text


@cache
def _inflect() -> Any:
    import inflect  # here: its import takes two seconds, and most commands need no names

    return inflect.engine()


def spelled(name: str, vocabulary: Iterable[str]) -> str:
    """A name as the vocabulary spells it; the name itself where it does not stand there.

    >>> spelled("large vehicles", ["Large-Vehicle"])
    'Large-Vehicle'
    """
    form = canonical_form(name)
    return next((own for own in vocabulary if canonical_form(own) == form), name)


def merge_names(
    counts: Mapping[str, int],
    vocabulary: Sequence[str],
    embed: Callable[[Sequence[str]], npt.NDArray[np.float32]] | None,
    threshold: float,
) -> list[Merge]:
    """Decides, for each name as it was said, the name that it counts as.

    First the canonical form, as the vocabulary spells it where it stands there; then, by text
    similarity, the nearest representative above the threshold. Representatives are the vocabulary
    and, after it, names by falling frequency. A name only ever joins a representative, never
    another member, so chains cannot drift; and the ranking makes the result independent of the
    order in which names came.

    Args:
        counts: How often each name was said.
        vocabulary: Names that always are representatives.
        embed: Unit vectors (n, d) of n names; None merges by canonical form only.
        threshold: Cosine similarity above which two names are one.

    Returns:
        One ledger line for each name that was said, ordered by name.
    """
    spelling = {canonical_form(name): name for name in reversed(vocabulary)}
    form_of = {name: spelling.get(canonical_form(name), canonical_form(name)) for name in counts}
    forms: Counter[str] = Counter()
    for name, count in counts.items():
        forms[form_of[name]] += count
    representative = _representatives(forms, vocabulary, embed, threshold)
    ledger = []
    for name in sorted(counts):
        form = form_of[name]
        canonical, similarity = representative[form]
        unmerged = "same" if form == name else "canonical form"
        rule = unmerged if canonical == form else "similar"
        ledger.append(
            Merge(
                name=name,
                canonical=canonical,
                rule=rule,
                similarity=similarity,
                count=counts[name],
            )
        )
    return ledger


def _representatives(
    forms: Mapping[str, int],
    vocabulary: Sequence[str],
    embed: Callable[[Sequence[str]], npt.NDArray[np.float32]] | None,
    threshold: float,
) -> dict[str, tuple[str, float | None]]:
    """For each form: its representative, and the similarity where it is another name."""
    fixed = list(vocabulary)
    ranked = fixed + sorted(set(forms) - set(fixed), key=lambda form: (-forms[form], form))
    if embed is None or not ranked:
        return {form: (form, None) for form in ranked}
    vectors = embed(ranked)
    chosen: list[int] = []
    result: dict[str, tuple[str, float | None]] = {}
    for index, form in enumerate(ranked):
        result[form] = (form, None)
        if index >= len(fixed) and chosen:
            similarities = vectors[chosen] @ vectors[index]
            best = int(similarities.argmax())
            if similarities[best] > threshold:
                similarity = round(min(1.0, float(similarities[best])), 4)
                result[form] = (ranked[chosen[best]], similarity)
                continue
        chosen.append(index)
    return result
