"""Replies: every form that the paper's models give."""

import pytest

from lae_tasks.backends.protocols import Reply
from lae_tasks.naming.replies import UnparsableReplyError, parse_reply, token_confidence


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
        '"ship" with likelihood 9',
    ],
)
def test_what_cannot_be_understood(text: str) -> None:
    with pytest.raises(UnparsableReplyError):
        parse_reply(text)


def test_token_confidence_is_the_product_over_the_name_only() -> None:
    text = '"ship" with'
    reply = Reply(text, (1, 3, 5, 6, 11), (0.1, 0.5, 0.8, 0.2, 0.3))
    span = parse_reply(text).span
    assert span == (1, 5)
    assert token_confidence(reply, span) == pytest.approx(0.4)


def test_a_token_that_holds_quote_and_name_counts() -> None:
    reply = Reply('"ship"', (3, 6), (0.5, 0.5))
    assert token_confidence(reply, (1, 5)) == pytest.approx(0.25)
