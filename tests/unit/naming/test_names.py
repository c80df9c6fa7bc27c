"""Names: one canonical form, whatever they are made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_tasks.naming.names import canonical_form

SINGULAR = """
bus campus oasis tennis terminus cactus chassis atlas canvas lens glass grass pass fortress isthmus
hippopotamus octopus thesaurus nucleus debris iris trellis basis ibis clematis apparatus
"""
REGULAR = """
plateau bureau chateau tableau taxi watertaxi ski jet-ski semi wadi bayou safari tsunami menu
"""


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
        *((word, word) for word in SINGULAR.split()),
        *((f"The {word}s", word.replace("-", " ")) for word in REGULAR.split()),
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
