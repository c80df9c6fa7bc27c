"""Reads what a vision-language model says of a crop.

The paper's prompt asks for `"object category" with likelihood`, or "Unrecognized". Models answer
in many forms: straight or curly quotes, `with likelihood 0.9`, `with a likelihood of 1`, `: 90 %`.
The prompt `json` asks for a JSON object, which may stand in a fence or between other words. What a
model thinks before `</think>` is no answer.
"""

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from lae_tasks.backends.protocols import Reply
from lae_tasks.naming.json_object import AmbiguousJsonError, Member, find_object

_QUOTED = re.compile(r'["“”„«](?P<name>[^"“”„«»]+)["“”»]')
#: Apostrophes look the same, so these count only where nothing stands in double quotes.
_SINGLE_QUOTED = re.compile(r"(?<!\w)['‘](?P<name>[^'‘’]+)['’](?!\w)")
_UNRECOGNIZED = re.compile(r"\bunrecogni[sz](?:ed|able)\b", re.IGNORECASE)

_WORD = r"(?:likelihood|probability|confidence)"
_NUMBER = r"(?P<number>\d+(?:[.,]\d+)?|\.\d+)\s*(?P<percent>%)?"
#: What may stand between the word and its number; after anything else, as after a line's end, it
#: is another number.
_LINK = (
    r"(?:[^\S\n]|[:=~≈≥>→*()\[\]\"'“”`-]"
    r"|\b(?:of|is|at|about|around|approximately|roughly|nearly|almost|over|estimated|very|high"
    r"|score|value|level)\b)*"
)
_SHARE = re.compile(rf"\s*{_NUMBER}\s*")
#: The scale, said again: it is not the answer.
_SCALE = re.compile(
    r",?\s*\(?\s*(?:from |between )?0(?:\.0)? ?(?:to|and|-|–) ?1(?:\.0)?\b(?![.,]\d)\)?,?",
    re.IGNORECASE,
)
_LIKELIHOOD = re.compile(rf"{_WORD}{_LINK}{_NUMBER}", re.IGNORECASE)
_LIKELIHOOD_AFTER = re.compile(rf"(?<![\d/]){_NUMBER}\s*{_WORD}", re.IGNORECASE)
#: After a number of another scale: 8/10, "9 out of 10". Of 1 it is the one that was asked for.
_OF_ANOTHER = re.compile(r"\s*(?:/|(?:out )?of\b)\s*(?!1(?:\.0*)?(?![\d.]))\d", re.IGNORECASE)
#: Right after the name, and nothing said of it: `"ship": 90 %`, `"ship" (0.95)`.
_BARE_SHARE = re.compile(
    r"[\s:,(\[*–-]*(?P<number>0[.,]\d+|\.\d+|1[.,]0+|\d+(?:[.,]\d+)?(?=\s*%))\s*(?P<percent>%)?"
    r"(?=\s*(?:[)\].,;*]|\n|$))"
)
#: The whole answer in the quotes. A name may have such a word, too: "low-probability area".
_TAIL = re.compile(
    rf"\s*[,;:(]\s*(?:with\s+)?(?:an?\s+)?{_WORD}\b"
    rf"|\s+with\s+(?:\w+\s+){{0,3}}?{_WORD}\b"
    rf"|[\s-]+(?:an?\s+)?{_WORD}{_LINK}{_NUMBER}",
    re.IGNORECASE,
)
#: The keys of a reply in JSON.
_KEY = re.compile(
    rf"(?:object[\s_])?(?:category|name|label|class|type)|objects?|{_WORD}|reason(?:ing)?",
    re.IGNORECASE,
)


#: Where a JSON object is cut off, these are not followed by what the model sees.
_NULL = re.compile(r'\{\s*"category"\s*:\s*null\b')
_OTHERS = re.compile(r'"alternatives"\s*:\s*\[')
_THINKS, _ANSWERS = "<think>", "</think>"
#: Half a character, which JSON can write and no file can hold.
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class UnparsableReplyError(ValueError):
    """The reply holds no category and no "Unrecognized"."""


@dataclass(frozen=True)
class ParsedReply:
    """What a reply says.

    Attributes:
        category: The name as it was said; None for "Unrecognized".
        likelihood: In [0, 1]; None where none was given, or none that can be read.
        span: Where the name stands in the reply's text.
        alternatives: Other names with the likelihood that was said of each, best first.
    """

    category: str | None
    likelihood: float | None
    span: tuple[int, int] | None
    alternatives: tuple[tuple[str, float | None], ...] = ()


def parse_reply(text: str) -> ParsedReply:
    """Finds category and likelihood in a reply.

    Raises:
        UnparsableReplyError: If there is neither a JSON object with a category, nor a quoted name,
            nor "Unrecognized"; or if the JSON's category is none.
    """
    start = _answer_start(text)
    parsed = _parse(text[start:])
    if parsed.span is None:
        return parsed
    return replace(parsed, span=(start + parsed.span[0], start + parsed.span[1]))


def _answer_start(text: str) -> int:
    """Where the answer begins: after what the model thinks, if it does so aloud."""
    end = text.rfind(_ANSWERS)
    start = end + len(_ANSWERS) if end >= 0 else 0
    if _THINKS in text[start:]:
        raise UnparsableReplyError(
            f"it ends while the model thinks, raise classify.max_new_tokens: {_shown(text)}"
        )
    return start


