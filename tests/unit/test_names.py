"""Names: canonical forms, and merges that depend neither on order nor on chains."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tasks.names import canonical_form, merge_names, spelled


@pytest.mark.parametrize(
    ("said", "form"),
    [
        ("Airplane", "airplane"),
        ("The Tennis-Courts", "tennis court"),
        ("a  storage_tank.", "storage tank"),
        ("Ships", "ship"),
        ("one-way road", "one-way road"),
        ("The one-way roads", "one-way road"),
        ("a-frame house", "a-frame house"),
        ("an A/C unit", "a/c unit"),
        ("the two ships", "ship"),
        ("roll-on/roll-off ships", "roll on roll off ship"),
        ("two buses", "bus"),
        ("bus", "bus"),
        ("grass", "grass"),
        ("gas", "gas"),
        ("leaves", "leaf"),
        ("Ｐool", "pool"),
    ],
)
def test_canonical_form(said: str, form: str) -> None:
    assert canonical_form(said) == form


@given(st.text(max_size=30))
def test_a_canonical_form_is_tidy(name: str) -> None:
    form = canonical_form(name)
    assert form == form.strip() == " ".join(form.split())
    assert canonical_form(form) == form


WORDS = [
    "a",
    "the",
    "two",
    "one",
    "way",
    "ships",
    "(",
    "-",
    " - ",
    "/",
    " ",
    " ",
    ".",
    "buses",
    "s",
]


@given(st.lists(st.sampled_from(WORDS), max_size=7).map("".join))
def test_a_canonical_form_is_its_own(name: str) -> None:
    form = canonical_form(name)
    assert canonical_form(form) == form


ANGLES = {"a": 0.0, "b": 15.0, "c": 30.0, "far": 90.0}  # cos 15° = 0.966, cos 30° = 0.866


def embed(names: Sequence[str]) -> np.ndarray:
    angles = np.radians([ANGLES[name] for name in names])
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def merged(counts: dict[str, int], vocabulary: Sequence[str] = ()) -> dict[str, str]:
    return {m.name: m.canonical for m in merge_names(counts, vocabulary, embed, 0.92)}


def test_the_more_frequent_name_represents() -> None:
    assert merged({"a": 2, "b": 5, "far": 1}) == {"a": "b", "b": "b", "far": "far"}


def test_chains_do_not_drift() -> None:
    # b is near a and c is near b, but c is far from a: c must not become a by way of b.
    assert merged({"a": 9, "b": 5, "c": 3}) == {"a": "a", "b": "a", "c": "c"}


def test_the_vocabulary_outranks_frequency_and_never_merges() -> None:
    assert merged({"a": 1, "b": 99}, ["a"]) == {"a": "a", "b": "a"}
    assert merged({"a": 1, "b": 1}, ["a", "b"]) == {"a": "a", "b": "b"}


def test_a_name_counts_as_the_vocabulary_spells_it() -> None:
    counts = {"large vehicle": 1, "The Large-Vehicles": 1, "tree": 1}
    ledger = merge_names(counts, ["Large-Vehicle", "ship"], None, 0.92)
    assert {m.name: (m.canonical, m.rule) for m in ledger} == {
        "large vehicle": ("Large-Vehicle", "canonical form"),
        "The Large-Vehicles": ("Large-Vehicle", "canonical form"),
        "tree": ("tree", "same"),
    }
    assert spelled("a large vehicle", ["Large-Vehicle"]) == "Large-Vehicle"
    assert spelled("Trees", ["Large-Vehicle"]) == "Trees"
    assert spelled("one-way road", ["One-Way Road"]) == "One-Way Road"


@given(st.permutations(["a", "b", "c", "far"]))
def test_the_order_of_names_does_not_matter(order: list[str]) -> None:
    counts = {"a": 3, "b": 3, "c": 2, "far": 1}
    assert merged({name: counts[name] for name in order}) == merged(counts)


def test_the_ledger_says_why() -> None:
    lines = {m.name: m for m in merge_names({"A": 1, "a": 2, "b": 1}, (), embed, 0.92)}
    assert (lines["a"].rule, lines["A"].rule, lines["b"].rule) == (
        "same",
        "canonical form",
        "similar",
    )
    assert lines["b"].similarity == pytest.approx(0.9659, abs=1e-4)
    assert lines["A"].count == 1
