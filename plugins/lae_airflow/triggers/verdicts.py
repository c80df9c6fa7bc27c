"""Waits for stewards' work in Label Studio."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from lae_airflow.hooks.label_studio import LabelStudioHook
from lae_tasks.errors import LaeError, TransientError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lae_tasks.review.label_studio import LabelStudioReview

#: Values of `status` in the trigger's event.
CHANGED, NOTHING, FAILED = "changed", "nothing", "failed"


class VerdictsTrigger(BaseTrigger):
    """Fires when tasks of a project have changed and the stewards pause.

    Its event is `{"status": …, "message": …}`: `changed`, `nothing` at the deadline, or `failed`
    with what to do. A server that does not answer is asked again until the deadline.

    Args:
        project: Title of the project; it need not be there yet.
        since: The newest change that is known, ISO 8601; None if there was none.
        deadline: When to give up, seconds since the epoch.
        quiet_s: Fire when nothing has changed for so long, or at the deadline.
        poll_s: How often to ask.
        label_studio_conn_id: Airflow connection of the server.
    """

    def __init__(
        self,
        *,
        project: str,
        since: str | None,
        deadline: float,
        quiet_s: float,
        poll_s: float,
        label_studio_conn_id: str = LabelStudioHook.default_conn_name,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.project = project
        self.since = since
        self.deadline = deadline
        self.quiet_s = quiet_s
        self.poll_s = poll_s
        self.label_studio_conn_id = label_studio_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and what to make it with again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "project": self.project,
                "since": self.since,
                "deadline": self.deadline,
                "quiet_s": self.quiet_s,
                "poll_s": self.poll_s,
                "label_studio_conn_id": self.label_studio_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Polls; the client's calls run in threads, so that other triggers go on."""
        try:
            with await LabelStudioHook(self.label_studio_conn_id).aget_conn() as client:
                status = await self._changed(client)
        except LaeError as error:
            yield _event(FAILED, str(error))
        else:
            yield _event(status)

    async def _changed(self, client: LabelStudioReview) -> str:
        newest: str | None = None
        changed_at = 0.0
        while True:
            try:
                latest = await asyncio.to_thread(self._latest_change, client)
            except TransientError as error:
                self.log.warning("asking again in %s s: %s", self.poll_s, error)
            else:
                if latest != newest:
                    newest, changed_at = latest, time.monotonic()
                if newest is not None and time.monotonic() - changed_at >= self.quiet_s:
                    return CHANGED
            if time.time() >= self.deadline:
                return NOTHING if newest is None else CHANGED
            await asyncio.sleep(self.poll_s)

    def _latest_change(self, client: LabelStudioReview) -> str | None:
        project_id = client.find_project(self.project)
        return None if project_id is None else client.latest_change(project_id, self.since)


def _event(status: str, message: str = "") -> TriggerEvent:
    return TriggerEvent({"status": status, "message": message})  # type: ignore[no-untyped-call]
