"""Who is told when a run fails or is late: nobody, unless Airflow's settings name somebody.

    [lae]
    alert_emails = oncall@example.org, team@example.org   # through the connection `smtp_default`
    alert_slack_conn_id = lae_slack                       # of type `slackwebhook`
    deadline_minutes = 480                                # a run that takes longer is late

As environment variables they are `AIRFLOW__LAE__ALERT_EMAILS` and so on; they are read with the
DAGs. A run that failed makes one message, not one for each of its tasks.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.configuration import conf

# Airflow's stub of `airflow.sdk` lacks these.
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from lae_airflow.defaults import CONFIG_SECTION

if TYPE_CHECKING:
    from airflow.sdk.bases.notifier import BaseNotifier

# A failed run is told by Airflow's own objects, a late one by plain values: both have these.
_RUN_ID = "{{ dag_run.run_id or dag_run.dag_run_id }}"
_RUN = "{{ dag_run.dag_id }} {{ dag_run.partition_key or dag_run.run_id or dag_run.dag_run_id }}"


def on_failure() -> list[BaseNotifier]:
    """Notifiers for a DAG's `on_failure_callback`; none by default."""
    return [notifier(**how) for notifier, how in _notifiers("failed")]


def deadlines() -> list[DeadlineAlert]:
    """What tells of a run that takes too long, for a DAG's `deadline`; none by default."""
    minutes = conf.getint(CONFIG_SECTION, "deadline_minutes", fallback=0)
    if minutes <= 0:
        return []
    return [
        DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(minutes=minutes),
            callback=AsyncCallback(notifier, how),
        )
        for notifier, how in _notifiers(f"is not done after {minutes} minutes")
    ]


def _notifiers(what: str) -> list[tuple[type[BaseNotifier], dict[str, Any]]]:
    """The classes of notifiers that the settings ask for, and what to make them with."""
    found: list[tuple[type[BaseNotifier], dict[str, Any]]] = []
    base_url = conf.get("api", "base_url", fallback="").rstrip("/")
    link = f"{base_url}/dags/{{{{ dag_run.dag_id }}}}/runs/{_RUN_ID}"
    emails = conf.get(CONFIG_SECTION, "alert_emails", fallback="")
    if to := [each.strip() for each in emails.split(",") if each.strip()]:
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        text = f'<p>{_RUN} {what}.</p><p><a href="{link}">{link}</a></p>'
        found.append((SmtpNotifier, {"to": to, "subject": f"{_RUN} {what}", "html_content": text}))
    if conn_id := conf.get(CONFIG_SECTION, "alert_slack_conn_id", fallback=""):
        from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

        text = f"{_RUN} {what}: {link}"
        found.append((SlackWebhookNotifier, {"slack_webhook_conn_id": conn_id, "text": text}))
    return found
