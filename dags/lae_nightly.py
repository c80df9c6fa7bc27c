"""### A night: from raw imagery to decided regions

`check_models` fails at once where a model is missing. `ingest` registers what is new below the raw
prefix and plans shards of a few scenes. Each shard is tiled, segmented (SAM) and named (LVLM);
`route` then decides over the whole night: accepted, to review, or rejected by which rule. What is
in doubt goes to the stewards in Label Studio.

- **Which night**: the partition key, `yyyy-mm-dd`, which scheduled runs have. Who starts a run may
  name one in the form; a run without either works on today (UTC).
- **Again**: whatever is done and unchanged is skipped, so clearing tasks is safe.
- **Red**: the log's last message says what to do. Only what may pass by itself is retried.
- `report` tells `lae_release` by the asset `lae_night`; Label Studio may be down meanwhile.
"""

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import CronPartitionTimetable, dag, task_group
from lae_airflow.alerts import deadlines, on_failure
from lae_airflow.assets import NIGHT
from lae_airflow.defaults import DEFAULT_ARGS, NIGHT_PARAM, NIGHT_TEMPLATE
from lae_airflow.operators.night import (
    CheckOperator,
    NightReportOperator,
    PlanOperator,
    StageOperator,
)
from lae_airflow.operators.review import ReviewPushOperator

ON_GPU: dict[str, Any] = {"pool": "gpu", "queue": "gpu"}


def stage(name: str, **kwargs: Any) -> StageOperator:
    """A task that runs a stage of the run's night."""
    return StageOperator(task_id=name, stage=name, night=NIGHT_TEMPLATE, **kwargs)


@task_group
def shards(shard: str) -> None:
    """What is done shard by shard; a shard does not wait for the others."""
    of_shard: dict[str, Any] = {"shard": shard, "map_index_template": "{{ task.shard }}"}
    tile = stage("tile", **of_shard)
    segment = stage("segment", **of_shard, **ON_GPU)
    classify = stage("classify", **of_shard, **ON_GPU)
    tile >> segment >> classify


@dag(
    schedule=CronPartitionTimetable("0 2 * * *", timezone="UTC", key_format="%Y-%m-%d"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    on_failure_callback=on_failure(),
    deadline=deadlines(),
    params={"night": NIGHT_PARAM},
    tags=["lae"],
    doc_md=__doc__,
)
def lae_nightly() -> None:
    """A night, from raw imagery to decided regions."""
    plan = PlanOperator(task_id="plan", night=NIGHT_TEMPLATE)
    # A night without scenes has no shards, and a route that says so.
    route = stage("route", trigger_rule="none_failed")
    push = ReviewPushOperator(task_id="push_to_review", night=NIGHT_TEMPLATE, retries=12)
    report = NightReportOperator(task_id="report", night=NIGHT_TEMPLATE, outlets=[NIGHT])
    CheckOperator(task_id="check_models", **ON_GPU) >> stage("ingest") >> plan
    shards.expand(shard=plan.output) >> route >> [push, report]


lae_nightly()
