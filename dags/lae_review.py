"""### Verdicts: what the stewards decided comes back

`wait_for_verdicts` waits in the triggerer, without a slot, until stewards have decided something
and pause. `collect` files the verdicts and tells `lae_release` by the asset `lae_verdicts`;
`follow_up` asks another steward where they call for it; `calibrate` learns from them what may be
accepted, once enough are in; `route_again` decides by it all nights that were decided otherwise,
and tells `lae_release` by `lae_nights_again`. A run in which nothing happens ends with all but
`follow_up` skipped, and the next one goes on waiting.

A hint of Label Studio's webhook (asset `lae_review_hint`) starts a run at once where none is under
way. Without hints nothing is lost: a run starts every five minutes.

The Airflow variables `lae_review_wait_s` (7200), `lae_review_quiet_s` (120: how long the stewards
must have paused) and `lae_review_poll_s` (20) change how it waits.
"""

from datetime import UTC, datetime

from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable, dag
from lae_airflow.alerts import on_failure
from lae_airflow.assets import HINT, NIGHTS_AGAIN, VERDICTS
from lae_airflow.defaults import DEFAULT_ARGS
from lae_airflow.operators.night import RouteAgainOperator
from lae_airflow.operators.review import (
    CalibrateOperator,
    CollectOperator,
    FollowUpOperator,
    VerdictsSensor,
)


@dag(
    # One run waits at a time; the next one starts within five minutes of its end, not at once: so
    # a revoked token makes a red run every five minutes, not every second.
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("*/5 * * * *", timezone="UTC"), assets=[HINT]
    ),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    on_failure_callback=on_failure(),
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
    # Also after what was skipped: a run before may have ended between the two.
    follow_up = FollowUpOperator(task_id="follow_up", trigger_rule="none_failed")
    again = RouteAgainOperator(
        task_id="route_again", outlets=[NIGHTS_AGAIN], trigger_rule="none_failed"
    )
    wait >> collect >> CalibrateOperator(task_id="calibrate") >> again
    collect >> follow_up


lae_review()
