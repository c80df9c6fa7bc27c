"""What the demo's LVLM calls crops, asked and read as the engine asks and reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lae_tasks.backends.protocols import Classifier, Image, Reply
from lae_tasks.config import ClassifyConfig
from lae_tasks.naming.names import canonical_form
from lae_tasks.naming.prompt_template import load_template
from lae_tasks.naming.replies import UnparsableReplyError, parse_reply, token_confidence


@dataclass(frozen=True)
class Naming:
    """What the engine reads in a reply of the LVLM.

    Attributes:
        category: the name's canonical form; None where it gave none.
        likelihood: as said, if it said one.
        confidence: of the name's tokens; 0 without a name.
        understood: False for a reply that the engine cannot read, and rejects.
    """

    category: str | None = None
    likelihood: float | None = None
    confidence: float = 0.0
    understood: bool = True

    @property
    def unrecognized(self) -> bool:
        """Whether it said "Unrecognized"."""
        return self.understood and self.category is None


def name_crops(
    classifier: Classifier, config: ClassifyConfig, crops: Sequence[Image]
) -> list[Naming]:
    """Name crops, each uint8 (h, w, 3), as the engine's classify stage does."""
    return [_read(reply) for reply in classifier.reply(crops, load_template(config.prompt))]


def _read(reply: Reply) -> Naming:
    try:
        parsed = parse_reply(reply.text)
    except UnparsableReplyError:
        return Naming(understood=False)
    if parsed.category is None or parsed.span is None:
        return Naming()
    confidence = round(min(token_confidence(reply, parsed.span), 1.0), 4)
    return Naming(canonical_form(parsed.category), parsed.likelihood, confidence)
