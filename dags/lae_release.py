"""### Release: a version of the dataset

Starts when a night or a batch of verdicts has produced something new, or a new calibration has
decided nights anew; it can be started by hand (any partition key). Assembles the present truth,
validates it (Great Expectations; the report is kept below `validation/`) and publishes a version.
If the latest version holds the present state already, `publish` is skipped; if the data breaks a
rule, it is red and there is no new version. It is red, too, while a night that ran before runs
again; the end of that night starts a release.
"""

from datetime import UTC, datetime

from airflow.sdk import PartitionedAssetTimetable, dag
from lae_airflow.alerts import deadlines, on_failure
from lae_airflow.assets import NIGHT, NIGHTS_AGAIN, RELEASE, VERDICTS
from lae_airflow.defaults import DEFAULT_ARGS
from lae_airflow.operators.release import ReleaseOperator


@dag(
    schedule=PartitionedAssetTimetable(assets=NIGHT | VERDICTS | NIGHTS_AGAIN),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    on_failure_callback=on_failure(),
    deadline=deadlines(),
    tags=["lae"],
    doc_md=__doc__,
)
def lae_release() -> None:
    """A version of the dataset, validated and published."""
    ReleaseOperator(task_id="publish", outlets=[RELEASE])


lae_release()
