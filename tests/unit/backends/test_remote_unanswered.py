"""Crops that a server has no reply to: which it refuses, or answers with what is no completion."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lae_tasks.backends import chat_server
from lae_tasks.backends.protocols import Image
from lae_tasks.errors import BudgetSpentError, ConfigError, TransientError
from lae_tasks.naming.journal import Journal
from lae_tasks.naming.prompt_template import load_template
from lae_tasks.storage import LocalStorage
from tests.lvlm_server import (
    Answer,
    Fault,
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
BILLED = HttpError(200, {"choices": [], "usage": USAGE})


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again without a wait."""
    monkeypatch.setattr(chat_server, "_BACK_OFF", lambda _: 0.0)


def test_a_refused_crop_is_its_own_problem(
    server: LvlmServer, caplog: pytest.LogCaptureFixture
) -> None:
    images = some_crops(9)

    def picky(crop: Image, body: dict[str, Any]) -> Answer:
        if digest_of_crop(crop) == digest_of_crop(images[4]):
            picture = "data:image/png;base64," + "iVBORw0KGgo" * 500
            return HttpError(400, {"error": {"message": f"our policy forbids {picture} here"}})
        return by_digest(crop, body)

    server.speaker = picky
    replies = list(remote_namer(server).reply(images, PAPER))
    assert [bool(reply.problem) for reply in replies] == [i == 4 for i in range(9)]
    assert replies[4].problem == "HTTP 400: our policy forbids … here"
    assert replies[4].counts == {"requests": 1}
    assert "iVBOR" not in caplog.text


@pytest.mark.parametrize("status", [400, 503])
@pytest.mark.parametrize(
    ("body", "said"),
    [("[" * 100_000, "[[["), ('{"error":' * 100_000, '{"error":'), ('"\\ud800 no"', "? no")],
)
def test_an_error_may_say_anything(
    server: LvlmServer, at_once: None, status: int, body: str, said: str
) -> None:
    images = some_crops(3)

    def speak(crop: Image, asked: dict[str, Any]) -> Answer:
        if len(server.asked) == 1:
            return HttpError(status, body)
        return by_digest(crop, asked)

    server.speaker = speak
    first, *rest = remote_namer(server, max_in_flight=1).reply(images, PAPER)
    assert [reply.text for reply in rest] == expected(images[1:])
    if status == 400:
        assert first.problem.startswith(f"HTTP 400: {said}")
        assert len(first.problem.encode()) < 400
    else:
        assert first.text == expected(images)[0]


def test_a_server_that_refuses_every_crop_ends_it_and_is_asked_again_later(
    server: LvlmServer, tmp_path: Path
) -> None:
    server.speaker = lambda *_: HttpError(400, "demo is not a multimodal model")
    images, store = some_crops(40), LocalStorage(tmp_path)
    with Journal(store, "replies/") as journal, pytest.raises(ConfigError) as caught:
        list(remote_namer(server).for_shard(journal, 1.0).reply(images, PAPER))
    assert "has no reply to any crop: HTTP 400" in str(caught.value)
    assert "not a multimodal model" in str(caught.value)
    assert len(server.asked) < 40
    server.speaker = by_digest
    with Journal(store, "replies/") as journal:
        replies = list(remote_namer(server).for_shard(journal, 1.0).reply(images, PAPER))
    assert [reply.text for reply in replies] == expected(images)


def malformed_for(crop_asked: Image, answer: HttpError) -> Speaker:
    """What never has a completion for one crop."""

    def speak(crop: Image, body: dict[str, Any]) -> Answer:
        same = digest_of_crop(crop) == digest_of_crop(crop_asked)
        return answer if same else by_digest(crop, body)

    return speak


@pytest.mark.parametrize(
    ("body", "billed", "said"),
    [
        ('{"choices": [{"message": "\\ud800"}]}', False, "Invalid JSON"),
        ({"choices": []}, False, "choices: List should have at least 1 item"),
        ({"choices": [], "usage": {"prompt_tokens": -7}}, False, "choices: List should"),
        ({"choices": [], "usage": USAGE}, True, "choices: List should have at least 1 item"),
        ({"choices": [{"message": None}], "usage": USAGE}, True, r"choices\.0\.message: Input"),
        ({"error": "out of memory", "usage": USAGE}, True, "choices: Field required"),
    ],
)
def test_a_crop_that_never_gets_a_completion_is_given_up_and_paid_for(
    server: LvlmServer, tmp_path: Path, at_once: None, body: Any, billed: bool, said: str
) -> None:
    images, store = some_crops(9), LocalStorage(tmp_path)
    server.speaker = malformed_for(images[4], HttpError(200, body))
    priced = remote_namer(server, **PRICES)
    with Journal(store, "replies/") as journal:
        replies = list(priced.for_shard(journal, 1.0).reply(images, PAPER))
        assert (journal.answered, journal.spent) == (8, 8 * 1200 + 3 * 1200 * billed)
    assert [bool(reply.problem) for reply in replies] == [i == 4 for i in range(9)]
    given_up = replies[4]
    assert re.search(rf"no chat completion in the answer: {said}.*\(3 such", given_up.problem)
    assert (given_up.counts["requests"], given_up.counts["retries"]) == (3, 2)
    assert given_up.counts.get("cost_microusd", 0) == 3 * 1200 * billed
    assert len(server.asked) == 8 + 3
    # Only this crop is asked again, and what it cost is not forgotten.
    server.speaker = by_digest
    with Journal(store, "replies/") as journal:
        again = list(priced.for_shard(journal, 1.0).reply(images, PAPER))
        assert (journal.answered, journal.spent) == (9, 9 * 1200 + 3 * 1200 * billed)
    assert [reply.text for reply in again] == expected(images)
    assert set(server.answered.values()) == {1}


