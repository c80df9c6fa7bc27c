"""The few calls to Airflow's REST API that the demo makes."""

from __future__ import annotations

import time
from datetime import datetime
from functools import cached_property
from typing import Any

import httpx

from demo.stack.settings import AIRFLOW_USER, Settings

#: Airflow's components on SQLite lock one another out now and then; that passes.
_ATTEMPTS = 5


class AirflowError(Exception):
    """Airflow refused a call, or did not answer."""


class AirflowApi:
    """A client of one Airflow, logged in as its administrator."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http = httpx.Client(base_url=settings.airflow_url, trust_env=False, timeout=30)

    @cached_property
    def _authorization(self) -> dict[str, str]:
        login = {
            "username": AIRFLOW_USER,
            "password": self._settings.secrets.airflow_password,
        }
        answer = self._send("POST", "/auth/token", headers={}, json=login)
        return {"Authorization": f"Bearer {answer['access_token']}"}

    def _send(self, method: str, path: str, **kwargs: Any) -> Any:
        problem = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(attempt)
            try:
                response = self._http.request(method, path, **kwargs)
            except httpx.TransportError as error:
                problem = str(error)
                continue
            if response.is_success:
                return response.json()
            problem = f"{response.status_code} {response.text[:300]}"
            if response.is_client_error:
                break
        raise AirflowError(f"{method} {path}: {problem}")

    def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        return self._send(method, f"/api/v2{path}", headers=self._authorization, **kwargs)

    def health(self) -> dict[str, datetime | None]:
        """When each component was last heard of: scheduler, triggerer and dag_processor.

        Raises:
            httpx.TransportError: The API server does not listen (yet).
        """
        answer = self._http.get("/api/v2/monitor/health")
        if not answer.is_success:
            return {}
        body = answer.json()
        beats = {
            name: (body.get(name) or {}) for name in ("scheduler", "triggerer", "dag_processor")
        }
        return {
            name: datetime.fromisoformat(beat[f"latest_{name}_heartbeat"])
            if beat.get("status") == "healthy"
            else None
            for name, beat in beats.items()
        }

    def dag_ids(self) -> set[str]:
        """The DAGs that Airflow has read."""
        return {dag["dag_id"] for dag in self._call("GET", "/dags?limit=200")["dags"]}

    def import_errors(self) -> list[str]:
        """What is wrong with DAG files, a line each."""
        errors = self._call("GET", "/importErrors")["import_errors"]
        return [f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}" for e in errors]

    def next_scheduled(self, dag_id: str) -> datetime | None:
        """When the schedule runs a DAG next; in the past if that run is due but not made yet."""
        when = self._call("GET", f"/dags/{dag_id}")["next_dagrun_run_after"]
        return datetime.fromisoformat(when) if when else None

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run a DAG."""
        self._call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def runs(self, dag_id: str, partition_key: str) -> list[dict[str, Any]]:
        """The runs of a DAG for one key, the newest first."""
        query = {
            "order_by": "-run_after",
            "limit": 100,
            "partition_key_prefix_pattern": partition_key,
        }
        found = self._call("GET", f"/dags/{dag_id}/dagRuns", params=query)["dag_runs"]
        return [run for run in found if run["partition_key"] == partition_key]

    def trigger(self, dag_id: str, partition_key: str) -> dict[str, Any]:
        """Start a run of a DAG for a key."""
        body = {"logical_date": None, "conf": {}, "partition_key": partition_key}
        run: dict[str, Any] = self._call("POST", f"/dags/{dag_id}/dagRuns", json=body)
        return run

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One run as it is now."""
        run: dict[str, Any] = self._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
        return run

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run, mapped ones each for itself."""
        found: list[dict[str, Any]] = []
        while True:
            query = {"limit": 100, "offset": len(found)}
            page = self._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params=query)
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found
