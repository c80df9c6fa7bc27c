"""Merges depend neither on order nor on chains, and the ledger says why."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tasks.contracts import Merge
from lae_tasks.naming.merging import merge_names
from lae_tasks.naming.vocabulary import Vocabulary

#: Degrees; cos 15° = 0.966, cos 30° = 0.866.
ANGLES = {"a": 0.0, "b": 15.0, "c": 30.0, "far": 90.0, "jet": 45.0}


def embed(names: Sequence[str]) -> np.ndarray:
    angles = np.radians([ANGLES[name] for name in names])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def ledger(
    counts: dict[str, int], vocabulary: Any = (), imported: Sequence[str] = ()
) -> dict[str, Merge]:
    known = Vocabulary.model_validate(vocabulary)
    lines = merge_names(counts, known, imported, embed, 0.92)
    assert [line.name for line in lines] == sorted(counts)
    assert {line.name: line.count for line in lines} == counts
    return {line.name: line for line in lines}


def merged(
    counts: dict[str, int], vocabulary: Any = (), imported: Sequence[str] = ()
) -> dict[str, str]:
    return {name: line.canonical for name, line in ledger(counts, vocabulary, imported).items()}


def test_the_more_frequent_name_represents() -> None:
    assert merged({"a": 2, "b": 5, "far": 1}) == {"a": "b", "b": "b", "far": "far"}


def test_a_sentence_represents_nothing() -> None:
    # Its vector would be near to that of anything that the model says in a sentence.
    said = {"i am sorry, i cannot tell": 9, "b": 5, "a": 1}
    assert merged(said) == {"i am sorry, i cannot tell": "i am sorry, i cannot tell"} | {
        "a": "b",
        "b": "b",
    }


def test_forms_are_counted_together() -> None:
    assert merged({"a": 3, "B": 2, "the b": 2})["a"] == "b"


def test_chains_do_not_drift() -> None:
    # b is near a and c is near b, but c is far from a: c must not become a by way of b.
    assert merged({"a": 9, "b": 5, "c": 3}) == {"a": "a", "b": "a", "c": "c"}


def test_the_vocabulary_outranks_frequency_and_never_merges() -> None:
    assert merged({"a": 1, "b": 99}, ["a"]) == {"a": "a", "b": "a"}
    assert merged({"a": 1, "b": 1}, ["a", "b"]) == {"a": "a", "b": "b"}


def test_a_merge_is_undone_by_the_vocabulary() -> None:
    assert merged({"a": 5, "b": 1})["b"] == "a"
    assert merged({"a": 5, "b": 1}, ["b"]) == {"a": "b", "b": "b"}
    assert merged({"a": 5, "b": 1}, ["a", "b"]) == {"a": "a", "b": "b"}


def test_a_synonym_is_its_category_by_whoever_said_so() -> None:
    synonyms = ["far", {"name": "c", "by": "anna@example.org"}]
    vocabulary = {"categories": [{"name": "a", "synonyms": synonyms}]}
    lines = ledger({"Far": 1, "c": 2, "a": 3}, vocabulary)
    assert [(line.canonical, line.rule, line.by) for line in lines.values()] == [
        ("a", "synonym", "vocabulary"),
        ("a", "same", "vocabulary"),
        ("a", "synonym", "anna@example.org"),
    ]


def test_what_resembles_a_synonym_joins_its_category() -> None:
    vocabulary = {"categories": [{"name": "a", "synonyms": ["jet"]}]}
    line = ledger({"c": 1}, vocabulary)["c"]
    assert (line.canonical, line.rule, line.by) == ("a", "similar", "engine")
    assert line.similarity == pytest.approx(0.9659, abs=1e-4)  # to the jet, not to a


def test_a_blocked_name_joins_nothing_and_nothing_joins_it() -> None:
    vocabulary = {"blocked": ["b"]}
    lines = ledger({"a": 1, "the b": 9}, vocabulary)
    assert {name: line.canonical for name, line in lines.items()} == {"a": "a", "the b": "b"}
    assert lines["the b"].by == "vocabulary"


def test_names_of_data_sets_stay_as_they_are() -> None:
    lines = ledger({"B": 1, "a": 50, "c": 1}, (), imported=["B"])
    assert {name: line.canonical for name, line in lines.items()} == {"B": "B", "a": "B", "c": "B"}
    assert lines["B"].rule == "same"
    # What the vocabulary says of them comes first.
    assert merged({"B": 1}, ["b"], imported=["B"]) == {"B": "b"}


def test_a_name_counts_as_the_vocabulary_spells_it() -> None:
    counts = {"large vehicle": 1, "The Large-Vehicles": 1, "tree": 1}
    known = Vocabulary.model_validate(["Large-Vehicle", "ship"])
    lines = merge_names(counts, known)
    assert {line.name: (line.canonical, line.rule) for line in lines} == {
        "large vehicle": ("Large-Vehicle", "canonical form"),
        "The Large-Vehicles": ("Large-Vehicle", "canonical form"),
        "tree": ("tree", "same"),
    }


@given(st.permutations(["a", "b", "c", "far"]))
def test_the_order_of_names_does_not_matter(order: list[str]) -> None:
    counts = {"a": 3, "b": 3, "c": 2, "far": 1}
    assert merged({name: counts[name] for name in order}) == merged(counts)


def test_the_ledger_says_why() -> None:
    lines = ledger({"A": 1, "a": 2, "b": 1})
    rules = {name: (line.rule, line.by) for name, line in lines.items()}
    assert rules == {
        "A": ("canonical form", "engine"),
        "a": ("same", "engine"),
        "b": ("similar", "engine"),
    }
    assert lines["b"].similarity == pytest.approx(0.9659, abs=1e-4)


def naive(counts: dict[str, int], vectors: np.ndarray, threshold: float) -> dict[str, str]:
    """One name after the other, as it is described."""
    names = sorted(counts, key=lambda name: (-counts[name], name))
    at = {name: vectors[int(name[1:])] for name in names}
    chosen: list[str] = []
    found = {}
    for name in names:
        likeness = [float(at[name] @ at[other]) for other in chosen]
        if likeness and max(likeness) > threshold:
            found[name] = chosen[int(np.argmax(likeness))]
        else:
            found[name] = name
            chosen.append(name)
    return found


def test_many_names_are_merged_as_one_after_the_other() -> None:
    rng = np.random.default_rng(0)
    number = 1500  # several blocks
    vectors = rng.normal(size=(number, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    counts = {f"n{i}": int(rng.integers(1, 9)) for i in range(number)}

    def lookup(names: Sequence[str]) -> np.ndarray:
        return vectors[[int(name[1:]) for name in names]]

    lines = merge_names(counts, Vocabulary(), embed=lookup, threshold=0.95)
    expected = naive(counts, vectors, 0.95)
    assert {line.name: line.canonical for line in lines} == expected
    assert 10 < len(set(expected.values())) < number
