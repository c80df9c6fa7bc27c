"""What a model might have named a crop instead, had it begun the name with another token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lae_tasks.backends.protocols import Reply
from lae_tasks.backends.vision_language import Continuation, Prompt
from lae_tasks.naming.replies import (
    UnparsableReplyError,
    name_start,
    parse_reply,
    token_at,
    token_confidence,
)

#: A token that is less likely begins no alternative.
_LEAST_SHARE = 0.02


@dataclass(frozen=True)
class Fork:
    """A reply that takes another token where its name begins.

    Attributes:
        prompt: It begins with the reply's tokens until there, and the other.
        probabilities: Of these tokens, in [0, 1].
    """

    prompt: Prompt
    probabilities: tuple[float, ...]


def forks(prompt: Prompt, said: Continuation, reply: Reply, most: int) -> Iterator[Fork]:
    """Other ways that a reply might have gone at its name, the likeliest first.

    "Unrecognized" forks, too. A reply that tells alternatives itself does not.

    Args:
        prompt: What was replied to.
        said: The reply's tokens.
        reply: Their text.
        most: How many at most.
    """
    start = name_start(reply.text) if most else None
    place = None if start is None else token_at(reply, start)
    if place is None or parse_reply(reply.text).alternatives:
        return
    for token, share in said.rivals[place][:most]:
        if share >= _LEAST_SHARE:
            beginning = (*said.tokens[:place], token)
            yield Fork(replace(prompt, beginning=beginning), (*said.probabilities[:place], share))


def with_others(reply: Reply, others: Sequence[Reply]) -> Reply:
    """A reply with those of others that name something else: each name once, the surest first."""
    own = _name(reply)
    seen = {own[0]} if own else set()
    kept = []
    named = [(*found, other) for other in others if (found := _name(other))]
    for name, _, other in sorted(named, key=lambda each: (-each[1], each[0])):
        if name not in seen:
            seen.add(name)
            kept.append(other)
    return replace(reply, others=tuple(kept))


def _name(reply: Reply) -> tuple[str, float] | None:
    """The name that a reply gives, and how probable its tokens are."""
    try:
        parsed = parse_reply(reply.text)
    except UnparsableReplyError:
        return None
    if parsed.category is None:
        return None
    span = parsed.span or (0, len(reply.text))
    return parsed.category.casefold(), token_confidence(reply, span)
