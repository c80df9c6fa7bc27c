"""When `lae_review` goes on, with a real Label Studio: there are verdicts, and stewards pause."""

from tests.dags import airflow_home  # noqa: F401, I001  before anything of Airflow

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from lae_airflow.operators.review import VerdictsSensor
from lae_airflow.triggers.verdicts import CHANGED

from demo.stack.services import LabelStudioServer, S3Server
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
