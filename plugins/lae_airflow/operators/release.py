"""Release: assemble, validate and publish the present state."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lae_airflow.operators.base import EngineOperator, skip_without_news

if TYPE_CHECKING:
    from airflow.sdk import Context


class ReleaseOperator(EngineOperator):
    """Publishes what nights and stewards have produced; skips if the latest version holds it.

    While a night runs again it fails, after some attempts: the end of that night starts the next
    release.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Version, digest, reason and counts of the release."""
        from lae_tasks.stages.release import publish
        from lae_tasks.state import load_state

        # On its own it fills the task's log with hundreds of lines about itself.
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        engine = self.engine()
        result = publish(lambda: load_state(engine.store), engine.config, engine.store)
        self.log.info("%s: %s, digest %s", result.version, result.manifest.reason, result.digest)
        skip_without_news(context, result.new, f"{result.version} holds the present state already")
        summary: dict[str, Any] = {
            "version": result.version,
            "digest": result.digest,
            "reason": result.manifest.reason,
            "counts": result.manifest.counts,
        }
        self.announce(context, result.version, summary)
        return summary
