"""Naming by a server: real HTTP, forced faults; what a reply is, what a refusal is, what stops."""

import logging
import math
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from lae_tasks.backends import chat_server, remote
from lae_tasks.backends.chat_server import _retry_after_s
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.backends.remote import RemoteClassifier
from lae_tasks.config import ClassifyConfig
from lae_tasks.errors import ConfigError, TransientError
from lae_tasks.naming.journal import Journal
from lae_tasks.naming.prompt_template import load_template
from lae_tasks.storage import LocalStorage
from tests.lvlm_server import (
    Answer,
    Fault,
    HttpError,
    LvlmServer,
    by_digest,
    completion,
    expected,
    remote_namer,
    some_crops,
)

PAPER = load_template("lae_paper")


def test_replies_come_in_order_however_they_are_answered(server: LvlmServer) -> None:
    def slowly(crop: Image, body: dict[str, Any]) -> Reply:
        time.sleep(0.001 * crop[0, 0, 0])
        return by_digest(crop, body)

    server.speaker = slowly
    images = some_crops(60)
    replies = list(remote_namer(server).reply(images, PAPER))
    assert [reply.text for reply in replies] == expected(images)
    assert replies[0].token_ends == (1, 9, len(replies[0].text))
    assert replies[0].token_probabilities == pytest.approx((1.0, 0.5, 0.25))
    assert replies[0].counts == {"requests": 1, "prompt_tokens": 100, "completion_tokens": 10}
    assert 4 <= server.most_at_once <= 8


