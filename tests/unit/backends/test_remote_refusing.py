"""A server that has no reply to many crops in a row: is it the crops, or is it the server?"""

import time
from pathlib import Path
from typing import Any

import pytest

from lae_tasks.backends import chat_server
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.backends.remote import RemoteClassifier
from lae_tasks.errors import ConfigError, TransientError
from lae_tasks.naming.journal import Journal
from lae_tasks.naming.prompt_template import load_template
from lae_tasks.storage import LocalStorage
from tests.lvlm_server import (
    Answer,
    HttpError,
    LvlmServer,
    Speaker,
    by_digest,
    digest_of_crop,
    expected,
    remote_namer,
    some_crops,
)

PAPER = load_template("lae_paper")
# 100 and 10 tokens of each answer: 1,200 millionths of a dollar.
USAGE = {"prompt_tokens": 100, "completion_tokens": 10}
PRICES = {"usd_per_million_prompt_tokens": 10.0, "usd_per_million_completion_tokens": 20.0}
REFUSAL = HttpError(400, "our policy forbids this")
BILLED = HttpError(200, {"choices": [], "usage": USAGE})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again without a wait."""
    monkeypatch.setattr(chat_server, "_BACK_OFF", lambda _: 0.0)


@pytest.fixture
def store(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


def ask(namer: RemoteClassifier, store: LocalStorage, images: list[Image]) -> list[Reply]:
    with Journal(store, "replies/") as journal:
        return list(namer.for_shard(journal, 1.0).reply(images, PAPER))


def answering_except(refused: list[Image], answer: HttpError = REFUSAL) -> Speaker:
    """What takes its time to answer, and at once has no reply to some crops."""
    digests = {digest_of_crop(crop) for crop in refused}

    def speak(crop: Image, body: dict[str, Any]) -> Answer:
        if digest_of_crop(crop) in digests:
            return answer
        time.sleep(0.01)
        return by_digest(crop, body)

    return speak


@pytest.mark.parametrize("answer", [REFUSAL, HttpError(200, {"status": "restarting"})])
def test_one_that_stops_to_answer_ends_the_shard_and_nothing_is_lost(
    server: LvlmServer, store: LocalStorage, answer: HttpError
) -> None:
    images = some_crops(200)
    server.speaker = lambda crop, body: by_digest(crop, body) if len(server.asked) < 30 else answer
    message = r"has no reply to any crop since .* UTC, not even to one that it had answered: "
    with pytest.raises(TransientError, match=message + ".*; run again"):
        ask(remote_namer(server), store, images)
    assert len(server.asked) < 30 + 3 * 30
    assert len(server.answered) >= 29
    # While it goes on so, the next attempt ends alike.
    with pytest.raises(TransientError, match=message):
        ask(remote_namer(server), store, images)
    server.speaker = by_digest
    assert [r.text for r in ask(remote_namer(server), store, images)] == expected(images)
    assert set(server.answered.values()) == {1}


def test_many_crops_that_it_refuses_do_not_end_the_shard(
    server: LvlmServer, store: LocalStorage
) -> None:
    """Those of a tile are much alike: too small for the model, or of what a policy forbids."""
    images = some_crops(120)
    refused = [*images[40:70], *images[80::4]]
    server.speaker = answering_except(refused)
    forbidden = {digest_of_crop(crop) for crop in refused}
    for _ in range(2):  # the second time nothing else is asked
        replies = ask(remote_namer(server), store, images)
        assert [bool(r.problem) for r in replies] == [
            digest_of_crop(crop) in forbidden for crop in images
        ]
    probes = sum(server.answered.values()) - len(server.answered)
    assert 3 <= probes <= 2 * len(refused) // 8
    # Each request is some reply's.
    counts = [reply.counts["requests"] for reply in replies]
    assert sum(counts) + len(refused) <= len(server.asked)


def test_what_was_answered_before_tells_that_the_server_does_answer(
    server: LvlmServer, store: LocalStorage
) -> None:
    images = some_crops(20)
    ask(remote_namer(server), store, images[:3])
    server.speaker = answering_except(images[3:])
    replies = ask(remote_namer(server), store, images)
    assert [reply.text for reply in replies[:3]] == expected(images[:3])
    assert {reply.problem for reply in replies[3:]} == {"HTTP 400: our policy forbids this"}


def test_what_another_model_answered_tells_nothing(server: LvlmServer, store: LocalStorage) -> None:
    images = some_crops(40)
    ask(remote_namer(server, model_revision="old"), store, images)
    server.speaker = lambda *_: HttpError(400, "demo is not a multimodal model")
    with pytest.raises(ConfigError, match="no reply to any crop: HTTP 400"):
        ask(remote_namer(server), store, images)


def test_what_it_costs_to_find_out_is_counted(server: LvlmServer, store: LocalStorage) -> None:
    images = some_crops(30)
    server.speaker = answering_except(images[10:], BILLED)
    with Journal(store, "replies/") as journal:
        namer = remote_namer(server, max_in_flight=1, **PRICES).for_shard(journal, 1.0)
        replies = list(namer.reply(images, PAPER))
    assert len(server.asked) == 10 + 3 * 20 + 20 // 8
    assert sum(reply.counts["requests"] for reply in replies) == len(server.asked)
    assert sum(reply.counts["cost_microusd"] for reply in replies) == 1200 * len(server.asked)
    assert journal.spent == 1200 * len(server.asked)
