"""A night: its stages over shards, the plan of them, and the report at its end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lae_airflow.operators.base import EngineOperator, skip_without_news
from lae_tasks.process import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context, XComArg


class CheckOperator(EngineOperator):
    """Fails at once where a model, its device or the prompt is missing, before imagery is read.

    It belongs in the queue of the tasks that use them.
    """

    def execute(self, context: Context) -> None:
        """Looks for everything that the settings name."""
        from lae_tasks.night import require_ready

        require_ready(self.engine().config)


class StageOperator(EngineOperator):
    """Runs one stage of a night over one shard, unless that is done already.

    Args:
        stage: `ingest`, `tile`, `segment`, `classify` or `route`.
        night: `yyyy-mm-dd`.
        shard: One of the plan's; `all` for ingest and route.
    """

    template_fields: Sequence[str] = ("night", "shard")

    def __init__(
        self, *, stage: str, night: str, shard: str | XComArg = "all", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self.night = night
        self.shard = shard

    def execute(self, context: Context) -> str:
        """The URI of the shard's manifest."""
        die_with_parent()
        from lae_tasks.night import run_stage

        engine = self.engine()
        manifest = run_stage(engine.night(self.night), self.stage, str(self.shard))
        self.log.info(
            "%s %s/%s: %d in, %d done, %d rejected; %.1f s of work",
            *(manifest.stage, manifest.night, manifest.shard),
            *(manifest.n_in, manifest.n_done, manifest.n_rejected, manifest.seconds),
        )
        rejected = {f"rejected: {why}": n for why, n in manifest.rejected_by_reason.items()}
        for name, count in (rejected | manifest.counts).items():
            self.log.info("%6d %s", count, name)
        for output in manifest.outputs:
            self.log.info("%6d rows in %s", output.rows, output.key)
        return f"{engine.store.uri}/runs/{manifest.stage}/{manifest.night}/{manifest.shard}.json"


class PlanOperator(EngineOperator):
    """Lists the night's shards, as its ingest made them."""

    template_fields: Sequence[str] = ("night",)

    def __init__(self, *, night: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.night = night

    def execute(self, context: Context) -> list[str]:
        """The shards, in order; none if nothing new came in."""
        from lae_tasks.night import plan

        shards = plan(self.engine().night(self.night))
        self.log.info("night %s has %d shards", self.night, len(shards))
        return shards


class NightReportOperator(EngineOperator):
    """Counts what came of a night and tells it by the asset; skips a night without tiles."""

    template_fields: Sequence[str] = ("night",)

    def __init__(self, *, night: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.night = night

    def execute(self, context: Context) -> dict[str, Any]:
        """The night's counts."""
        from lae_tasks.status import read_status

        status = read_status(self.engine().night(self.night).store, self.night)
        counts = status.model_dump(mode="json", exclude={"release"})
        for name, count in counts.items():
            self.log.info("%s: %s", name, count)
        if status.tiles == 0:
            what = "every tile is empty" if status.scenes else "no new scenes"
            skip_without_news(context, False, f"night {self.night}: {what}")
        self.announce(context, self.night, counts)
        return counts


class RouteAgainOperator(EngineOperator):
    """Routes all nights that the newest calibration did not decide; skips if there are none."""

    def execute(self, context: Context) -> list[str]:
        """The nights that were routed."""
        die_with_parent()
        from lae_tasks.routing.again import accepted, as_text, route_again
        from lae_tasks.state import digest_of

        today = datetime.now(UTC).date().isoformat()
        changed = route_again(self.engine().night(today))
        for pair in changed:
            counts = (accepted([manifest]) for manifest in pair)
            self.log.info("night %s: %d regions were accepted, %d are", pair[0].night, *counts)
        if not changed:
            skip_without_news(context, False, "the newest calibration has decided all nights")
            self.announce(context, f"{today}-retry", {})
            return []
        self.log.info("%s", as_text(changed))
        before, after = ([pair[at] for pair in changed] for at in (0, 1))
        which = digest_of(manifest.fingerprint for manifest in after)
        news = {"nights": len(changed), "before": accepted(before), "after": accepted(after)}
        self.announce(context, f"{today}-{which[:16]}", news)
        return [manifest.night for manifest in after]
