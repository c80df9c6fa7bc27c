"""Reads what a vision-language model says of a crop.

The paper's prompt asks for `"object category" with likelihood`, or "Unrecognized". Models answer
in many forms: straight or curly quotes, `with likelihood 0.9`, `with a likelihood of 1`, `: 90 %`.
"""

import math
import re
from dataclasses import dataclass

from lae_tasks.backends.protocols import Reply

_QUOTED = re.compile(r'["“”„«](?P<name>[^"“”„«»]+)["“”»]')
_NUMBER = r"(?:\d+(?:[.,]\d+)?|[.,]\d+)"
#: The scale, said again: it is not the answer.
_RANGE = re.compile(
    r"\(?(?:from |between )?0(?:\.0)? ?(?:to|and|-|–) ?1(?:\.0)?\b\)?", re.IGNORECASE
)
_LIKELIHOODS = (
    # right after the name, where it can only be a share: `"ship": 90 %`, `"ship" (0.9)`
    re.compile(rf"^\W{{0,3}}(?P<number>0?[.,]\d+|1[.,]0+|{_NUMBER}(?=\s*%))\s*(?P<percent>%)?"),
    re.compile(
        rf"(?:likelihood|probability|confidence)[^\d.;\n]{{0,40}}?"
        rf"(?P<number>{_NUMBER})\s*(?P<percent>%)?",
        re.IGNORECASE,
    ),
    re.compile(
        rf"(?P<number>{_NUMBER})\s*(?P<percent>%)?\s*(?:likelihood|probability|confidence)",
        re.IGNORECASE,
    ),
)
_UNRECOGNIZED = re.compile(r"\bunrecogni[sz](?:ed|able)\b", re.IGNORECASE)


class UnparsableReplyError(ValueError):
    """The reply holds no category and no "Unrecognized", or a likelihood outside [0, 1]."""


@dataclass(frozen=True)
class ParsedReply:
    """What a reply says.

    Attributes:
        category: The name as it was said; None for "Unrecognized".
        likelihood: In [0, 1]; None where none was given.
        span: Where the name stands in the reply's text.
    """

    category: str | None
    likelihood: float | None
    span: tuple[int, int] | None


def parse_reply(text: str) -> ParsedReply:
    """Finds category and likelihood in a reply.

    Raises:
        UnparsableReplyError: If there is neither a quoted name nor "Unrecognized".
    """
    unrecognized = _UNRECOGNIZED.search(text)
    for match in _QUOTED.finditer(text):
        if unrecognized and unrecognized.start() < match.start():
            break  # what is quoted after it is reasoning
        name = match["name"].strip().strip(".,;:")
        if _UNRECOGNIZED.fullmatch(name):
            return ParsedReply(None, None, None)
        if name and name.lower() != "object category":
            # The prompt's own words are sometimes said again before the answer.
            return ParsedReply(name, _likelihood(text[match.end() :]), match.span("name"))
    if unrecognized:
        return ParsedReply(None, None, None)
    raise UnparsableReplyError(f'no quoted category and no "Unrecognized" in {text[:200]!r}')


def _likelihood(text: str) -> float | None:
    text = _RANGE.sub("", text)
    match = next((found for form in _LIKELIHOODS if (found := form.search(text))), None)
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
