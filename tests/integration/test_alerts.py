"""A real Airflow mails of runs that fail and of runs that are late, where its settings say so."""

import time
from pathlib import Path

import pytest
import yaml

from demo.stack.processes import free_port
from demo.stack.services import LabelStudioServer, S3Server
from tests.integration.airflow_stack import airflow_server
from tests.mail_server import mail_server

pytestmark = pytest.mark.timeout(600)


def test_failed_and_late_runs_are_mailed(tmp_path: Path) -> None:
    def mailed(subject: str, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if any(mail["Subject"] == subject for mail in server.came):
                return True
            time.sleep(1)
        return False

    config = tmp_path / "lae.yaml"
    settings = {
        "preset": "demo",
        "raw": "s3://nowhere/raw",
        "store": "s3://nowhere/store",
        "segment": {"checkpoint": "no-such-model.safetensors"},  # a night fails at once
    }
    config.write_text(yaml.safe_dump(settings))
    # Nobody answers there: a release tries again and again.
    nobody = f"http://127.0.0.1:{free_port()}"
    s3 = S3Server(nobody, "key", "secret", "us-east-1", tmp_path)
    studio = LabelStudioServer(nobody, "token", "a@example.org", "password", tmp_path)
    with mail_server() as server:
        env = server.env | {"AIRFLOW__LAE__DEADLINE_MINUTES": "1"}
        with airflow_server(tmp_path / "state", config, s3, studio, env) as airflow:
            failed = airflow.api.trigger("lae_nightly", "2025-11-22")
            late = airflow.api.trigger("lae_release", "2025-11-22")
            for dag_id in ("lae_nightly", "lae_release"):
                airflow.api.unpause(dag_id)
            assert airflow.wait_for(failed, 120)["state"] == "failed"
            assert mailed("lae_nightly 2025-11-22 failed", 60), airflow.logs()
            assert mailed("lae_release 2025-11-22 is not done after 1 minutes", 180), airflow.logs()
            assert airflow.api.run("lae_release", late["dag_run_id"])["state"] == "running"
            assert {mail["To"] for mail in server.came} == {"one@example.org, two@example.org"}