def _parse(text: str) -> ParsedReply:
    try:
        members = find_object(text, "category")
    except AmbiguousJsonError as error:
        raise UnparsableReplyError(f"{error} in {_shown(text)}") from error
    if members:
        return _parse_members(text, members)
    return _parse_words(text)


def name_start(text: str) -> int | None:
    """Where in a reply the name begins, or what stands in its place: "Unrecognized", or null.

    None where the reply cannot be understood, or the place not be told.
    """
    try:
        parsed = parse_reply(text)
    except UnparsableReplyError:
        return None
    if parsed.span or parsed.category is not None:
        return parsed.span[0] if parsed.span else None
    start = _answer_start(text)
    members = find_object(text[start:], "category")
    if members:
        place = start + members["category"].start
        return place + text.startswith('"', place)
    said = _UNRECOGNIZED.search(text, start)
    return said.start() if said else None


def token_at(reply: Reply, place: int) -> int | None:
    """The number of the token that a place in the reply's text belongs to."""
    return next((i for i, end in enumerate(reply.token_ends) if end > place), None)


def _parse_words(text: str) -> ParsedReply:
    if _NULL.search(text):
        raise UnparsableReplyError(f"the JSON object is cut off in {_shown(text)}")
    text = _OTHERS.split(text, maxsplit=1)[0]
    unrecognized = _UNRECOGNIZED.search(text)
    quoted = list(_QUOTED.finditer(text)) or list(_SINGLE_QUOTED.finditer(text))
    for match in quoted:
        if unrecognized and unrecognized.start() < match.start():
            break  # what is quoted after it is reasoning
        # Sometimes the quotes hold the whole answer: "ship with likelihood 0.9".
        name = _TAIL.split(match["name"], maxsplit=1)[0].strip().strip(".,;:")
        if _UNRECOGNIZED.match(name):
            return ParsedReply(None, None, None)
        is_key = _KEY.fullmatch(name) and text[match.end() :].lstrip().startswith(":")
        # The prompt's own words are sometimes said again before the answer.
        is_key = is_key or name.lower() == "object category"
        if any(map(str.isalpha, name)) and not is_key:
            start = text.index(name, match.start("name"))
            end = start + len(name)
            return ParsedReply(name, _likelihood(text[end:]), (start, end))
    if unrecognized:
        return ParsedReply(None, None, None)
    raise UnparsableReplyError(f'no quoted category and no "Unrecognized" in {_shown(text)}')


def _likelihood(text: str) -> float | None:
    """The likelihood in what follows a name."""
    rest = _SCALE.sub("", text.lstrip("\"'“”‘’»"))
    said = [m for m in (_LIKELIHOOD.search(rest), _LIKELIHOOD_AFTER.search(rest)) if m]
    match = min(said, key=lambda m: m.start()) if said else _BARE_SHARE.match(rest)
    if match is None or _OF_ANOTHER.match(rest, match.end()):
        return None
    return _share(_number(match))


def _parse_members(text: str, members: dict[str, Member]) -> ParsedReply:
    said = members["category"]
    category, likelihood = _read_name(said.value, text), None
    if category is not None and "likelihood" in members:
        likelihood = _read_share(members["likelihood"].value)
    others: dict[str, float | None] = {}
    for name, share in _read_others(members, text):
        if name is not None and name != category:
            others.setdefault(name, share)
    ranking = sorted(others.items(), key=lambda item: -(item[1] or 0))
    start = text.find(category, said.start, said.end) if category else -1  # none: it has escapes
    span = (start, start + len(category)) if category and start >= 0 else None
    return ParsedReply(category, likelihood, span, tuple(ranking))


def _read_name(value: Any, text: str) -> str | None:
    if value is None:
        return None
    name = value.strip().strip(".,;:").strip() if isinstance(value, str) else ""
    if not any(map(str.isalpha, name)) or _SURROGATE.search(name):
        raise UnparsableReplyError(f"category {_shown(value)} is no name in {_shown(text)}")
    return None if _UNRECOGNIZED.match(name) else name


def _read_share(value: Any) -> float | None:
    if isinstance(value, str):  # "0.9", "90 %"
        match = _SHARE.fullmatch(value)
        return _share(_number(match)) if match else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _share(value)
    return None


def _share(number: float) -> float | None:
    """A likelihood; None for what is none, such as 95: nobody knows what was meant by it."""
    return float(number) if 0 <= number <= 1 else None


def _number(match: re.Match[str]) -> float:
    """What a match of `_NUMBER` says."""
    number = float(match["number"].replace(",", "."))
    return number / 100 if match["percent"] else number


def _read_others(
    members: dict[str, Member], text: str
) -> Iterator[tuple[str | None, float | None]]:
    """Other names, each with its likelihood; what cannot be read among them is left out."""
    value = members["alternatives"].value if "alternatives" in members else None
    for other in value if isinstance(value, list) else ():
        said = other if isinstance(other, dict) else {"category": other}
        # The reply's own name is no worse for an alternative that is none.
        with suppress(UnparsableReplyError):
            name = _read_name(said.get("category"), text)
            yield name, _read_share(said.get("likelihood"))


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def token_confidence(reply: Reply, span: tuple[int, int]) -> float:
    """Product of the probabilities of the tokens that make up `reply.text[span]`."""
    start = 0
    logarithm = 0.0
    for end, probability in zip(reply.token_ends, reply.token_probabilities, strict=True):
        if end > span[0] and start < span[1]:
            logarithm += math.log(max(probability, 1e-12))
        start = end
    return math.exp(logarithm)
