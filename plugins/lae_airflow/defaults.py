"""What the engine's tasks have in common: when to try again, and which night they work on."""

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, Param, RetryAction, RetryRule
from airflow.sdk.exceptions import AirflowNotFoundException

from lae_tasks.errors import ConflictError, LaeError, TransientError

#: The engine's section in Airflow's settings.
CONFIG_SECTION = "lae"

#: The run's night, `yyyy-mm-dd`: what the form says, else its partition key, else its date.
NIGHT_TEMPLATE = (
    "{{ params.night or dag_run.partition_key or dag_run.run_after.strftime('%Y-%m-%d') }}"
)
NIGHT_PARAM = Param(
    None,
    type=["null", "string"],
    format="date",
    title="Night",
    description="Whose scenes are worked on. Empty: the run's partition key, or today (UTC).",
)

#: Errors that the engine raises on purpose come back on every attempt, but for the transient ones.
#: What is unknown is tried again.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=[TransientError, ConflictError], action=RetryAction.RETRY),
        RetryRule(
            exception=LaeError,
            action=RetryAction.FAIL,
            reason="trying again cannot help; the message says what can",
        ),
        RetryRule(
            exception=AirflowNotFoundException,
            action=RetryAction.FAIL,
            reason="define the connection in Airflow",
        ),
    ]
)

#: Five attempts more, after about 10, 20, 40, 80 and 160 seconds.
DEFAULT_ARGS: dict[str, Any] = {
    "owner": "lae",
    "retries": 5,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": RETRY_POLICY,
    "execution_timeout": timedelta(hours=6),
}
