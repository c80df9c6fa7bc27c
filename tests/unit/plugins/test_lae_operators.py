"""The operators and what they do with errors, on stores in local folders."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.serialization.serialized_objects import OperatorSerialization
from lae_airflow.assets import NIGHT, NIGHTS_AGAIN
from lae_airflow.defaults import RETRY_POLICY
from lae_airflow.operators.base import skip_without_news
from lae_airflow.operators.night import (
    CheckOperator,
    NightReportOperator,
    PlanOperator,
    RouteAgainOperator,
    StageOperator,
)
from lae_airflow.operators.release import ReleaseOperator
from lae_airflow.operators.review import (
    CalibrateOperator,
    CollectOperator,
    FollowUpOperator,
    ReviewPushOperator,
    VerdictsSensor,
)
from lae_airflow.triggers.verdicts import FAILED, NOTHING

from demo.scenes import write_world
from lae_tasks.errors import ConfigError, ConflictError, ContractError, LaeError, TransientError
from lae_tasks.stages.calibrate import calibrate
from lae_tasks.storage import open_storage
from tests.dags.airflow_home import REPO
from tests.unit.stages import test_calibrate as made_up

DAY = "2026-11-22"


def make_context(try_number: int = 1) -> Any:
    return {"ti": SimpleNamespace(try_number=try_number), "outlet_events": OutletEventAccessors()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lae.yaml"
    path.write_text(json.dumps({"preset": "demo", "raw": "raw", "store": "store"}))
    monkeypatch.setenv("LAE_CONFIG", str(path))
    (tmp_path / "raw").mkdir()
    return tmp_path


def run_stage(name: str, shard: str = "all") -> str:
    operator = StageOperator(task_id=name, stage=name, night=DAY, shard=shard)
    return operator.execute(make_context())


def test_stages_and_plan_hand_on_what_the_next_task_needs(folder: Path) -> None:
    write_world(folder / "raw", 3, 512, 1)
    assert run_stage("ingest") == f"{folder}/store/runs/ingest/{DAY}/all.json"
    shards = PlanOperator(task_id="plan", night=DAY).execute(make_context())
    assert shards == ["0000", "0001"]  # two scenes in a shard
    uri = run_stage("tile", shards[1])
    assert json.loads(Path(uri).read_text())["n_in"] == 1
    context = make_context()
    report = NightReportOperator(task_id="report", night=DAY, outlets=[NIGHT])
    counts = report.execute(context)
    assert (counts["scenes"], counts["tiles"]) == (3, 1)
    event = context["outlet_events"][NIGHT]
    assert event.partition_keys == {DAY}
    assert event.extra == counts
    assert json.loads(json.dumps(counts)) == counts


def test_a_night_without_scenes_is_no_news(folder: Path) -> None:
    run_stage("ingest")
    assert PlanOperator(task_id="plan", night=DAY).execute(make_context()) == []
    run_stage("route")
    with pytest.raises(AirflowSkipException, match="no new scenes"):
        NightReportOperator(task_id="report", night=DAY).execute(make_context())


def test_a_stage_before_its_time_says_which_one_is_missing(folder: Path) -> None:
    write_world(folder / "raw", 1, 512, 1)
    run_stage("ingest")
    with pytest.raises(ContractError, match="tile 2026-11-22/0000 is not committed"):
        run_stage("segment", "0000")


def test_a_task_does_not_outlive_its_supervisor() -> None:
    code = """if True:
        import os, sys, time
        sys.path.insert(0, "plugins")
        from lae_tasks.process import die_with_parent
        if os.fork() == 0:
            die_with_parent()
            print(os.getpid(), flush=True)
        time.sleep(60)
    """
    supervisor = subprocess.Popen([sys.executable, "-c", code], cwd=REPO, stdout=subprocess.PIPE)
    with supervisor:
        assert supervisor.stdout is not None
        task = psutil.Process(int(supervisor.stdout.readline()))
        supervisor.kill()
        task.wait(timeout=10)


def test_a_retry_tells_its_news_again() -> None:
    with pytest.raises(AirflowSkipException, match="nothing new"):
        skip_without_news(make_context(1), False, "nothing new")
    skip_without_news(make_context(1), True, "nothing new")
    skip_without_news(make_context(2), False, "nothing new")


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (ConfigError("wrong key"), RetryAction.FAIL),
        (ContractError("wrong table"), RetryAction.FAIL),
        (LaeError("something else on purpose"), RetryAction.FAIL),
        (AirflowNotFoundException("no connection"), RetryAction.FAIL),
        (TransientError("503"), RetryAction.RETRY),
        (ConflictError("somebody was first"), RetryAction.RETRY),
        (ValueError("unknown"), RetryAction.DEFAULT),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, action: RetryAction) -> None:
    assert RETRY_POLICY.evaluate(error, try_number=1, max_tries=5).action is action


def test_what_the_trigger_says_becomes_the_tasks_fate() -> None:
    sensor = VerdictsSensor(task_id="wait")
    with pytest.raises(ConfigError, match="check the API token"):
        sensor.resume(make_context(), {"status": FAILED, "message": "check the API token"}, 0.0)
    with pytest.raises(AirflowSkipException, match="goes on waiting"):
        sensor.resume(make_context(), {"status": NOTHING, "message": ""}, 0.0)


@pytest.mark.parametrize(
    "operator",
    [
        StageOperator(task_id="tile", stage="tile", night=DAY, shard="0000", pool="gpu"),
        CheckOperator(task_id="check_models", pool="gpu"),
        PlanOperator(task_id="plan", night=DAY),
        NightReportOperator(task_id="report", night=DAY, outlets=[NIGHT]),
        ReviewPushOperator(task_id="push", night=DAY, label_studio_conn_id="other"),
        VerdictsSensor(task_id="wait", wait_s="{{ 60 }}"),
        CollectOperator(task_id="collect"),
        FollowUpOperator(task_id="follow_up"),
        RouteAgainOperator(task_id="route_again", outlets=[NIGHTS_AGAIN]),
        ReleaseOperator(task_id="release", s3_conn_id="other"),
    ],
    ids=lambda operator: operator.task_id,
)
def test_operators_survive_serialization(operator: Any) -> None:
    encoded = OperatorSerialization.serialize_operator(operator)
    again = OperatorSerialization.deserialize_operator(json.loads(json.dumps(encoded)))
    assert again.task_type == type(operator).__name__
    assert again.has_retry_policy
    for name in operator.template_fields:
        assert getattr(again, name) == getattr(operator, name)


def test_calibrating_is_skipped_until_there_is_enough_to_learn_from(folder: Path) -> None:
    operator = CalibrateOperator(task_id="calibrate")
    with pytest.raises(AirflowSkipException, match="no night was routed yet"):
        operator.execute(make_context())


def test_nights_that_are_decided_anew_are_news(folder: Path) -> None:
    settings = json.loads((folder / "lae.yaml").read_text())
    night = made_up.a_night(open_storage(str(folder / "store")), DAY)
    settings["route"] = night.config.route.model_dump(mode="json")
    (folder / "lae.yaml").write_text(json.dumps(settings))
    made_up.make_up(night, 1)
    run_stage("route")
    made_up.review(night, 1)
    operator = RouteAgainOperator(task_id="route_again", outlets=[NIGHTS_AGAIN])
    with pytest.raises(AirflowSkipException, match="has decided all nights"):
        operator.execute(make_context())
    assert calibrate(night.store, night.config, DAY).calibration
    context = make_context()
    assert operator.execute(context) == [DAY]
    event = context["outlet_events"][NIGHTS_AGAIN]
    assert len(event.partition_keys) == 1
    assert event.extra["nights"] == 1
    assert event.extra["before"] != event.extra["after"]
    with pytest.raises(AirflowSkipException, match="has decided all nights"):
        operator.execute(make_context())
    # An attempt before it may have died before its event was out.
    retry = make_context(try_number=2)
    assert operator.execute(retry) == []
    assert retry["outlet_events"][NIGHTS_AGAIN].partition_keys
