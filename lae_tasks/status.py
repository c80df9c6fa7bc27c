"""What came of a night, in numbers, from its manifests and decisions."""

from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict

from lae_tasks.contracts import Decision, Manifest, Outcome
from lae_tasks.releases.manifest import NoReleaseError, read_release
from lae_tasks.runner import iter_manifests
from lae_tasks.state import WHOLE, read_plan
from lae_tasks.storage import Storage
from lae_tasks.tables import read_table


class NightStatus(BaseModel):
    """The funnel of one night.

    Attributes:
        night: `yyyy-mm-dd`; None in an empty store.
        named: Regions whose reply was understood, "Unrecognized" included.
        rejected: Everything that fell out on the way, by reason.
        release: Version and digest of the latest release; None before the first.
    """

    model_config = ConfigDict(frozen=True)

    night: str | None
    scenes: int = 0
    tiles: int = 0
    empty_tiles: int = 0
    regions: int = 0
    named: int = 0
    accepted: int = 0
    review: int = 0
    audit: int = 0
    rejected: dict[str, int] = {}
    release: dict[str, Any] | None = None


def read_status(store: Storage, night: str | None = None) -> NightStatus:
    """The funnel of a night; by default of the latest that was ingested."""
    nights = sorted({m.night for m in iter_manifests(store, "ingest", night)})
    release = _release(store)
    if not nights:
        return NightStatus(night=night, release=release)
    night = nights[-1]
    shards = set(read_plan(store, night)) | {WHOLE}
    done: dict[str, list[Manifest]] = {
        stage: [m for m in iter_manifests(store, stage, night) if m.shard in shards]
        for stage in ("ingest", "tile", "segment", "classify", "route")
    }
    rejected: Counter[str] = Counter()
    for manifests in done.values():
        for manifest in manifests:
            for reason, count in manifest.rejected_by_reason.items():
                rejected[f"{manifest.stage}: {reason}"] += count
    decisions = [
        decision
        for manifest in done["route"]
        for decision in read_table(store, manifest.outputs[0], Decision)
    ]
    outcomes = Counter(decision.outcome for decision in decisions)
    rejected.update(f"route: {d.rule}" for d in decisions if d.outcome is Outcome.REJECT)
    return NightStatus(
        night=night,
        scenes=_rows(done["ingest"]),
        tiles=_rows(done["tile"]),
        empty_tiles=sum(m.counts.get("empty_tiles", 0) for m in done["tile"]),
        regions=_rows(done["segment"]),
        named=_rows(done["classify"]),
        accepted=outcomes[Outcome.ACCEPT],
        review=outcomes[Outcome.REVIEW],
        audit=sum(decision.in_audit for decision in decisions),
        rejected=dict(rejected.most_common()),
        release=release,
    )


def _rows(manifests: list[Manifest]) -> int:
    return sum(manifest.outputs[0].rows for manifest in manifests)


def _release(store: Storage) -> dict[str, Any] | None:
    try:
        manifest = read_release(store)
    except NoReleaseError:
        return None
    return {
        "version": manifest.version,
        "digest": manifest.digest,
        "parent": manifest.parent,
        "reason": manifest.reason,
        "counts": manifest.counts,
    }
