"""Names that stewards use and the vocabulary lacks."""

import io

import yaml
from rich.console import Console

from lae_tasks.contracts import Verdict, VerdictAction
from lae_tasks.naming.vocabulary import OPEN, Vocabulary
from lae_tasks.review.proposals import Proposal, as_table, proposals
from tests.unit.trust.test_agreement import said

VOCABULARY = Vocabulary.model_validate(
    {
        "categories": ["ship", {"name": "helipad", "synonyms": ["landing pad"]}],
        "blocked": ["object"],
    }
)


def found(*verdicts: Verdict) -> dict[str, Proposal]:
    return {each.name: each for each in proposals(verdicts, VOCABULARY)}


def test_what_the_vocabulary_lacks_is_counted_by_steward() -> None:
    names = found(
        said("anna", "r1", "lighthouse", at=3),
        said("anna", "r2", "lighthouse", at=3),
        said("bo", "r2", "Lighthouses", at=4),
        said("bo", "r3", "ships", at=4),
        said("bo", "r4", "landing pad", at=4),
        said("bo", "r5", None, at=4),
    )
    assert set(names) == {"lighthouse"}
    lighthouse = names["lighthouse"]
    assert (lighthouse.regions, lighthouse.by) == (2, {"anna": 2, "bo": 1})
    assert lighthouse.first_at == "2026-01-01T00:00:03Z"
    assert (lighthouse.similar, lighthouse.blocked) == (None, False)


def test_a_name_that_was_taken_back_is_none() -> None:
    withdrawn = said("anna", "r1", "lighthouse", at=2).model_copy(
        update={"action": VerdictAction.WITHDRAW, "category": None}
    )
    assert found(said("anna", "r1", "lighthouse"), withdrawn) == {}
    assert set(found(said("anna", "r1", "lighthouse"), said("anna", "r1", "pier", at=2))) == {
        "pier"
    }


def test_what_it_is_spelled_like_is_told_by_category() -> None:
    names = found(said("anna", "r1", "heliport"), said("anna", "r2", "landing pads area"))
    assert names["heliport"].similar == names["landing pads area"].similar == "helipad"


def test_what_is_to_be_written_adopts_the_name() -> None:
    heliport = found(said("anna@example.org", "r1", "heliport: large"))["heliport: large"]
    as_category = yaml.safe_load(heliport.as_category)
    assert Vocabulary.model_validate(["ship", *as_category]).meaning("heliport: large") == (
        "heliport: large",
        "vocabulary",
    )
    category = {"name": "helipad", "synonyms": yaml.safe_load(heliport.as_synonym)}
    assert Vocabulary.model_validate([category]).meaning("heliport: large") == (
        "helipad",
        "anna@example.org",
    )


def test_the_table_says_it_all() -> None:
    names = found(said("anna", "r1", "heliport"), said("bo", "r2", "object"))
    out = io.StringIO()
    Console(file=out, width=140).print(as_table(names.values()))
    text = out.getvalue()
    for part in ("anna (1)", "2026-01-01", "- heliport", "{name: heliport, by: anna}", "blocked"):
        assert part in text, text


def test_without_a_vocabulary_every_name_is_taken() -> None:
    assert proposals([said("anna", "r1", "lighthouse")], OPEN) == []


def test_who_is_undecided_in_another_task_has_still_said_the_name() -> None:
    again = said("anna", "r1", None, at=2)
    puzzled = again.model_copy(
        update={"action": VerdictAction.UNDECIDED, "task_key": "another", "annotation_id": 77}
    )
    assert set(found(said("anna", "r1", "lighthouse"), puzzled)) == {"lighthouse"}
