"""The DAGs as Airflow reads them: schedules, order, pools, assets."""

from collections.abc import Mapping
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import (
    DAG,
    AssetAny,
    AssetOrTimeSchedule,
    CronPartitionTimetable,
    CronTriggerTimetable,
    PartitionedAssetTimetable,
)
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.serialization.serialized_objects import DagSerialization

from lae_tasks.state import SHARD_STAGES
from tests.dags.airflow_home import REPO

SHARDS = [f"shards.{stage}" for stage in SHARD_STAGES]


def test_the_files_are_read_without_errors(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}
    assert set(dag_bag.dags) == {"lae_nightly", "lae_review", "lae_release"}


@pytest.mark.parametrize("path", sorted((REPO / "dags").glob("*.py")), ids=lambda p: p.name)
def test_dag_files_are_short(path: Any) -> None:
    assert len(path.read_text().splitlines()) < 80


def test_every_dag_is_described_and_runs_once_at_a_time(dags: Mapping[str, DAG]) -> None:
    for dag in dags.values():
        assert dag.doc_md
        assert dag.tags == {"lae"}
        assert dag.max_active_runs == 1
        assert not dag.catchup


def test_every_task_has_a_deadline_and_retries_only_what_may_pass(dags: Mapping[str, DAG]) -> None:
    for dag in dags.values():
        for task in dag.tasks:
            arguments = task.partial_kwargs if isinstance(task, MappedOperator) else vars(task)
            assert arguments["execution_timeout"] is not None
            assert arguments["retries"] >= 5
            assert task.has_retry_policy


def test_dags_survive_serialization(dags: Mapping[str, DAG]) -> None:
    for dag in dags.values():
        again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert again.task_ids == dag.task_ids


def test_the_order_of_a_night(dags: Mapping[str, DAG]) -> None:
    nightly = dags["lae_nightly"]
    order = {task.task_id: task.downstream_task_ids for task in nightly.tasks}
    assert order == {
        "check_models": {"ingest"},
        "ingest": {"plan"},
        "plan": set(SHARDS),  # each takes its shard from the plan
        "shards.tile": {"shards.segment"},
        "shards.segment": {"shards.classify"},
        "shards.classify": {"route"},
        "route": {"push_to_review", "report"},
        "push_to_review": set(),
        "report": set(),
    }


def test_the_order_of_a_review(dags: Mapping[str, DAG]) -> None:
    review = dags["lae_review"]
    assert {task.task_id: task.downstream_task_ids for task in review.tasks} == {
        "wait_for_verdicts": {"collect"},
        "collect": {"calibrate", "follow_up"},
        "follow_up": set(),
        "calibrate": {"route_again"},
        "route_again": set(),
    }
    # Whatever a run before has left undone.
    for task in ("follow_up", "route_again"):
        assert review.get_task(task).trigger_rule == "none_failed"


def test_the_shard_stages_are_mapped_and_the_models_run_on_the_gpu(dags: Mapping[str, DAG]) -> None:
    nightly = dags["lae_nightly"]
    mapped = [task.task_id for task in nightly.tasks if task.get_closest_mapped_task_group()]
    assert mapped == SHARDS
    on_gpu = {task.task_id for task in nightly.tasks if (task.pool, task.queue) == ("gpu", "gpu")}
    assert on_gpu == {"check_models", "shards.segment", "shards.classify"}


def test_schedules_and_assets(dags: Mapping[str, DAG]) -> None:
    nightly, review, release = (dags[f"lae_{name}"] for name in ("nightly", "review", "release"))
    assert isinstance(nightly.schedule, CronPartitionTimetable)
    assert nightly.schedule.key_format == "%Y-%m-%d"
    # Hints may be lost: the clock starts it all the same.
    assert isinstance(review.schedule, AssetOrTimeSchedule)
    assert isinstance(review.schedule.timetable, CronTriggerTimetable)
    assert [asset.name for asset in review.schedule.asset_condition.objects] == ["lae_review_hint"]
    assert isinstance(release.schedule, PartitionedAssetTimetable)
    condition = release.schedule.asset_condition
    assert isinstance(condition, AssetAny)
    told = {asset.name for asset in condition.objects}
    assert told == {"lae_night", "lae_verdicts", "lae_nights_again"}
    outlets = {
        (task.task_id, outlet.name)
        for dag in (nightly, review, release)
        for task in dag.tasks
        for outlet in task.outlets
    }
    assert outlets == {
        ("report", "lae_night"),
        ("collect", "lae_verdicts"),
        ("route_again", "lae_nights_again"),
        ("publish", "lae_version"),
    }