@pytest.mark.parametrize(
    "body", ["<html>restarting</html>", "", "[" * 100_000, "[]", "null", '{"choices": [{"mess']
)
def test_what_is_no_json_object_is_not_the_crops_fault(
    server: LvlmServer, at_once: None, body: str
) -> None:
    images = some_crops(9)
    tried: Counter[str] = Counter()

    def restarting(crop: Image, asked: dict[str, Any]) -> Answer:
        tried[digest_of_crop(crop)] += 1
        if tried[digest_of_crop(crop)] <= 5:
            return HttpError(200, body)
        return by_digest(crop, asked)

    server.speaker = restarting
    replies = list(remote_namer(server).reply(images, PAPER))
    assert [reply.text for reply in replies] == expected(images)
    assert {reply.counts["requests"] for reply in replies} == {6}


def test_a_server_that_never_sends_json_is_not_waited_for_without_end(server: LvlmServer) -> None:
    server.speaker = lambda *_: HttpError(200, "<html>restarting</html>")
    with pytest.raises(TransientError, match="the last: HTTP 200, but no JSON object: <html>rest"):
        list(remote_namer(server, deadline_s=0.5).reply(some_crops(20), PAPER))


def test_other_failures_do_not_count_as_malformed_answers(
    server: LvlmServer, at_once: None
) -> None:
    others = {1: Fault.ERROR, 2: Fault.RESET, 4: Fault.CUT, 5: Fault.PAGE}
    server.faults = {0: Fault.NO_CHOICES, 3: Fault.NO_CHOICES} | others
    (reply,) = remote_namer(server).reply(some_crops(1), PAPER)
    assert (reply.problem, reply.counts["requests"]) == ("", 7)


def test_a_server_without_any_completion_ends_it(
    server: LvlmServer, tmp_path: Path, at_once: None
) -> None:
    server.speaker = lambda *_: BILLED
    namer = remote_namer(server, **PRICES)
    message = r"no reply to any crop: no chat completion in the answer.*OpenAI's chat protocol"
    with (
        pytest.raises(ConfigError, match=message),
        Journal(LocalStorage(tmp_path), "replies/") as journal,
    ):
        list(namer.for_shard(journal, 1.0).reply(some_crops(60), PAPER))
    assert len(server.asked) < 60
    assert journal.spent == len(server.asked) * 1200


def test_malformed_answers_are_within_the_budget(
    server: LvlmServer, tmp_path: Path, at_once: None
) -> None:
    images = some_crops(3)
    server.speaker = malformed_for(images[0], BILLED)
    limited = remote_namer(server, max_in_flight=1, budget_usd=0.0025, **PRICES)
    with (
        pytest.raises(BudgetSpentError, match=r"0 crops .* for 0\.0024 USD"),
        Journal(LocalStorage(tmp_path), "replies/") as journal,
    ):
        list(limited.for_shard(journal, 1.0).reply(images, PAPER))
    assert (len(server.asked), journal.spent) == (2, 2400)


def test_a_malformed_answer_need_not_tell_what_it_costs(
    server: LvlmServer, tmp_path: Path, at_once: None
) -> None:
    """It is a proxy's, perhaps: that completions tell it is another matter."""
    images = some_crops(9)
    server.speaker = malformed_for(images[0], HttpError(200, {"status": "restarting"}))
    limited = remote_namer(server, budget_usd=1.0, **PRICES)
    with Journal(LocalStorage(tmp_path), "replies/") as journal:
        replies = list(limited.for_shard(journal, 1.0).reply(images, PAPER))
    assert [reply.text for reply in replies] == ["", *expected(images[1:])]
    assert replies[0].counts == {"requests": 3, "retries": 2}
    assert journal.spent == 8 * 1200


def test_samples_that_never_are_a_completion_leave_the_reply(
    server: LvlmServer, at_once: None
) -> None:
    server.speaker = lambda crop, body: BILLED if "n" in body else by_digest(crop, body)
    (reply,) = remote_namer(server, alternatives=3, **PRICES).reply(some_crops(1), PAPER)
    assert (reply.problem, reply.others, reply.counts["samples_missing"]) == ("", (), 1)
    assert (reply.counts["requests"], reply.counts["cost_microusd"]) == (4, 4 * 1200)
