"""### Verdicts: what the stewards decided comes back

`wait_for_verdicts` waits in the triggerer, without a slot, until stewards have decided something
and pause. `collect` files the verdicts and tells `lae_release` by the asset `lae_verdicts`;
`calibrate` learns from them what later nights accept, once enough are in. A run in which nothing
happens ends with all skipped, and the next one goes on waiting.

The Airflow variables `lae_review_wait_s` (7200), `lae_review_quiet_s` (120: how long the stewards
must have paused) and `lae_review_poll_s` (20) change how it waits.
"""

from datetime import UTC, datetime

from airflow.sdk import CronTriggerTimetable, dag
from lae_airflow.assets import VERDICTS
from lae_airflow.defaults import DEFAULT_ARGS
from lae_airflow.operators.review import CalibrateOperator, CollectOperator, VerdictsSensor


@dag(
    # One run waits at a time; the next one starts within five minutes of its end, not at once: so
    # a revoked token makes a red run every five minutes, not every second.
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    tags=["lae"],
    doc_md=__doc__,
)
def lae_review() -> None:
    """Verdicts, from Label Studio to the store."""
    wait = VerdictsSensor(
        task_id="wait_for_verdicts",
        wait_s="{{ var.value.get('lae_review_wait_s', '7200') }}",
        quiet_s="{{ var.value.get('lae_review_quiet_s', '120') }}",
        poll_s="{{ var.value.get('lae_review_poll_s', '20') }}",
    )
    collect = CollectOperator(task_id="collect", outlets=[VERDICTS])
    wait >> collect >> CalibrateOperator(task_id="calibrate")


lae_review()
