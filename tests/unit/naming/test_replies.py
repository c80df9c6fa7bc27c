"""Replies: every form that the paper's models give."""

import pytest

from lae_tasks.backends.protocols import Reply
from lae_tasks.naming.replies import (
    UnparsableReplyError,
    name_start,
    parse_reply,
    token_confidence,
)


@pytest.mark.parametrize(
    ("text", "category", "likelihood"),
    [
        ('"Airplane" with a likelihood of 0.95', "Airplane", 0.95),
        ("“storage tank” with likelihood 0.9", "storage tank", 0.9),
        ('"ship" with a likelihood of 1', "ship", 1.0),
        ('"ship" with a likelihood of 1.0.', "ship", 1.0),
        ('"ship" with likelihood .8', "ship", 0.8),
        ('"ship" with a likelihood of 90%', "ship", 0.9),
        ('"ship" with 0.7 likelihood', "ship", 0.7),
        ('"ship", likelihood: 0', "ship", 0.0),
        ('The object is a **"tennis court"** with a likelihood of **0.9**.', "tennis court", 0.9),
        ('"object category": "harbour" with likelihood 0.6', "harbour", 0.6),
        ('"ship" with likelihood 0,9', "ship", 0.9),
        ('"ship" with a likelihood (0 to 1): 0.9', "ship", 0.9),
        ('"ship" with a likelihood, from 0 to 1, of 0.8', "ship", 0.8),
        ('"ship" with a likelihood of approximately 0.9', "ship", 0.9),
        ('"ship": 90 %', "ship", 0.9),
        ('"ship" (0.95)', "ship", 0.95),
        ('"ship", 3 of them, likelihood 0.4', "ship", 0.4),
        ('"ship" with high likelihood. There are 2 more.', "ship", None),
        ('"ship" with high likelihood, judging by 1 wake', "ship", None),
        ('"airplane" with high likelihood because it has 2 wings', "airplane", None),
        ('"ship" with 0.8 likelihood and 2 masts', "ship", 0.8),
        ('{"object category": "ship", "likelihood": 0.9}', "ship", 0.9),
        ('```json\n{"category": "ship",\n "likelihood": "0.9"}\n```', "ship", 0.9),
        ('{"likelihood": 0.9, "name": "ship"}', "ship", None),
        ('"ship" with likelihood "0.9"', "ship", 0.9),
        ('"ship" with likelihood `0.9`', "ship", 0.9),
        ('"ship" with likelihood [0.9]', "ship", 0.9),
        ('Object category: "ship"\nLikelihood: "0.95"', "ship", 0.95),
        ('"ship": 0.95\nReasoning: it has 2 masts', "ship", 0.95),
        ('"ship", 0.95, because of its wake', "ship", 0.95),
        ('"ship": 90%, since it has 2 masts', "ship", 0.9),
        ('"ship" [0.9]', "ship", 0.9),
        ('"ship", likelihood: high (0.9)', "ship", 0.9),
        ('"ship" with a likelihood estimated at 0.9', "ship", 0.9),
        ('"ship" with a likelihood of nearly 0.9', "ship", 0.9),
        ('"ship", likelihood > 0.9', "ship", 0.9),
        ('"ship", likelihood → 0.9', "ship", 0.9),
        ('"high confidence structure" with likelihood 0.9', "high confidence structure", 0.9),
        ('"low-probability area" with likelihood 0.9', "low-probability area", 0.9),
        ('"ship with a high likelihood"', "ship", None),
        ('"ship, likelihood: high"', "ship", None),
        ('"ship (likelihood: N/A)"', "ship", None),
        ('"ship": "0.95"', "ship", None),
        ('"airplane": "likelihood 0.9"', "airplane", 0.9),
        ('"ship": "a large vessel" with likelihood 0.9', "ship", 0.9),
        ('"ship": "likelihood": 0.9', "ship", 0.9),
        ('{"objects": ["ship"], "likelihood": 0.9}', "ship", 0.9),
        ('"ship" with likelihood: high\n\n1. It has a hull', "ship", None),
        ('"ship",120,30,200,80', "ship", None),
        ('"ship",5, ok', "ship", None),
        ('"ship" with 90% likelihood, 3 of them', "ship", 0.9),
        ('"ship" (50% visible) with likelihood 0.9', "ship", 0.9),
        ('"vehicle", 90% of the crop is road, likelihood 0.4', "vehicle", 0.4),
        ('"building", 0.3 m resolution, with likelihood 0.8', "building", 0.8),
        ('"ship" with a likelihood on a scale from 0 to 10 of 8', "ship", None),
        ('"ship with likelihood 0.9"', "ship", 0.9),
        ("'ship' with likelihood 0.9", "ship", 0.9),
        ("The object's name is ‘ship’, likelihood 0.9", "ship", 0.9),
        ('"confidence course" with likelihood 0.9', "confidence course", 0.9),
        ('"Unrecognized object"', None, None),
        ("„Flugzeug“ with likelihood 0.5", "Flugzeug", 0.5),
        ('"ship."', "ship", None),
        ('"Unrecognized" The crop shows bare soil.', None, None),
        ("Unrecognized. It is too blurred.", None, None),
        ('Unrecognized. The picture shows a "field" of one colour.', None, None),
        ("The object is unrecognised", None, None),
        # What is no likelihood from 0 to 1 is no reason to lose the name.
        ('"ship" with likelihood 9', "ship", None),
        ('"ship" with likelihood 95', "ship", None),
        ('"ship" with likelihood 8/10', "ship", None),
        ('"ship" with likelihood 1/10', "ship", None),
        ('"ship" with likelihood 1 / 5', "ship", None),
        ('"ship" with a likelihood of 1 out of 10', "ship", None),
        ('"ship", likelihood 9 of 10', "ship", None),
        ('"ship" with 1/10 likelihood', "ship", None),
        ('"ship" with likelihood 120%', "ship", None),
        ('"ship" with likelihood ' + "9" * 5000, "ship", None),
        ('"ship" with likelihood 0.8/1', "ship", 0.8),
        ('"ship" with likelihood 0.8 out of 1.0', "ship", 0.8),
        ('"ship" with likelihood 0.8 of 1 object', "ship", 0.8),
        # What is thought before the answer is none.
        ('<think>maybe "boat"</think>"ship" with likelihood 0.9', "ship", 0.9),
        ('maybe "boat" with likelihood 0.1 </think>\n\n"ship"', "ship", None),
        ('<think>"a"</think>"boat"<think>hm</think>"ship"', "ship", None),
        ("<think>It is unrecognized.</think>'ship'", "ship", None),
        ('<think>"ship"</think>Unrecognized', None, None),
    ],
)
def test_forms(text: str, category: str | None, likelihood: float | None) -> None:
    parsed = parse_reply(text)
    assert (parsed.category, parsed.likelihood) == (category, likelihood)


