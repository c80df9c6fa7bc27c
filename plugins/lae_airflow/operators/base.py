"""What the engine's operators share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from lae_airflow.defaults import RETRY_POLICY
from lae_airflow.hooks.engine import EngineHook

if TYPE_CHECKING:
    from airflow.sdk import Context


class EngineOperator(BaseOperator):
    """An operator that works on the engine's store; it retries only what may pass.

    Args:
        s3_conn_id: Airflow connection of the S3 server.
    """

    ui_color = "#e5f2ec"

    def __init__(self, *, s3_conn_id: str = EngineHook.default_conn_name, **kwargs: Any) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        super().__init__(**kwargs)
        self.s3_conn_id = s3_conn_id

    def engine(self) -> EngineHook:
        """The engine by this operator's connection."""
        return EngineHook(self.s3_conn_id)

    def announce(self, context: Context, key: str, counts: dict[str, Any]) -> None:
        """Gives the events of the task's assets their partition key and counts.

        Events without a key start no DAG that works by partitions, and a run that was started by
        hand may have none.
        """
        for outlet in self.outlets:
            event = context["outlet_events"][outlet]
            event.extra = counts
            event.add_partitions(key)


def skip_without_news(context: Context, is_news: bool, reason: str) -> None:
    """Skips the task, and with it the events of its assets, if there is nothing to tell.

    Only a first attempt can know that: one before may have done the work and died before its
    event was out. Whoever hears of the same thing twice finds it done.
    """
    if not is_news and context["ti"].try_number == 1:
        raise AirflowSkipException(reason)
