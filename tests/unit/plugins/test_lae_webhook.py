"""The webhook's receiver, on Airflow's real database with the real DAGs."""

import hmac
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.asset import AssetDagRunQueue, AssetEvent
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.utils import db
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunType
from fastapi.testclient import TestClient
from lae_airflow import webhook
from lae_airflow.plugin import LaePlugin
from lae_airflow.webhook import IGNORED, MAX_BODY_BYTES, NOT_NEEDED, WOKEN
from sqlalchemy import delete, select, update

from lae_tasks.review.webhook import ACTIONS, SECRET_HEADER
from tests.dags import airflow_home

SECRET = "what-only-label-studio-knows"
KNOWN = {SECRET_HEADER: SECRET}
HINT = {"action": "ANNOTATION_CREATED"}


@pytest.fixture(scope="module")
def database() -> None:
    db.initdb()
    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(airflow_home.ENV["AIRFLOW__CORE__DAGS_FOLDER"])
    sync_bag_to_db(bag, "dags-folder", None)


@pytest.fixture
def client(database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The app as the plugin gives it to Airflow; `lae_review` runs, and no hint came yet."""
    connection = {"conn_type": "label_studio", "extra": {"webhook_secret": f"{SECRET}\n"}}
    monkeypatch.setenv("AIRFLOW_CONN_LAE_LABEL_STUDIO", json.dumps(connection))
    with create_session() as session:
        session.execute(delete(AssetDagRunQueue))
        session.execute(delete(AssetEvent))
        session.execute(delete(DagRun))
        session.execute(update(DagModel).values(is_paused=False))
    (mounted,) = LaePlugin.fastapi_apps
    with TestClient(mounted["app"]) as client:
        yield client


def send(client: TestClient, headers: dict[str, str] = KNOWN, **kwargs: Any) -> tuple[int, Any]:
    answer = client.post("/label-studio", headers=headers, **({"json": HINT} | kwargs))
    return answer.status_code, answer.json()


def waking() -> tuple[list[str], list[Any]]:
    """The DAGs that are to start, and what the events say."""
    with create_session() as session:
        queued = list(session.scalars(select(AssetDagRunQueue.target_dag_id)))
        return queued, list(session.scalars(select(AssetEvent.extra)))


@pytest.mark.parametrize("action", ACTIONS)
def test_a_hint_starts_the_review(client: TestClient, action: str) -> None:
    assert send(client, json={"action": action}) == (202, {"result": WOKEN})
    assert waking() == (["lae_review"], [{"action": action}])


def test_a_webhook_made_by_hand_may_send_everything(client: TestClient) -> None:
    body = HINT | {
        "annotation": {"id": 7, "result": [{"value": {"rle": [0] * 100_000}}]},
        "task": {"id": 3},
        "project": {"id": 5, "title": "another"},
    }
    assert send(client, json=body) == (202, {"result": WOKEN})


def test_many_hints_make_one_start(client: TestClient) -> None:
    results = [send(client)[1]["result"] for _ in range(4)]
    assert results == [WOKEN, NOT_NEEDED, NOT_NEEDED, NOT_NEEDED]
    queued, events = waking()
    assert (queued, len(events)) == (["lae_review"], 1)


def test_a_paused_review_is_not_woken(client: TestClient) -> None:
    with create_session() as session:
        session.execute(update(DagModel).values(is_paused=True))
    assert send(client) == (202, {"result": NOT_NEEDED})
    assert waking() == ([], [])


@pytest.mark.parametrize(
    ("state", "minutes_ago", "result"),
    [
        (DagRunState.FAILED, 1, NOT_NEEDED),
        (DagRunState.FAILED, 6, WOKEN),
        (DagRunState.SUCCESS, 1, WOKEN),
        (DagRunState.RUNNING, 1, WOKEN),
    ],
)
def test_a_review_that_fails_is_tried_again_by_the_clock_only(
    client: TestClient, state: DagRunState, minutes_ago: int, result: str
) -> None:
    with create_session() as session:
        run = DagRun(dag_id="lae_review", run_id="before", run_type=DagRunType.SCHEDULED)
        run._state = state
        run.end_date = datetime.now(UTC) - timedelta(minutes=minutes_ago)
        session.add(run)
    assert send(client) == (202, {"result": result})


def test_what_is_no_work_of_stewards_does_nothing(client: TestClient) -> None:
    assert send(client, json={"action": "TASKS_CREATED"}) == (202, {"result": IGNORED})
    assert waking() == ([], [])


@pytest.mark.parametrize(
    "headers",
    [{}, {SECRET_HEADER: ""}, {SECRET_HEADER: SECRET[:-1]}, {SECRET_HEADER: f"{SECRET}é"}],
)
def test_who_does_not_know_the_secret_is_refused(
    client: TestClient, headers: dict[str, str]
) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    # What they send is not even read.
    status, body = send(client, headers=encoded, json=None, content=b"x" * (MAX_BODY_BYTES + 1))
    assert status == 401
    assert SECRET not in json.dumps(body)
    assert waking() == ([], [])


@pytest.mark.parametrize("extra", [{}, {"webhook_secret": ""}, {"webhook_secret": " \n"}])
@pytest.mark.parametrize("given", ["", SECRET, " "])
def test_without_a_secret_everybody_is_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], given: str
) -> None:
    connection = {"conn_type": "label_studio", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_LAE_LABEL_STUDIO", json.dumps(connection))
    assert send(client, {SECRET_HEADER: given})[0] == 401
    monkeypatch.delenv("AIRFLOW_CONN_LAE_LABEL_STUDIO")
    assert send(client, {SECRET_HEADER: given})[0] == 401


@pytest.mark.parametrize("secret", ["pässwort", "geheim…", "two\nlines"])
def test_with_a_secret_that_no_header_holds_everybody_is_refused_and_the_log_says_why(
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    secret: str,
) -> None:
    connection = {"conn_type": "label_studio", "extra": {"webhook_secret": secret}}
    monkeypatch.setenv("AIRFLOW_CONN_LAE_LABEL_STUDIO", json.dumps(connection))
    encoded: Any = {SECRET_HEADER: secret.encode()}
    assert send(client, encoded)[0] == 401
    assert "not printable ASCII" in caplog.text
    assert secret not in caplog.text


def test_secrets_are_compared_in_constant_time_and_not_logged(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    compared = []
    compare_digest = hmac.compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return compare_digest(a, b)

    monkeypatch.setattr(webhook.hmac, "compare_digest", spy)
    assert send(client)[0] == 202
    assert send(client, {SECRET_HEADER: "guessed"})[0] == 401
    assert compared == [(SECRET.encode(), SECRET.encode()), (b"guessed", SECRET.encode())]
    assert "ANNOTATION_CREATED: woken" in caplog.text
    assert SECRET not in caplog.text


def test_what_is_too_large_is_refused_whatever_it_says_of_its_length(client: TestClient) -> None:
    body = json.dumps(HINT | {"task": "x" * MAX_BODY_BYTES}).encode()
    chunks = (body[i : i + 65536] for i in range(0, len(body), 65536))  # without Content-Length
    assert send(client, json=None, content=body)[0] == 413
    assert send(client, json=None, content=chunks)[0] == 413
    assert (
        send(client, json=None, content=b"{}", headers=KNOWN | {"content-length": "9" * 20})[0]
        == 413
    )
    fits = json.dumps(HINT).encode().ljust(MAX_BODY_BYTES)
    assert send(client, json=None, content=fits)[0] == 202


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"action": null}',
        b'{"action": "annotation created"}',
        b'{"action": "A\\nB"}',
        b"[" * 100_000,
    ],
    ids=lambda body: body[:40],
)
def test_what_is_no_hint_is_refused(client: TestClient, body: bytes) -> None:
    status, answer = send(client, json=None, content=body)
    assert status == 422
    assert answer["detail"][0]["msg"]
    assert waking() == ([], [])


def test_there_is_nothing_else(client: TestClient) -> None:
    assert client.get("/label-studio", headers=KNOWN).status_code == 405
    for path in ("/", "/docs", "/openapi.json", "/label-studio/x"):
        assert client.get(path, headers=KNOWN).status_code == 404, path
