"""Category names in one canonical form."""

import re
import unicodedata
from functools import cache
from typing import Any

_DETERMINER = r"(?:an?|the|some|several|many|one|two|multiple)"
_DETERMINERS = re.compile(rf"^(?:{_DETERMINER}\s+)+")
#: In "one-way road" and "a-frame house" they are none: their hyphen stays, so that a name that is
#: read once more keeps them.
_NO_DETERMINER = re.compile(rf"^({_DETERMINER})([-/])(?=\w)")
#: Singular nouns that look like plurals to inflect, as "gas", "bus", "glass" and "oasis" do.
_SINGULAR = re.compile(r"gas|canvas|atlas|lens|.*(?:us|ss|is)")
#: Plurals with the endings of those: of French nouns, as "plateaus", and of some in -i and -u.
_PLURAL = re.compile(
    r".*eaus|.*(?:taxi|ski)s|(?:alibi|kiwi|safari|semi|tsunami|wadi|bayou|caribou|emu|guru|menu)s"
)
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
    if _SINGULAR.fullmatch(last) and not _PLURAL.fullmatch(last):
        return text
    singular = _inflect().singular_noun(last) if last.isalpha() else False
    return f"{head} {singular}".strip() if singular else text


@cache
def _inflect() -> Any:
    import inflect  # here: its import takes two seconds, and most commands need no names

    return inflect.engine()
