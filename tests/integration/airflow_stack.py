"""A real Airflow on a free port: scheduler, DAG processor, triggerer and API server."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from demo.stack.airflow_api import AirflowApi
from demo.stack.processes import free_port, start_service, stop, tail, wait_until
from demo.stack.services import LabelStudioServer, S3Server
from demo.stack.settings import REPO, Settings, load

SERVICES = (
    "airflow-api-server",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
)
DAGS = {"lae_nightly", "lae_release", "lae_review"}
OVER = {"success", "failed"}


@dataclass(frozen=True)
class Airflow:
    """A running Airflow.

    Attributes:
        scheduler: Parent of the processes that run tasks.
    """

    settings: Settings
    api: AirflowApi
    scheduler: psutil.Process

    def wait_for_run(self, dag_id: str, key: str, timeout_s: float) -> dict[str, Any]:
        """The finished run of a DAG for a partition key; the newest, if there are several."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if runs := self.api.runs(dag_id, key):
                return self.wait_for(runs[0], deadline - time.monotonic())
            time.sleep(1)
        raise AssertionError(f"no run of {dag_id} {key} within {timeout_s} s\n{self.logs()}")

    def wait_for_first_run(
        self, dag_id: str, timeout_s: float, run_type: str = "scheduled"
    ) -> dict[str, Any]:
        """The first run of a DAG that the scheduler makes by the clock, or `asset_triggered`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            query = {"order_by": "run_after", "limit": 1, "run_type": run_type}
            found = self.api._call("GET", f"/dags/{dag_id}/dagRuns", params=query)["dag_runs"]
            if found:
                run: dict[str, Any] = found[0]
                return run
            time.sleep(1)
        raise AssertionError(f"no {run_type} run of {dag_id} within {timeout_s} s\n{self.logs()}")

    def started_by(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """What the events said that a run was started by."""
        path = f"/dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}/upstreamAssetEvents"
        return [event["extra"] for event in self.api._call("GET", path)["asset_events"]]

    def wait_for(self, run: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """A run, once it has finished."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            now = self.api.run(run["dag_id"], run["dag_run_id"])
            if now["state"] in OVER:
                return now
            time.sleep(1)
        raise AssertionError(f"{run['dag_run_id']} did not end within {timeout_s} s\n{self.logs()}")

    def states(self, run: dict[str, Any]) -> dict[tuple[str, int], str]:
        """The state of each task of a run, by task id and map index."""
        tasks = self.api.tasks(run["dag_id"], run["dag_run_id"])
        return {(task["task_id"], task["map_index"]): task["state"] for task in tasks}

    def wait_for_task(
        self, run: dict[str, Any], task_id: str, state: str, timeout_s: float
    ) -> dict[str, Any]:
        """A run's task, once it is in a state."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for task in self.api.tasks(run["dag_id"], run["dag_run_id"]):
                if task["task_id"] == task_id and task["state"] == state:
                    return task
            time.sleep(0.2)
        raise AssertionError(f"{task_id} was not {state} within {timeout_s} s\n{self.logs()}")

    def process_of(self, task: dict[str, Any], timeout_s: float = 30) -> psutil.Process:
        """The process that runs a task."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for process in self.scheduler.children(recursive=True):
                try:
                    if f"airflow worker -- {task['id']}" in " ".join(process.cmdline()):
                        return process
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.1)
        raise AssertionError(f"no process runs {task['task_id']}")

    def logs(self) -> str:
        """The end of the services' logs and of the latest tasks', for a failed test's message."""
        logs = [*self.settings.logs.glob("airflow*.log")]
        attempts = (self.settings.airflow_home / "logs").rglob("attempt=*.log")
        logs += sorted(attempts, key=lambda log: log.stat().st_mtime)[-10:]
        return "\n".join(f"--- {log}\n{tail(log, 12)}" for log in logs)


@contextmanager
def airflow_server(
    folder: Path, config: Path, s3: S3Server, studio: LabelStudioServer, env: dict[str, str]
) -> Iterator[Airflow]:
    """Runs Airflow as the Procfile does, on the S3 and Label Studio that are given.

    Args:
        folder: Where it keeps its database and logs.
        config: The engine's settings.
        s3: For the connection `lae_s3`.
        studio: For the connection `lae_label_studio`.
        env: More variables for its services.
    """
    settings = load(
        folder,
        config=config,
        airflow_port=free_port(),
        s3_port=urlsplit(s3.endpoint).port,
        label_studio_port=urlsplit(studio.url).port,
    )
    secrets = replace(
        settings.secrets, s3_key=s3.key, s3_secret=s3.secret, label_studio_token=studio.token
    )
    settings = replace(settings, secrets=secrets)
    settings.save()
    subprocess.run(
        [sys.executable, "-m", "demo.stack.airflow_init"],
        cwd=REPO,
        env=settings.stack_env() | env,
        check=True,
        capture_output=True,
        timeout=120,
    )
    with ExitStack() as stack:
        started = datetime.now(UTC)
        processes = {}
        for name in SERVICES:
            process = start_service(name, settings, env)
            processes[name] = psutil.Process(process.pid)
            stack.callback(process.wait, timeout=30)
            stack.callback(stop, [processes[name]])
        api = AirflowApi(settings)
        stack.callback(api._http.close)
        airflow = Airflow(settings, api, processes["airflow-scheduler"])
        wait_until(lambda: _beats(api, started), "Airflow", 180, log=settings.logs)
        wait_until(lambda: api.dag_ids() >= DAGS, "the DAGs", 120, log=settings.logs)
        yield airflow


def _beats(api: AirflowApi, since: datetime) -> bool:
    try:
        beats = api.health()
    except httpx.TransportError:
        return False
    return bool(beats) and all(beat is not None and beat > since for beat in beats.values())


def lae(*arguments: str, env: dict[str, str]) -> str:
    """Runs the command line and returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "lae_tasks", *arguments],
        cwd=REPO,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