def test_a_request_is_as_the_protocol_says(
    server: LvlmServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret\n")
    list(remote_namer(server).reply(some_crops(1), load_template("json")))
    (asked,) = server.asked
    assert asked.headers["Authorization"] == "Bearer sk-secret"
    assert asked.body["model"] == "demo"
    assert (asked.body["max_tokens"], asked.body["temperature"]) == (128, 0.0)
    assert asked.body["logprobs"] is True
    form = asked.body["response_format"]["json_schema"]
    assert form["strict"] and form["schema"]["required"][0] == "category"
    assert asked.body["messages"][0]["content"][1]["text"].startswith("Name the object")
    list(
        remote_namer(server, logprobs=False, json_schema=False).reply(
            some_crops(1), load_template("json")
        )
    )
    assert not {"logprobs", "response_format", "seed"} & set(server.asked[1].body)


def test_crops_are_taken_as_they_are_needed(server: LvlmServer) -> None:
    taken = 0

    def counted() -> Iterator[Image]:
        nonlocal taken
        for crop in some_crops(100):
            taken += 1
            yield crop

    replies = remote_namer(server, max_in_flight=2).reply(counted(), PAPER)
    next(replies)
    assert taken == 8
    replies.close()
    assert len(server.asked) <= 8


def test_large_crops_do_not_pile_up(server: LvlmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def waits(crop: Image, body: dict[str, Any]) -> Reply:
        gate.wait(10)
        return by_digest(crop, body)

    server.speaker = waits
    monkeypatch.setattr(remote, "_BYTES_AHEAD", 5 * 3 * 64 * 64)
    taken = 0

    def counted() -> Iterator[Image]:
        nonlocal taken
        for crop in some_crops(40, side=64):
            taken += 1
            yield crop

    threading.Timer(0.5, lambda: (taken_before.append(taken), gate.set())).start()
    taken_before: list[int] = []
    assert len(list(remote_namer(server).reply(counted(), PAPER))) == 40
    assert taken_before == [5]


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_is_tried_again(server: LvlmServer, fault: Fault) -> None:
    server.faults = {0: fault, 3: fault}
    images = some_crops(6)
    replies = list(remote_namer(server, timeout_s=0.5).reply(images, PAPER))
    assert [reply.text for reply in replies] == expected(images)
    assert sum(reply.counts["requests"] for reply in replies) == 8
    assert sum(reply.counts.get("retries", 0) for reply in replies) == 2
    assert set(server.answered.values()) == {1}


def test_an_attempt_ends_even_if_the_server_keeps_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps each read alive."""
    import socket

    monkeypatch.setattr(chat_server, "_BACK_OFF", lambda _: 1.0)  # there is no second attempt
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            try:
                for _ in range(50):
                    connection.sendall(b" ")
                    time.sleep(0.1)
            except OSError:
                pass

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    settings = {
        "base_url": f"http://127.0.0.1:{listener.getsockname()[1]}/v1",
        "timeout_s": 0.4,
        "deadline_s": 0.45,
    }
    config = ClassifyConfig.model_validate({"namer": "remote", "model": "m", "remote": settings})
    started = time.monotonic()
    with pytest.raises(TransientError, match=r"no whole answer in 0\.4 s"):
        list(RemoteClassifier(config).reply(some_crops(1), PAPER))
    assert time.monotonic() - started < 2
    thread.join()
    listener.close()


def test_retry_after_is_waited_for(server: LvlmServer) -> None:
    server.faults = {0: Fault.BUSY}
    started = time.monotonic()
    list(remote_namer(server).reply(some_crops(1), PAPER))
    assert time.monotonic() - started >= 1
    assert _retry_after_s("7.5") == 7.5
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 85 < _retry_after_s(date) <= 90
    assert [_retry_after_s(odd) for odd in ("", "soon", "-3", "nan")] == [0, 0, 0, 0]


def test_a_deadline_names_server_and_last_failure(server: LvlmServer) -> None:
    server.speaker = lambda *_: HttpError(503, {"error": {"message": "loading the model"}})
    started = time.monotonic()
    with pytest.raises(TransientError) as caught:
        list(remote_namer(server, deadline_s=1.5).reply(some_crops(20), PAPER))
    assert time.monotonic() - started < 4
    message = str(caught.value)
    assert server.url in message and "HTTP 503: loading the model" in message
    assert "no answer in 1.5 s and" in message and "classify.remote.deadline_s" in message


def test_a_server_that_asks_for_more_than_the_deadline_is_not_waited_for(
    server: LvlmServer,
) -> None:
    server.speaker = lambda *_: HttpError(429, "later", {"Retry-After": "3600"})
    started = time.monotonic()
    with pytest.raises(TransientError, match="HTTP 429: later"):
        list(remote_namer(server).reply(some_crops(1), PAPER))
    assert time.monotonic() - started < 2


def test_no_server_at_all(server: LvlmServer) -> None:
    other = remote_namer(server, base_url="http://127.0.0.1:9/v1", deadline_s=0.5)
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9/v1.*ConnectError"):
        list(other.reply(some_crops(1), PAPER))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (HttpError(401, {"error": {"message": "wrong: sk-secret"}}), "OPENAI_API_KEY"),
        (HttpError(403, "no"), "may not use classify.model"),
        (HttpError(404, {"error": {"message": "The model `demo` does not exist"}}), "`demo`.*/v1"),
        (HttpError(302, "", {"Location": "http://127.0.0.1:9/"}), "HTTP 302; correct"),
        (HttpError(429, {"error": {"code": "insufficient_quota"}}), "no money left"),
    ],
)
def test_what_no_crop_can_pass_ends_the_shard(
    server: LvlmServer, answer: HttpError, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.speaker = lambda *_: answer
    with pytest.raises(ConfigError, match=message) as caught:
        list(remote_namer(server).reply(some_crops(50), PAPER))
    assert "sk-secret" not in str(caught.value)
    assert len(server.asked) <= 16


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("logprobs", "`logprobs` is not supported"),
        ("response_format", "This model does not support json_schema"),
        ("temperature", "Unsupported value: 'temperature' does not support 0.0"),
    ],
)
def test_what_a_server_cannot_do_is_left_out(
    server: LvlmServer, caplog: pytest.LogCaptureFixture, parameter: str, message: str
) -> None:
    def older(crop: Image, body: dict[str, Any]) -> Answer:
        if parameter in body:
            return HttpError(400, {"error": {"message": message}})
        return by_digest(crop, body)

    server.speaker = older
    images = some_crops(40)
    with caplog.at_level(logging.WARNING):
        replies = list(remote_namer(server).reply(images, load_template("json")))
    assert [reply.text for reply in replies] == expected(images)
    assert bool(replies[-1].token_ends) == (parameter != "logprobs")
    assert len(server.asked) <= 40 + 8
    (line,) = [r.message for r in caplog.records if "does not support" in r.message]
    assert f"does not support {parameter}, goes on without" in line


def test_newer_models_call_max_tokens_otherwise(server: LvlmServer) -> None:
    def newer(crop: Image, body: dict[str, Any]) -> Answer:
        if "max_tokens" in body:
            said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return HttpError(400, {"error": {"message": said}})
        assert body["max_completion_tokens"] == 128
        return by_digest(crop, body)

    server.speaker = newer
    assert all(not reply.problem for reply in remote_namer(server).reply(some_crops(3), PAPER))


def test_how_a_reply_ended(server: LvlmServer) -> None:
    def ended(finish: str, **message: Any) -> dict[str, Any]:
        return {
            "choices": [{"message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 6},
        }

    answers = [
        ended("length", content='"ship" with li'),
        ended("length", content=None),
        ended("content_filter", content="I"),
        ended("stop", content=None, refusal="I cannot look at this"),
    ]
    server.speaker = lambda *_: answers[len(server.asked) - 1]
    cut, *rest = remote_namer(server, max_in_flight=1).reply(some_crops(4), PAPER)
    assert (cut.text, cut.problem, cut.counts["replies_cut_short"]) == ('"ship" with li', "", 1)
    assert [reply.problem for reply in rest] == [
        "an empty reply (finish_reason length); raise classify.max_new_tokens",
        "the server's content filter took the reply",
        "the model refuses: I cannot look at this",
    ]
    assert all(reply.counts["completion_tokens"] == 6 for reply in rest)


def test_tokens_that_do_not_fit_the_text_are_left_out(server: LvlmServer) -> None:
    def tokens(*pieces: tuple[str, list[int] | None]) -> dict[str, Any]:
        return {"content": [{"token": t, "bytes": b, "logprob": -0.5} for t, b in pieces]}

    euro = list("€".encode())
    cases: list[tuple[Any, tuple[int, ...]]] = [
        (tokens(('"a', None), ("€", euro), ('"', None), ("<|end|>", None)), (2, 3, 4)),
        (tokens((' "a', None), ("x", euro[:1]), ("y", euro[1:]), ('"', None)), (2, 2, 3, 4)),
        (tokens(('"a', None), ("Ġ", None), ('"', None)), ()),
        (tokens(('"a', [300]), ("€", None), ('"', None)), ()),
        ({"tokens": ['"a€"'], "token_logprobs": [0]}, ()),
        ([], ()),
        (None, ()),
    ]

    def speak(*_: object) -> dict[str, Any]:
        said = completion(Reply('"a€"'), {})
        said["choices"][0]["logprobs"] = cases[len(server.asked) - 1][0]
        return said

    server.speaker = speak
    replies = list(remote_namer(server, max_in_flight=1).reply(some_crops(len(cases)), PAPER))
    assert [reply.token_ends for reply in replies] == [ends for _, ends in cases]
    assert all(len(r.token_ends) == len(r.token_probabilities) for r in replies)


@pytest.mark.parametrize("logprob", [math.nan, math.inf, -math.inf, 10**400, -9999.0])
def test_a_probability_that_is_none_leaves_the_reply(
    server: LvlmServer, tmp_path: Path, logprob: float
) -> None:
    def speak(*_: object) -> dict[str, Any]:
        said = completion(Reply('"ship"', (5, 6), (0.5, 0.5)), {"logprobs": True})
        said["choices"][0]["logprobs"]["content"][1]["logprob"] = logprob
        return said

    server.speaker = speak
    store = LocalStorage(tmp_path)
    for _ in range(2):  # the second time it is the journal's
        with Journal(store, "replies/") as journal:
            (reply,) = remote_namer(server).for_shard(journal, 1.0).reply(some_crops(1), PAPER)
        assert (reply.text, reply.problem) == ('"ship"', "")
        # So small a one is no probability at all, but a number.
        assert reply.token_probabilities == (pytest.approx((0.5, 0)) if logprob == -9999 else ())
        assert bool(reply.token_ends) == bool(reply.token_probabilities)
    assert len(server.asked) == 1


def test_other_names_come_from_samples(server: LvlmServer) -> None:
    def speak(crop: Image, body: dict[str, Any]) -> Answer:
        if "n" not in body:
            return completion(Reply('"ship"'), body)
        assert (body["temperature"], body["n"]) == (1.0, 3)
        said = completion(Reply("x"), body)
        texts = ('"car"', '"boat"', '"boat"')
        said["choices"] = [{"message": {"content": text}} for text in texts]
        return said

    server.speaker = speak
    (reply,) = remote_namer(server, alternatives=3).reply(some_crops(1), PAPER)
    assert reply.text == '"ship"'
    assert [other.text for other in reply.others] == ['"boat"', '"car"']
    assert (reply.counts["requests"], reply.counts["completion_tokens"]) == (2, 40)
    # A reply that holds alternatives needs no samples; a server without `n` gives none.
    (reply,) = remote_namer(server, alternatives=3).reply(some_crops(1), load_template("json"))
    assert reply.counts["requests"] == 1

    def without_n(crop: Image, body: dict[str, Any]) -> Answer:
        return HttpError(400, "n must be 1") if "n" in body else by_digest(crop, body)

    server.speaker = without_n
    (reply,) = remote_namer(server, alternatives=3).reply(some_crops(1), PAPER)
    assert (reply.others, reply.problem, reply.counts["samples_missing"]) == ((), "", 1)


def test_settings_that_cannot_be_right(server: LvlmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("localhost:8000/v1", "ftp://host/v1", "http://", "http://[::1/v1"):
        with pytest.raises(ConfigError, match=r"classify\.remote\.base_url"):
            remote_namer(server, base_url=url)
    with pytest.raises(ConfigError, match="a user, a password or a query in it") as caught:
        remote_namer(server, base_url="http://me:hush@host/v1")
    assert "hush" not in str(caught.value)
    for url in ("ftp://me:hush@host/v1", "me:hush@host/v1", "https://host/v1?api-key=hush"):
        with pytest.raises(ConfigError) as caught:
            remote_namer(server, base_url=url)
        assert "hush" not in str(caught.value)
    with pytest.raises(ConfigError, match="no price is set"):
        remote_namer(server, budget_usd=1.0)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ключ")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        remote_namer(server)
    assert "sk-" not in str(caught.value)


def test_nothing_is_logged_per_request(
    server: LvlmServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        list(remote_namer(server).reply(some_crops(3), PAPER))
    assert caplog.records == []
