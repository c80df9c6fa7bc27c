"""Reads what a vision-language model says of a crop.

The paper's prompt asks for `"object category" with likelihood`, or "Unrecognized". Models answer
in many forms: straight or curly quotes, `with likelihood 0.9`, `with a likelihood of 1`, `: 90 %`.
"""

import math
import re
from dataclasses import dataclass

from lae_tasks.backends.protocols import Reply

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
#: The scale, said again: it is not the answer.
_SCALE = re.compile(
    r",?\s*\(?\s*(?:from |between )?0(?:\.0)? ?(?:to|and|-|–) ?1(?:\.0)?\b(?![.,]\d)\)?,?",
    re.IGNORECASE,
)
_LIKELIHOOD = re.compile(rf"{_WORD}{_LINK}{_NUMBER}", re.IGNORECASE)
_LIKELIHOOD_AFTER = re.compile(rf"{_NUMBER}\s*{_WORD}", re.IGNORECASE)
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


class UnparsableReplyError(ValueError):
    """The reply holds no category and no "Unrecognized", or a likelihood outside [0, 1]."""


@dataclass(frozen=True)
class ParsedReply:
    """What a reply says.

    Attributes:
        category: The name as it was said; None for "Unrecognized".
        likelihood: In [0, 1]; None where none was given.
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
        UnparsableReplyError: If there is neither a quoted name nor "Unrecognized".
    """
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
    raise UnparsableReplyError(f'no quoted category and no "Unrecognized" in {text[:200]!r}')


def _likelihood(text: str) -> float | None:
    """The likelihood in what follows a name."""
    rest = _SCALE.sub("", text.lstrip("\"'“”‘’»"))
    said = [m for m in (_LIKELIHOOD.search(rest), _LIKELIHOOD_AFTER.search(rest)) if m]
    match = min(said, key=lambda m: m.start()) if said else _BARE_SHARE.match(rest)
    if match is None:
        return None
    number = float(match["number"].replace(",", "."))
    if match["percent"]:
        number /= 100
    if not 0 <= number <= 1:
        raise UnparsableReplyError(f"likelihood {number} is outside [0, 1] in {text[:200]!r}")
    return number


def token_confidence(reply: Reply, span: tuple[int, int]) -> float:
    """Product of the probabilities of the tokens that make up `reply.text[span]`."""
    start = 0
    logarithm = 0.0
    for end, probability in zip(reply.token_ends, reply.token_probabilities, strict=True):
        if end > span[0] and start < span[1]:
            logarithm += math.log(max(probability, 1e-12))
        start = end
    return math.exp(logarithm)
