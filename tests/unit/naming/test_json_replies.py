"""Replies in JSON, as the prompt `json` asks for them, and what models make of that."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lae_tasks.backends.protocols import Reply
from lae_tasks.naming.json_object import find_object
from lae_tasks.naming.prompt_template import load_template
from lae_tasks.naming.replies import (
    ParsedReply,
    UnparsableReplyError,
    name_start,
    parse_reply,
    token_at,
    token_confidence,
)

SHIP = '{"category": "ship", "likelihood": 0.9, "alternatives": []}'
BOTH = (
    '{"category": "ship", "likelihood": 0.7, "alternatives": '
    '[{"category": "pier", "likelihood": 0.1}, {"category": "barge", "likelihood": 0.2}]}'
)


@pytest.mark.parametrize(
    ("text", "category", "likelihood", "alternatives"),
    [
        (SHIP, "ship", 0.9, ()),
        (f"```json\n{SHIP}\n```", "ship", 0.9, ()),
        (f"```\n{SHIP}```", "ship", 0.9, ()),
        (f'The "object" is {{clearly}} a ship: {SHIP} I am "sure".', "ship", 0.9, ()),
        (BOTH, "ship", 0.7, (("barge", 0.2), ("pier", 0.1))),
        ('{"answer": ' + BOTH + "}", "ship", 0.7, (("barge", 0.2), ("pier", 0.1))),
        ('{"category": null, "likelihood": 0.2, "alternatives": []}', None, None, ()),
        (
            '{"category": null, "alternatives": [{"category": "ship"}]}',
            None,
            None,
            (("ship", None),),
        ),
        ('{"category": "Unrecognized", "likelihood": 0.2}', None, None, ()),
        ('{"category": "ship", "likelihood": null, "alternatives": null}', "ship", None, ()),
        ('{"category": "ship"}', "ship", None, ()),
        ('{"category": "ship", "likelihood": 1}', "ship", 1.0, ()),
        ('{"category": "ship", "likelihood": "0.9"}', "ship", 0.9, ()),
        (
            '{"alternatives": [{"category": "pier", "likelihood": 0.1}], "category": " ship. "}',
            "ship",
            None,
            (("pier", 0.1),),
        ),
        ('{"category": "ship", "likelihood": "90 %"}', "ship", 0.9, ()),
        ('{"category": "ship", "likelihood": "0,9"}', "ship", 0.9, ()),
        # Nor is the name any worse for a likelihood that is none.
        ('{"category": "ship", "likelihood": 95}', "ship", None, ()),
        ('{"category": "ship", "likelihood": -0.1}', "ship", None, ()),
        ('{"category": "ship", "likelihood": 1e999}', "ship", None, ()),
        ('{"category": "ship", "likelihood": ' + "9" * 400 + "}", "ship", None, ()),
        ('{"category": "ship", "likelihood": ' + "9" * 5000 + "}", "ship", None, ()),
        ('{"category": "ship", "likelihood": "high"}', "ship", None, ()),
        ('{"category": "ship", "likelihood": "about 0.9"}', "ship", None, ()),
        ('{"category": "ship", "likelihood": "8/10"}', "ship", None, ()),
        ('{"category": "ship", "likelihood": "95"}', "ship", None, ()),
        ('{"category": "ship", "likelihood": true}', "ship", None, ()),
        ('{"category": "ship", "likelihood": [0.9]}', "ship", None, ()),
        ('{"category": "ship", "likelihood": NaN}', "ship", None, ()),
        ('{"category": "ship", "likelihood": -Infinity}', "ship", None, ()),
        # What is thought before the answer is none.
        ('<think>{"category": "boat"}</think>{"category": "ship"}', "ship", None, ()),
        ('{"category": "boat"}\n</think>\n' + SHIP, "ship", 0.9, ()),
        # What is wrong with an alternative is not wrong with the reply.
        ('{"category": "ship", "alternatives": "pier"}', "ship", None, ()),
        ('{"category": "ship", "alternatives": ["pier", 3]}', "ship", None, (("pier", None),)),
        (
            '{"category": "ship", "alternatives": [{"category": 3}, {"likelihood": 0.1}, '
            '{"category": "pier", "likelihood": "5%"}, {"category": "quay", "likelihood": 9}]}',
            "ship",
            None,
            (("pier", 0.05), ("quay", None)),
        ),
        ('{"category": "caf\\u00e9", "likelihood": 0.5}', "café", 0.5, ()),
        (
            '{"category": "ship", "alternatives": [{"category": "ship", "likelihood": 0.1}, '
            '{"category": "pier", "likelihood": 0.2}, {"category": "pier", "likelihood": 0.4}]}',
            "ship",
            None,
            (("pier", 0.2),),
        ),
    ],
)
def test_objects(
    text: str,
    category: str | None,
    likelihood: float | None,
    alternatives: tuple[tuple[str, float | None], ...],
) -> None:
    parsed = parse_reply(text)
    assert (parsed.category, parsed.likelihood) == (category, likelihood)
    assert parsed.alternatives == alternatives


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"category": 7, "likelihood": 0.9}', "category 7 is no name"),
        ('{"category": ["ship"]}', "is no name"),
        ('{"category": ""}', "category '' is no name"),
        ('{"category": "?"}', "is no name"),
        ('{"category": "a\\ud800b"}', "is no name"),
        ('{"category": "ship", "category": "pier"}', "the key 'category' stands twice"),
        (
            '{"category": "ship", "alternatives": [{"category": "a", "category": "b"}]}',
            "the key 'category' stands twice",
        ),
        ('{"category": null, "likelihood": 0.1, "note": "a wake', "cut off"),
        ('{"category": null, "alternatives": [{"category": "ship", "li', "cut off"),
        ('{"likelihood": 0.1, "alternatives": [{"category": "ship"}, {"ca', "no quoted category"),
        ('<think>{"category": "ship"}', "while the model thinks, raise classify.max_new_tokens"),
        ("[" * 5000, "no quoted category"),
        ('{"category": ' + "[" * 5000, "no quoted category"),
    ],
)
def test_what_is_wrong_is_told(text: str, message: str) -> None:
    with pytest.raises(UnparsableReplyError, match=message) as caught:
        parse_reply(text)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("cut", range(len('{"category": "ship"'), len(BOTH)))
def test_an_object_that_was_cut_off_keeps_its_name(cut: int) -> None:
    parsed = parse_reply(BOTH[:cut])
    assert parsed.category == "ship"
    assert parsed.alternatives == ()


@pytest.mark.parametrize("name", ["ship", "a", "storage tank", "l’île", "c", "category"])
@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", '"category": {} "category"'])
def test_the_span_is_that_of_the_category(name: str, around: str) -> None:
    alternatives = [{"category": f"{name} too", "likelihood": 0.1}]
    said = {"alternatives": alternatives, "category": name, "likelihood": 0.5}
    for order in (said, dict(reversed(said.items()))):
        text = around.replace("{}", json.dumps(order, ensure_ascii=False))
        span = parse_reply(text).span
        assert span
        assert text[slice(*span)] == name
        assert text[: span[0]].endswith('"category": "')
        assert name_start(text) == span[0]


def test_a_name_with_escapes_has_no_span() -> None:
    text = '{"category": "caf\\u00e9", "likelihood": 0.5}'
    assert parse_reply(text) == ParsedReply("café", 0.5, None)
    assert name_start(text) is None


def test_where_a_name_begins_or_what_stands_for_it() -> None:
    for text, rest in (
        ('"ship" with likelihood 0.9', 'ship"'),
        ('"Unrecognized". It looks like a "tree".', "Unrecognized"),
        ("I find it unrecognisable.", "unrecognisable"),
        ('{"category": null}', "null"),
        ('{"category": "unrecognized"}', "unrecognized"),
    ):
        place = name_start(text)
        assert place is not None
        assert text[place:].startswith(rest)
    assert name_start("I cannot help with that.") is None


def test_the_token_of_a_place_and_the_confidence_of_a_name() -> None:
    text = '{"category": "ship"}'
    reply = Reply(text, (14, 16, 18, 20), (0.9, 0.5, 0.8, 0.1))
    span = parse_reply(text).span
    assert span == (14, 18)
    assert [token_at(reply, place) for place in (0, 13, 14, 15, 16, 19, 20)] == [
        *(0, 0, 1, 1, 2, 3),
        None,
    ]
    assert token_confidence(reply, span) == pytest.approx(0.4)


def test_the_prompt_names_what_is_read() -> None:
    template = load_template("json")
    assert template.schema is not None
    assert set(template.schema["properties"]) == {"category", "likelihood", "alternatives"}
    assert all(f'"{key}"' in template.text for key in template.schema["properties"])


KEYS = st.sampled_from(["category", "likelihood", "alternatives", "name", "é"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
PIECES = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        '"',
        ":",
        ",",
        "null",
        "NaN",
        "0.9",
        "1e9",
        '"ship"',
        "\\",
        "\\u00e9",
        "\\ud800",
        "```",
        "Unrecognized",
        "<think>",
        "</think>",
        '"category":',
        '"likelihood":',
        '"alternatives":',
        '{"category":',
    ]
)


@given(st.text() | st.lists(PIECES, max_size=25).map("".join))
@example('{"category"')
@example('{"":"')
def test_any_text_is_understood_or_told_not_to_be(text: str) -> None:
    check(text)


@given(st.dictionaries(KEYS, VALUES), st.booleans(), st.text(max_size=5), st.text(max_size=5))
def test_any_object_is_understood_or_told_not_to_be(
    said: dict[str, object], ascii_only: bool, before: str, after: str
) -> None:
    check(before + json.dumps(said, ensure_ascii=ascii_only) + after)


def check(text: str) -> None:
    try:
        parsed = parse_reply(text)
    except UnparsableReplyError:
        assert name_start(text) is None
        return
    if parsed.likelihood is not None:
        assert 0 <= parsed.likelihood <= 1
    if parsed.category is not None and parsed.span is not None:
        assert text[slice(*parsed.span)] == parsed.category
    for name in (parsed.category, *(name for name, _ in parsed.alternatives)):
        assert name is None or name.strip() == name != ""
    place = name_start(text)
    assert place is None or 0 <= place < len(text)


@given(
    st.dictionaries(st.text(), VALUES, max_size=4),
    st.sampled_from([None, 2]),
    st.text(alphabet="ab \n[]:,"),
)
def test_members_stand_where_they_are_said_to(
    said: dict[str, object], indent: int | None, before: str
) -> None:
    text = before + json.dumps({**said, "category": 1}, indent=indent)
    members = find_object(text, "category")
    assert members is not None
    assert list(members) == list({**said, "category": 1})
    for member in members.values():
        # As text, as NaN is not the same as itself.
        assert repr(json.loads(text[member.start : member.end])) == repr(member.value)
