"""Crops that a server has no reply to: which it refuses, or answers with what is no completion."""

from pathlib import Path
from typing import Any

import pytest

from lae_tasks.backends.protocols import Image
from lae_tasks.errors import ConfigError
from lae_tasks.journal import Journal
from lae_tasks.prompt_template import load_template
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


def test_a_server_that_refuses_every_crop_ends_it_and_is_asked_again_later(
    server: LvlmServer, tmp_path: Path
) -> None:
    server.speaker = lambda *_: HttpError(400, "demo is not a multimodal model")
    images, store = some_crops(40), LocalStorage(tmp_path)
    with Journal(store, "replies/") as journal, pytest.raises(ConfigError) as caught:
        list(remote_namer(server).for_shard(journal, 1.0).reply(images, PAPER))
    assert "refuses every crop" in str(caught.value)
    assert "not a multimodal model" in str(caught.value)
    assert len(server.asked) < 40
    server.speaker = by_digest
    with Journal(store, "replies/") as journal:
        replies = list(remote_namer(server).for_shard(journal, 1.0).reply(images, PAPER))
    assert [reply.text for reply in replies] == expected(images)


def test_replies_of_an_earlier_attempt_tell_that_the_server_does_answer(
    server: LvlmServer, tmp_path: Path
) -> None:
    images, store = some_crops(20), LocalStorage(tmp_path)
    with Journal(store, "replies/") as journal:
        list(remote_namer(server).for_shard(journal, 1.0).reply(images[17:], PAPER))
    server.speaker = lambda *_: HttpError(400, "our policy forbids this")
    with Journal(store, "replies/") as journal:
        replies = list(remote_namer(server).for_shard(journal, 1.0).reply(images, PAPER))
    assert [reply.problem for reply in replies[:17]] == ["HTTP 400: our policy forbids this"] * 17
    assert [reply.text for reply in replies[17:]] == expected(images[17:])
