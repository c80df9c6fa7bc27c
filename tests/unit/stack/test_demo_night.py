"""What `make demo` asks of Airflow, and what it prints."""

import io
import json
from datetime import UTC, datetime

import pytest
from rich.console import Console

from demo.stack import demo
from demo.stack.processes import StackError
from demo.stack.settings import load

NIGHT = "2126-11-22"


class FakeAirflow:
    """Airflow with a list of runs; a new run ends at once in the state that it is told."""

    def __init__(self, ends_as="success"):
        self.ends_as = ends_as
        self.all_runs = []
        self.triggered = []

    def add(self, dag_id, state, key=NIGHT):
        number = len(self.all_runs)
        run = {"dag_id": dag_id, "dag_run_id": f"r{number}", "partition_key": key}
        run |= {"state": state, "queued_at": f"2126-11-23T03:00:{number:02d}Z"}
        self.all_runs.insert(0, run)
        return run

    def dag_ids(self):
        return set(demo.DAGS)

    def next_scheduled(self, dag_id):
        return datetime(2126, 11, 23, 2, tzinfo=UTC)

    def unpause(self, dag_id):
        pass

    def runs(self, dag_id, key):
        return [r for r in self.all_runs if (r["dag_id"], r["partition_key"]) == (dag_id, key)]

    def trigger(self, dag_id, key):
        self.triggered.append((dag_id, key))
        run = self.add(dag_id, self.ends_as, key)
        if dag_id == demo.NIGHTLY and self.ends_as == "success":
            self.add(demo.RELEASE, "success", key)
        return run

    def run(self, dag_id, run_id):
        return next(r for r in self.all_runs if r["dag_run_id"] == run_id)

    def tasks(self, dag_id, run_id):
        ran = {"dag_id": dag_id, "dag_run_id": run_id, "try_number": 2}
        return [
            ran | {"task_id": "ingest", "map_index": -1, "state": "success"},
            ran | {"task_id": "segment", "map_index": 3, "state": self.ends_as},
        ]


@pytest.fixture
def run_night(tmp_path, monkeypatch):
    def run(airflow):
        monkeypatch.setattr(demo, "AirflowApi", lambda settings: airflow)
        demo.run_night(load(tmp_path), Console(file=io.StringIO()))

    return run


def test_a_night_runs_once(run_night):
    airflow = FakeAirflow()

    run_night(airflow)
    run_night(airflow)

    assert airflow.triggered == [(demo.NIGHTLY, NIGHT)]


def test_a_failed_night_is_run_again_and_a_failed_release_too(run_night):
    airflow = FakeAirflow()
    airflow.add(demo.NIGHTLY, "failed")
    run_night(airflow)
    assert airflow.triggered == [(demo.NIGHTLY, NIGHT)]

    airflow.add(demo.RELEASE, "failed")
    run_night(airflow)
    assert airflow.triggered[1:] == [(demo.RELEASE, NIGHT)]


def test_a_failure_names_the_tasks_and_their_logs(run_night):
    with pytest.raises(StackError) as raised:
        run_night(FakeAirflow(ends_as="failed"))

    message = str(raised.value)
    assert "segment[3]: " in message
    assert "dag_id=lae_nightly/run_id=r0/task_id=segment/map_index=3/attempt=2.log" in message
    assert "ingest:" not in message


def test_a_night_without_news_is_not_waited_for(run_night, monkeypatch):
    airflow = FakeAirflow()
    skipped = {"task_id": "report", "map_index": -1, "state": "skipped"}
    monkeypatch.setattr(airflow, "tasks", lambda *_: [skipped])
    monkeypatch.setattr(airflow, "trigger", lambda dag_id, key: airflow.add(dag_id, "success", key))
    monkeypatch.setattr(demo, "RELEASE_STARTS_WITHIN_S", 1e9)
    run_night(airflow)
    assert [run["dag_id"] for run in airflow.all_runs] == [demo.NIGHTLY]


def test_other_imagery_than_is_there_is_refused_before_anything_starts(tmp_path):
    settings = load(tmp_path)
    demo.check(settings, scenes=20)
    (settings.state / "world").mkdir()
    truth = {"images": [{}] * 8, "info": {"size_px": 1024, "seed": 0}}
    (settings.state / "world" / "truth.json").write_text(json.dumps(truth))
    demo.check(settings)
    demo.check(settings, scenes=8, seed=0)
    for other in ({"scenes": 20}, {"size": 512}, {"seed": 7}):
        with pytest.raises(StackError, match="8 scenes of 1024 px, seed 0; leave out"):
            demo.check(settings, **other)
