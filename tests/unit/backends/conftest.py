"""A server that names, for the tests of those who ask it."""

from collections.abc import Iterator

import pytest

from tests.lvlm_server import LvlmServer, by_digest, lvlm_server


@pytest.fixture
def server() -> Iterator[LvlmServer]:
    with lvlm_server(by_digest) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