@pytest.mark.parametrize(
    "text",
    [
        "",
        '"?" with likelihood 0.9',
        "I cannot help with that.",
        '"" with likelihood 0.9',
        "<think>It may be a 'boat', or a \"ship\" with likelihood 0.9",
        '</think><think>{"category": "ship"}',
        '"ship"</think>',
    ],
)
def test_what_cannot_be_understood(text: str) -> None:
    with pytest.raises(UnparsableReplyError):
        parse_reply(text)


def test_the_span_is_that_of_the_whole_text() -> None:
    text = '<think>"ship"?</think>"ship" with likelihood 0.9'
    assert parse_reply(text).span == (text.rindex("ship"), text.rindex("ship") + 4)
    assert name_start(text) == text.rindex("ship")
    nothing = "<think>unrecognized?</think>Unrecognized"
    assert name_start(nothing) == nothing.index("Unrecognized")


def test_token_confidence_is_the_product_over_the_name_only() -> None:
    text = '"ship" with'
    reply = Reply(text, (1, 3, 5, 6, 11), (0.1, 0.5, 0.8, 0.2, 0.3))
    span = parse_reply(text).span
    assert span == (1, 5)
    assert token_confidence(reply, span) == pytest.approx(0.4)


def test_a_token_that_holds_quote_and_name_counts() -> None:
    reply = Reply('"ship"', (3, 6), (0.5, 0.5))
    assert token_confidence(reply, (1, 5)) == pytest.approx(0.25)
