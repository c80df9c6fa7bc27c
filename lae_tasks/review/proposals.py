"""Names that stewards use and the vocabulary lacks: proposals, until a person adopts them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

import yaml
from rich.markup import escape
from rich.table import Column, Table

from lae_tasks.contracts import Verdict
from lae_tasks.naming.names import canonical_form
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.review.verdicts import last_words


@dataclass(frozen=True)
class Proposal:
    """A name that the vocabulary lacks.

    Attributes:
        name: As most of them spell it.
        regions: That bear it by what some steward says of them now.
        by: How many of them by each steward, those with most first.
        first_at: When it was first said, ISO 8601, UTC.
        similar: The category that is spelled most like it, or whose synonym is; None if none is.
        blocked: The vocabulary says that no region may bear it.
    """

    name: str
    regions: int
    by: dict[str, int]
    first_at: str
    similar: str | None
    blocked: bool

    @property
    def as_category(self) -> str:
        """The line below `categories` that adopts it."""
        return yaml.safe_dump([self.name], allow_unicode=True, width=1000).strip()

    @property
    def as_synonym(self) -> str:
        """The line below the synonyms of a category that makes it another name of that."""
        entry = [{"name": self.name, "by": next(iter(self.by))}]
        text = yaml.safe_dump(
            entry, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1000
        )
        return f"- {text.strip()[1:-1]}"


def proposals(verdicts: Iterable[Verdict], vocabulary: Vocabulary) -> list[Proposal]:
    """The names that the vocabulary lacks, those of most regions first.

    A name that the engine said and a steward accepted is one, too. What was taken back counts no
    more. Names that differ in case, number, hyphens or a determiner are one.

    Args:
        verdicts: All that came back so far, in any order.
        vocabulary: The config's; there are no proposals to one without categories, as it takes
            every name.
    """
    if not vocabulary.categories:
        return []
    every = list(verdicts)
    said: dict[str, list[tuple[str, Verdict]]] = {}
    for verdict in (word for words in last_words(every).values() for word in words.values()):
        if verdict.category and vocabulary.meaning(verdict.category) is None:
            form = canonical_form(verdict.category)
            said.setdefault(form, []).append((verdict.category, verdict))
    first: dict[str, str] = {}
    for verdict in every:
        if verdict.category:
            form = canonical_form(verdict.category)
            first[form] = min(first.get(form, verdict.decided_at), verdict.decided_at)
    known = {
        canonical_form(name): category.name
        for category in vocabulary.categories
        for name in (category.name, *(synonym.name for synonym in category.synonyms))
    }
    found = []
    for form, uses in said.items():
        close = get_close_matches(form, known, n=1)
        found.append(
            Proposal(
                name=Counter(name for name, _ in uses).most_common(1)[0][0],
                regions=len({verdict.region_id for _, verdict in uses}),
                by=dict(Counter(verdict.annotator for _, verdict in uses).most_common()),
                first_at=first[form],
                similar=known[close[0]] if close else None,
                blocked=vocabulary.blocks(form),
            )
        )
    return sorted(found, key=lambda proposal: (-proposal.regions, proposal.name))


def as_table(found: Iterable[Proposal]) -> Table:
    """The proposals, each with what to write into the vocabulary."""
    table = Table(
        Column("name", overflow="fold"),
        Column("regions", justify="right"),
        Column("by", overflow="fold"),
        "first",
        Column("most like", overflow="fold"),
        Column("to adopt it", overflow="fold"),
        show_lines=True,
    )
    for each in found:
        who = ", ".join(f"{name} ({count})" for name, count in each.by.items())
        texts = (each.name, f"{each.regions:,}", who, each.first_at[:10], each.similar or "")
        table.add_row(*map(escape, (*texts, _how_to_adopt(each))))
    return table


def _how_to_adopt(proposal: Proposal) -> str:
    if proposal.blocked:
        return "it is blocked: take it out of `blocked` first"
    how = f"below categories:\n{proposal.as_category}"
    if proposal.similar:
        how += f"\nor below the synonyms of {proposal.similar}:\n{proposal.as_synonym}"
    return how
