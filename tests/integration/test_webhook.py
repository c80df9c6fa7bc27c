"""The project's webhook in a real Label Studio: made, changed, removed, and what it sends."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from demo.stack.services import LabelStudioServer
from lae_tasks.errors import ConfigError
from lae_tasks.review.label_studio import LabelStudioReview
from lae_tasks.review.webhook import ACTIONS, SECRET_HEADER, Webhook, ensure_webhook
from tests.integration.desk import Desk

#: The first test waits for Label Studio to start.
pytestmark = pytest.mark.timeout(600)

#: Nothing needs to listen there.
URL = "http://127.0.0.1:9/lae/label-studio"


@contextmanager
def receiver() -> Iterator[tuple[str, list[tuple[str | None, Any]]]]:
    """An address, and the secret and body of whatever is posted there."""
    received: list[tuple[str | None, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append((self.headers[SECRET_HEADER], body))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/lae/label-studio", received
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def push(desk: Desk, label_studio: LabelStudioServer) -> Iterator[Any]:
    """Pushes as Airflow does, with a URL and a secret."""
    with ExitStack() as stack:

        def push(url: str, secret: str | None) -> list[Any]:
            webhook = None if secret is None else Webhook(url, secret)
            client = LabelStudioReview(label_studio.url, label_studio.token, webhook)
            desk.client = stack.enter_context(client)
            desk.push()
            return hooks(desk)

        yield push


def hooks(desk: Desk) -> list[Any]:
    """The engine's webhooks of the project."""
    known = desk.sdk.webhooks.list(project=str(desk.project_id))
    return [hook for hook in known if SECRET_HEADER in hook.headers]


def test_it_is_made_once_and_kept_up_to_date(desk: Desk, push: Any) -> None:
    (first,) = push(URL, "first")
    assert (first.url, first.headers, first.project) == (
        *(URL, {SECRET_HEADER: "first"}),
        desk.project_id,
    )
    assert push(URL, "first") == [first], "not even touched"

    def now(hooks: list[Any]) -> list[tuple[Any, ...]]:
        return [(hook.id, hook.url, hook.headers, hook.is_active) for hook in hooks]

    other = URL.replace("lae", "airflow/lae")
    assert now(push(URL, "second")) == [(first.id, URL, {SECRET_HEADER: "second"}, True)]
    assert now(push(other, "second")) == [(first.id, other, {SECRET_HEADER: "second"}, True)]
    desk.sdk.webhooks.update(id=first.id, is_active=False, actions=["TASKS_CREATED"])
    desk.sdk.webhooks.create(url=URL, project=desk.project_id, headers={SECRET_HEADER: "second"})
    (again,) = push(other, "second")
    assert now([again]) == [(first.id, other, {SECRET_HEADER: "second"}, True)]
    assert sorted(again.actions) == sorted(ACTIONS)


@pytest.mark.parametrize(
    ("url", "secret", "lacks"), [("", "secret", "webhook_url"), (URL, "", "webhook_secret")]
)
def test_without_either_it_is_removed_and_those_of_others_stay(
    desk: Desk,
    push: Any,
    caplog: pytest.LogCaptureFixture,
    url: str,
    secret: str,
    lacks: str,
) -> None:
    assert push(url, secret) == [], "there is none yet"
    caplog.clear()
    others = desk.sdk.webhooks.create(url=URL, project=desk.project_id, headers={"X-Mine": "1"})
    assert len(push(URL, "secret")) == 1
    assert len(push("", None)) == 1, "by the command line, which does not know the secret"
    assert "no webhook" not in caplog.text
    assert push(url, secret) == []
    assert f"lacks {lacks}" in caplog.text
    left = desk.sdk.webhooks.list(project=str(desk.project_id))
    assert [hook.id for hook in left] == [others.id]


def test_without_both_there_is_none_and_nothing_to_say(
    push: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert push("", "") == []
    assert "webhook" not in caplog.text


@pytest.mark.parametrize(
    ("url", "secret", "why"),
    [
        ("http://airflow:8080/", "secret", r"of project \d+ to http://airflow:8080/: HTTP 400"),
        ("http://169.254.7.7/", "secret", r"of project \d+ to http://169.254.7.7/: HTTP 403"),
        (URL, "geheim…", "webhook_secret, .* not printable ASCII"),
    ],
)
def test_one_that_cannot_be_made_fails_a_push_that_has_done_all_else(
    desk: Desk, push: Any, url: str, secret: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=why) as raised:
        push(url, secret)
    assert secret == "secret" or secret not in str(raised.value)
    desk.project_id = desk.client.find_project(desk.config.review.project) or 0
    assert len(desk.tasks()) == 1
    assert hooks(desk) == []


def test_another_push_may_be_first(desk: Desk, push: Any) -> None:
    push(URL, "secret")
    for _ in range(2):
        desk.sdk.webhooks.create(url=URL, project=desk.project_id, headers={SECRET_HEADER: "old"})

    class AnotherIsFirst:
        """Label Studio's webhooks, of which another push removes each before this one can."""

        def __getattr__(self, name: str) -> Any:
            return getattr(desk.sdk.webhooks, name)

        def delete(self, id: int) -> None:
            desk.sdk.webhooks.delete(id=id)
            desk.sdk.webhooks.delete(id=id)

        def update(self, id: int, **wanted: Any) -> None:
            desk.sdk.webhooks.delete(id=id)
            desk.sdk.webhooks.update(id=id, **wanted)

    ensure_webhook(AnotherIsFirst(), desk.project_id, Webhook(URL, "secret"))
    assert len(hooks(desk)) == 1
    ensure_webhook(AnotherIsFirst(), desk.project_id, Webhook(URL, "new"))
    assert hooks(desk) == []
    assert len(push(URL, "new")) == 1, "the next push makes it again"


def test_what_stewards_do_is_told_without_saying_what(desk: Desk, push: Any) -> None:
    with receiver() as (url, received):
        push(url, "secret")
        assert received == [], "what the engine sends is no news"
        annotation_id = desk.submit(desk.sent_results())
        desk.sdk.annotations.update(id=annotation_id, result=desk.sent_results())
        desk.sdk.annotations.delete(id=annotation_id)
        assert desk.collect()[0] is None
    assert received == [("secret", {"action": action}) for action in ACTIONS]
