"""Alerts: nobody is told by default; who is named gets a message."""

import asyncio
from collections.abc import Iterator
from email.message import Message
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from lae_airflow import alerts

from tests.mail_server import mail_server

RUN = {
    "dag_id": "lae_nightly",
    "run_id": "scheduled__1",
    "partition_key": "2026-11-22",
}


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Message]]:
    """What comes to the server that Airflow's connection names."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.org/")
    with mail_server() as server:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        yield server.came


def body(mail: Message) -> str:
    (part,) = [each for each in mail.walk() if not each.is_multipart()]
    return bytes(part.get_payload(decode=True)).decode()


def test_by_default_nobody_is_told() -> None:
    assert alerts.on_failure() == []
    assert alerts.deadlines() == []


def test_a_deadline_alone_tells_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__LAE__DEADLINE_MINUTES", "90")
    assert alerts.deadlines() == []


def test_a_failed_run_is_told_by_mail(mails: list[Message]) -> None:
    (notifier,) = alerts.on_failure()
    notifier({"dag_run": SimpleNamespace(**RUN)})
    (mail,) = mails
    assert mail["Subject"] == "lae_nightly 2026-11-22 failed"
    assert mail["To"] == "one@example.org, two@example.org"
    assert "https://airflow.example.org/dags/lae_nightly/runs/scheduled__1" in body(mail)


def test_a_late_run_is_told_by_mail(mails: list[Message], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__LAE__DEADLINE_MINUTES", "90")
    (alert,) = alerts.deadlines()
    assert alert.interval.total_seconds() == 5400
    # As the triggerer makes it, with what the scheduler knows of the run: plain values.
    notifier = SmtpNotifier(**alert.callback.kwargs)
    context = {"dag_run": {**RUN, "run_id": None, "dag_run_id": "manual__2", "partition_key": None}}
    asyncio.run(notifier.async_notify(notifier_context(notifier, context)))
    (mail,) = mails
    assert mail["Subject"] == "lae_nightly manual__2 is not done after 90 minutes"


def notifier_context(notifier: Any, context: Any) -> Any:
    notifier._update_context(context)
    notifier.render_template_fields(context)
    return context


def test_slack_is_told_by_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__LAE__ALERT_SLACK_CONN_ID", "lae_slack")
    (notifier,) = alerts.on_failure()
    assert notifier.slack_webhook_conn_id == "lae_slack"
    notifier_context(notifier, {"dag_run": SimpleNamespace(**RUN)})
    assert notifier.text.startswith("lae_nightly 2026-11-22 failed: ")
