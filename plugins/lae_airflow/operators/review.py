"""Review: regions to the stewards, a wait that holds no slot, and verdicts back."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from lae_airflow.hooks.label_studio import LabelStudioHook
from lae_airflow.operators.base import EngineOperator, skip_without_news
from lae_airflow.triggers.verdicts import CHANGED, FAILED, VerdictsTrigger
from lae_tasks.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

#: The trigger ends by itself at its deadline; Airflow ends it this much later.
_GRACE_S = 300


class ReviewOperator(EngineOperator):
    """An operator that works with Label Studio.

    Args:
        label_studio_conn_id: Airflow connection of the server.
    """

    def __init__(
        self, *, label_studio_conn_id: str = LabelStudioHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.label_studio_conn_id = label_studio_conn_id

    def label_studio(self) -> LabelStudioHook:
        """The server by this operator's connection."""
        return LabelStudioHook(self.label_studio_conn_id)


class ReviewPushOperator(ReviewOperator):
    """Asks stewards as far as the night's looks go; what is there already is not sent again."""

    template_fields: Sequence[str] = ("night",)

    def __init__(self, *, night: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.night = night

    def execute(self, context: Context) -> str | None:
        """The URI of the manifest of what is asked for the first time, if anything is."""
        from lae_tasks.stages.review import push

        engine, label_studio = self.engine(), self.label_studio()
        night = engine.night(self.night)
        with label_studio.get_conn() as client:
            pushed = push(
                night.store,
                night.night,
                night.config,
                client,
                engine.s3_access(label_studio.s3_endpoint_url()),
            )
        self.log.info("%s", pushed.as_text())
        manifest = pushed.manifest
        if manifest is None:
            return None
        return f"{night.store.uri}/runs/{manifest.stage}/{manifest.night}/{manifest.shard}.json"


class VerdictsSensor(ReviewOperator):
    """Waits, in the triggerer, until stewards have decided something; skips if they don't.

    Args:
        wait_s: How long at most. The next run goes on waiting.
        quiet_s: Stewards work tile by tile: wait until nothing has changed for so long.
        poll_s: How often to ask.
    """

    template_fields: Sequence[str] = ("wait_s", "quiet_s", "poll_s")

    def __init__(
        self,
        *,
        wait_s: float | str = 7200.0,
        quiet_s: float | str = 120.0,
        poll_s: float | str = 20.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_s = wait_s
        self.quiet_s = quiet_s
        self.poll_s = poll_s

    def execute(self, context: Context) -> None:
        """Looks once, then waits."""
        self._look(time.time() + float(self.wait_s), have_paused=False)

    def resume(self, context: Context, event: dict[str, Any], deadline: float) -> None:
        """Goes on after the trigger."""
        if event["status"] == FAILED:
            raise ConfigError(event["message"])
        if event["status"] != CHANGED:
            raise AirflowSkipException("no new verdicts yet; the next run goes on waiting")
        self._look(deadline, have_paused=True)

    def _look(self, deadline: float, have_paused: bool) -> None:
        """Returns if there are new verdicts, defers if not.

        A server that does not answer is waited for like a verdict.

        Args:
            deadline: When to give up, seconds since the epoch.
            have_paused: Whether the stewards are known to pause. A hint starts the run at their
                first verdict, and they go on.
        """
        try:
            latest, is_news = self._ask()
        except TransientError as error:
            self.log.warning("waiting: %s", error)
            latest, is_news = None, False
        left_s = deadline - time.time()
        if is_news and (have_paused or left_s <= 0 or _age_s(latest) >= float(self.quiet_s)):
            return
        if left_s <= 0:
            raise AirflowSkipException("no new verdicts yet; the next run goes on waiting")
        self.defer(
            trigger=VerdictsTrigger(
                project=self.engine().config.review.project,
                since=None if is_news else latest,
                deadline=deadline,
                quiet_s=float(self.quiet_s),
                poll_s=float(self.poll_s),
                label_studio_conn_id=self.label_studio_conn_id,
            ),
            method_name=self.resume.__name__,
            kwargs={"deadline": deadline},
            timeout=left_s + _GRACE_S,
        )

    def _ask(self) -> tuple[str | None, bool]:
        """When a task last changed, and whether there is anything to collect."""
        from lae_tasks.stages.review import has_news
        from lae_tasks.state import load_reviews

        engine = self.engine()
        with self.label_studio().get_conn() as client:
            project_id = client.find_project(engine.config.review.project)
            # Asked before looking: a change in between is seen by the trigger once more.
            latest = client.latest_change(project_id, None) if project_id is not None else None
            return latest, has_news(load_reviews(engine.store), engine.config, client)


def _age_s(latest: str | None) -> float:
    """Seconds since a change by Label Studio's clock; if it is wrong, a batch is early or late."""
    if latest is None:
        return float("inf")
    return (datetime.now(UTC) - datetime.fromisoformat(latest)).total_seconds()


class CollectOperator(ReviewOperator):
    """Fetches new verdicts and tells of them by the asset; skips if there are none."""

    def execute(self, context: Context) -> str | None:
        """The URI of the manifest of the new verdicts."""
        from lae_tasks.stages.review import collect
        from lae_tasks.state import load_reviews

        engine = self.engine()
        store, today = engine.store, datetime.now(UTC).date().isoformat()
        with self.label_studio().get_conn() as client:
            manifest = collect(load_reviews(store), engine.config, store, client, today)
        if manifest is not None and manifest.n_rejected:
            self.log.warning("refused annotations: %s", manifest.rejected_by_reason)
        if manifest is None or manifest.outputs[0].rows == 0:
            skip_without_news(context, False, "no new verdicts")
            self.announce(context, f"{today}-retry", {})
            return None
        self.log.info("%d verdicts: %s", manifest.outputs[0].rows, manifest.counts)
        batch = f"{manifest.night}-{manifest.shard}"
        self.announce(context, batch, {"verdicts": manifest.outputs[0].rows} | manifest.counts)
        return f"{store.uri}/runs/{manifest.stage}/{manifest.night}/{manifest.shard}.json"


class FollowUpOperator(ReviewOperator):
    """Asks another steward where verdicts call for it.

    A task of its own: what was collected is told of though Label Studio fails here.
    """

    def execute(self, context: Context) -> int:
        """For how many tasks another one was asked."""
        from lae_tasks.stages.review import follow_up
        from lae_tasks.state import load_reviews

        engine = self.engine()
        with self.label_studio().get_conn() as client:
            return follow_up(load_reviews(engine.store), engine.config, client)


class CalibrateOperator(EngineOperator):
    """Learns from all verdicts, if enough new ones are in; skips if not."""

    def execute(self, context: Context) -> str:
        """The URI of the calibration's manifest."""
        from lae_tasks.stages.calibrate import calibrate

        engine = self.engine()
        store, today = engine.store, datetime.now(UTC).date().isoformat()
        done = calibrate(store, engine.config, today)
        self.log.info("%s", done.as_text())
        if done.manifest is None:
            raise AirflowSkipException(done.as_text())
        return f"{store.uri}/runs/{done.manifest.stage}/{today}/{done.manifest.shard}.json"
