"""Paying a server: a budget is kept to, and what was paid for is not asked again."""

import time
from pathlib import Path
from typing import Any

import pytest

from lae_tasks.backends.protocols import Image
from lae_tasks.errors import BudgetSpentError, ConfigError
from lae_tasks.naming.journal import Journal
from lae_tasks.naming.prompt_template import PromptTemplate, load_template
from lae_tasks.storage import LocalStorage
from tests.lvlm_server import (
    Answer,
    HttpError,
    LvlmServer,
    by_digest,
    digest_of_crop,
    expected,
    remote_namer,
    some_crops,
)

PAPER = load_template("lae_paper")


# 100 and 10 tokens of each answer of the server: 1,200 millionths of a dollar.
PRICES = {"usd_per_million_prompt_tokens": 10.0, "usd_per_million_completion_tokens": 20.0}


def test_a_budget_stops_and_a_larger_one_goes_on(server: LvlmServer, tmp_path: Path) -> None:
    store, images = LocalStorage(tmp_path), some_crops(40)
    small = remote_namer(server, budget_usd=0.0243 * 2, **PRICES)
    with (
        pytest.raises(BudgetSpentError, match=r"20 crops .* 0\.0240 USD.*0\.0243 USD.* run again"),
        Journal(store, "replies/a/") as journal,
    ):
        list(small.for_shard(journal, 0.5).reply(images, PAPER))
    assert sum(server.answered.values()) == len(server.asked) == 20
    for _ in range(2):  # without more money nothing is asked
        with pytest.raises(BudgetSpentError), Journal(store, "replies/a/") as journal:
            list(small.for_shard(journal, 0.5).reply(images, PAPER))
    assert len(server.asked) == 20
    large = remote_namer(server, budget_usd=1.0, **PRICES)
    with Journal(store, "replies/a/") as journal:
        replies = list(large.for_shard(journal, 0.5).reply(images, PAPER))
    assert [reply.text for reply in replies] == expected(images)
    assert len(server.asked) == 40
    assert sum(reply.counts["cost_microusd"] for reply in replies) == 40 * 1200
    assert sum(reply.counts.get("replies_kept", 0) for reply in replies) == 20


def test_a_budget_holds_while_the_price_is_not_known(server: LvlmServer, tmp_path: Path) -> None:
    with (
        pytest.raises(BudgetSpentError, match="1 crops"),
        Journal(LocalStorage(tmp_path), "replies/a/") as journal,
    ):
        poor = remote_namer(server, budget_usd=0.0001, **PRICES)
        list(poor.for_shard(journal, 1.0).reply(some_crops(30), PAPER))
    assert len(server.asked) == 1


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": None, "completion_tokens": None}])
def test_a_server_that_tells_no_usage_cannot_keep_to_a_budget(
    server: LvlmServer, tmp_path: Path, usage: dict[str, Any] | None
) -> None:
    server.speaker = lambda *_: {"choices": [{"message": {"content": "x"}}], "usage": usage}
    assert [r.text for r in remote_namer(server).reply(some_crops(2), PAPER)] == ["x", "x"]
    with (
        pytest.raises(ConfigError, match="no `usage`"),
        Journal(LocalStorage(tmp_path), "replies/a/") as journal,
    ):
        limited = remote_namer(server, budget_usd=1.0, **PRICES)
        list(limited.for_shard(journal, 1.0).reply(some_crops(9), PAPER))
    assert len(server.asked) == 3


def test_what_is_in_flight_when_one_crop_fails_is_kept(server: LvlmServer, tmp_path: Path) -> None:
    images = some_crops(30)

    def speak(crop: Image, body: dict[str, Any]) -> Answer:
        if digest_of_crop(crop) == digest_of_crop(images[3]):
            time.sleep(0.1)
            return HttpError(401, "who are you?")
        time.sleep(0.3)
        return by_digest(crop, body)

    server.speaker = speak
    store = LocalStorage(tmp_path)
    with pytest.raises(ConfigError), Journal(store, "replies/a/") as journal:
        list(remote_namer(server).for_shard(journal, 1.0).reply(images, PAPER))
    first = sum(server.answered.values())
    assert first >= 7
    server.speaker = by_digest
    with Journal(store, "replies/a/") as journal:
        replies = list(remote_namer(server).for_shard(journal, 1.0).reply(images, PAPER))
    assert [reply.text for reply in replies] == expected(images)
    assert set(server.answered.values()) == {1}


def test_other_settings_or_words_are_asked_anew(server: LvlmServer, tmp_path: Path) -> None:
    store, images = LocalStorage(tmp_path), some_crops(2)
    for number, (settings, template) in enumerate(
        [({}, PAPER), ({}, PromptTemplate("What is it?")), ({"temperature": 0.5}, PAPER)], 1
    ):
        with Journal(store, "replies/a/") as journal:
            list(remote_namer(server, **settings).for_shard(journal, 1.0).reply(images, template))
        assert len(server.asked) == 2 * number
    with Journal(store, "replies/a/") as journal:
        list(remote_namer(server, timeout_s=9.0).for_shard(journal, 1.0).reply(images, PAPER))
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"prompt_tokens": 100, "completion_tokens": None}, 1000),
        ({"prompt_tokens": None, "completion_tokens": 10}, 200),
        ({"prompt_tokens": 100}, 1000),
    ],
)
def test_a_number_that_is_null_is_none_spent(
    server: LvlmServer, tmp_path: Path, usage: dict[str, Any], cost: int
) -> None:
    server.speaker = lambda *_: {"choices": [{"message": {"content": "x"}}], "usage": usage}
    limited = remote_namer(server, budget_usd=1.0, **PRICES)
    with Journal(LocalStorage(tmp_path), "replies/a/") as journal:
        (reply,) = limited.for_shard(journal, 1.0).reply(some_crops(1), PAPER)
    assert (reply.text, reply.counts["cost_microusd"]) == ("x", cost)
