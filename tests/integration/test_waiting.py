"""When `lae_review` goes on, with a real Label Studio: there are verdicts, and stewards pause."""

from tests.dags import airflow_home  # noqa: F401, I001  before anything of Airflow

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from airflow.sdk.execution_time.context import OutletEventAccessors
from lae_airflow.assets import VERDICTS
from lae_airflow.operators.review import CollectOperator, FollowUpOperator, VerdictsSensor
from lae_airflow.triggers.verdicts import CHANGED

from demo.stack.processes import free_port
from demo.stack.services import LabelStudioServer, S3Server
from lae_tasks.errors import TransientError
from lae_tasks.review.label_studio import LabelStudioReview
from tests.integration.desk import Desk

#: The first test waits for Label Studio to start.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def engine(
    desk: Desk,
    s3: S3Server,
    label_studio: LabelStudioServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The engine as Airflow's tasks find it."""
    config = tmp_path / "lae.yaml"
    review = desk.config.review.model_dump(mode="json")
    settings = {"preset": "demo", "raw": "s3://raw", "store": desk.store.uri, "review": review}
    config.write_text(json.dumps(settings))
    monkeypatch.setenv("LAE_CONFIG", str(config))
    connections: dict[str, dict[str, Any]] = {
        "S3": {
            "conn_type": "aws",
            "login": s3.key,
            "password": s3.secret,
            "extra": {
                "endpoint_url": s3.endpoint,
                "region_name": s3.region,
                "config_kwargs": {"s3": {"addressing_style": "path"}},
            },
        },
        "LABEL_STUDIO": {
            "conn_type": "label_studio",
            "host": label_studio.url,
            "password": label_studio.token,
        },
    }
    for name, fields in connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_LAE_{name}", json.dumps(fields))


def sensor(wait_s: float = 600, quiet_s: float = 3600) -> VerdictsSensor:
    return VerdictsSensor(task_id="wait", wait_s=wait_s, quiet_s=quiet_s)


def test_it_waits_for_verdicts_and_then_for_a_pause(desk: Desk) -> None:
    desk.push()
    latest = desk.client.latest_change(desk.project_id, None)
    with pytest.raises(TaskDeferred) as deferred:
        sensor().execute({})
    assert deferred.value.trigger.since == latest, "what is known already does not end the wait"
    with pytest.raises(AirflowSkipException):
        sensor(wait_s=0).execute({})

    desk.submit(desk.sent_results())
    with pytest.raises(TaskDeferred) as deferred:
        sensor().execute({})
    trigger = deferred.value.trigger
    assert desk.client.latest_change(desk.project_id, trigger.since), "the trigger sees the verdict"
    assert trigger.quiet_s == 3600

    # None of these raises: there is something to collect.
    sensor().resume({}, {"status": CHANGED}, **deferred.value.kwargs)
    sensor(quiet_s=0).execute({})
    sensor(wait_s=0).execute({})


def test_a_server_that_is_down_is_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    down = {"conn_type": "label_studio", "host": f"http://127.0.0.1:{free_port()}"}
    with monkeypatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_LAE_LABEL_STUDIO", json.dumps(down | {"password": "token"}))
        with pytest.raises(TaskDeferred) as deferred:
            sensor().execute({})
        with pytest.raises(AirflowSkipException):
            sensor(wait_s=0).execute({})
    # When it is up again and the trigger fires, the sensor looks once more.
    with pytest.raises(TaskDeferred):
        sensor().resume({}, {"status": CHANGED}, **deferred.value.kwargs)


def test_verdicts_are_told_of_though_nobody_else_can_be_asked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.push()
    desk.submit(desk.sent_results(), "rest-unchecked")

    def down(*_: Any) -> Any:
        raise TransientError("it does not answer")

    context: Any = {"ti": SimpleNamespace(try_number=1), "outlet_events": OutletEventAccessors()}
    with monkeypatch.context() as patch:
        patch.setattr(LabelStudioReview, "progress", down)
        patch.setattr(LabelStudioReview, "ask_more", down)
        uri = CollectOperator(task_id="collect", outlets=[VERDICTS]).execute(context)
        with pytest.raises(TransientError):
            FollowUpOperator(task_id="follow_up").execute(context)
    assert uri and desk.state.verdicts
    assert context["outlet_events"][VERDICTS].partition_keys
    # Another run finds nothing to collect, and asks.
    assert FollowUpOperator(task_id="follow_up").execute(context) == 1
    assert FollowUpOperator(task_id="follow_up").execute(context) == 0


def test_a_task_that_somebody_deletes_just_now_keeps_nobody_from_being_asked(desk: Desk) -> None:
    desk.push()
    (task,) = desk.tasks()
    gone = task.id + 1_000_000
    desk.client.ask_more(desk.project_id, {gone: 2, task.id: 2})
    assert desk.sdk.tasks.get(id=task.id).overlap == 2
