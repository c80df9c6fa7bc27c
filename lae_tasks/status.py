"""What came of a night, in numbers, from its manifests and decisions."""

from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.table import Column, Table

from lae_tasks.accounts import Manifest, Rejection
from lae_tasks.contracts import Decision, Outcome
from lae_tasks.errors import ContractError
from lae_tasks.releases.manifest import NoReleaseError, read_release
from lae_tasks.review.verdicts import fold_verdicts
from lae_tasks.runner import iter_manifests
from lae_tasks.state import SHARD_STAGES, WHOLE, load_reviews, read_plan
from lae_tasks.storage import Storage
from lae_tasks.tables import read_table


class NightStatus(BaseModel):
    """The funnel of one night.

    Attributes:
        night: `yyyy-mm-dd`; None in an empty store.
        named: Regions whose reply was understood, "Unrecognized" included.
        accepted: Regions that the engine is sure of.
        audit: Those of the accepted that stewards check unmarked.
        review: Regions that the engine is unsure of.
        decided: How many of `audit` and `review` a steward has decided.
        left_out: What else was counted on the way and made no region, such as `empty_tiles`.
        rejected: Everything that fell out on the way, by stage and reason, most frequent first.
        release: Version and digest of the latest release; None before the first.
    """

    model_config = ConfigDict(frozen=True)

    night: str | None
    scenes: int = 0
    tiles: int = 0
    regions: int = 0
    named: int = 0
    accepted: int = 0
    audit: int = 0
    review: int = 0
    decided: int = 0
    left_out: dict[str, int] = {}
    rejected: dict[str, int] = {}
    release: dict[str, Any] | None = None


def read_status(store: Storage, night: str | None = None) -> NightStatus:
    """The funnel of a night; by default of the latest that was ingested.

    Raises:
        ContractError: If the store has no such night.
    """
    release = _release(store)
    night = night_or_latest(store, night)
    if night is None:
        return NightStatus(night=None, release=release)
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
    judged = fold_verdicts(load_reviews(store).verdicts.values())
    sent = (d for d in decisions if d.outcome is Outcome.REVIEW or d.in_audit)
    rejected.update(f"route: {d.rule}" for d in decisions if d.outcome is Outcome.REJECT)
    return NightStatus(
        night=night,
        scenes=_rows(done["ingest"]),
        tiles=_rows(done["tile"]),
        regions=_rows(done["segment"]),
        named=_rows(done["classify"]),
        accepted=outcomes[Outcome.ACCEPT],
        audit=sum(decision.in_audit for decision in decisions),
        review=outcomes[Outcome.REVIEW],
        decided=sum(decision.region_id in judged for decision in sent),
        left_out=_left_out([*done["tile"], *done["segment"]]),
        rejected=dict(rejected.most_common()),
        release=release,
    )


#: Counters of tile and segment, and what they mean to a reader.
_LEFT_OUT = {
    "empty_tiles": "tiles without data",
    "duplicates": "masks of what had one already",
    "joined": "masks joined into others across tiles",
    "beyond_max_regions": "masks beyond segment.max_regions",
    "unusable_annotations": "annotations outside their scene",
    "prompts_without_tile": "annotations where no tile has data",
    "prompts_without_mask": "annotations that SAM gave no mask",
}


def _left_out(manifests: list[Manifest]) -> dict[str, int]:
    """The counters that are not 0."""
    counts: Counter[str] = Counter()
    for manifest in manifests:
        counts.update({name: n for name, n in manifest.counts.items() if name in _LEFT_OUT})
    return {name: counts[name] for name in _LEFT_OUT if counts[name]}


def night_or_latest(store: Storage, night: str | None) -> str | None:
    """The night, or the latest; None if the store has none and none was asked for.

    Raises:
        ContractError: If the store has no such night.
    """
    nights = sorted({m.night for m in iter_manifests(store, "ingest")})
    if night is None or night in nights:
        return night or (nights[-1] if nights else None)
    known = ", ".join(nights[-5:]) or "none"
    raise ContractError(f"{store.uri} has no night {night}; there are: {known}")


def read_rejections(store: Storage, night: str | None = None) -> list[Rejection]:
    """What the stages of a night could not use, in their order; by default of the latest night.

    What the rules of route reject are decisions, with the rule's name, and not here. Of `collect`
    there is what was refused on that day.

    Raises:
        ContractError: If the store has no such night.
    """
    night = night_or_latest(store, night)
    return [
        rejection
        for stage in ("ingest", *SHARD_STAGES, "review", "collect")
        for manifest in (iter_manifests(store, stage, night) if night else ())
        for output in manifest.outputs
        if output.key.startswith("rejects/")
        for rejection in read_table(store, output, Rejection)
    ]


def as_table(status: NightStatus) -> Table:
    """The funnel as a table for the terminal."""
    table = Table(Column(), Column(overflow="fold"), show_header=False)
    table.title = f"The night of {status.night}"
    for name in ("scenes", "tiles", "regions", "named", "accepted"):
        table.add_row(name, f"{getattr(status, name):,}")
    table.add_row("  of them to be audited", f"{status.audit:,}")
    table.add_row("to review", f"{status.review:,}")
    table.add_row("  decided by stewards, audit included", f"{status.decided:,}")
    if status.left_out:
        table.add_section()
    for name, count in status.left_out.items():
        table.add_row(_LEFT_OUT[name], f"{count:,}")
    table.add_section()
    table.add_row("rejected", f"{sum(status.rejected.values()):,}")
    for reason, count in status.rejected.items():
        table.add_row(f"  {reason}", f"{count:,}")
    table.add_section()
    table.add_row("release", status.release["version"] if status.release else "none yet")
    if status.release:
        table.add_row("  objects in it", f"{status.release['counts']['objects']:,}")
        table.add_row("  digest", status.release["digest"][:12])
    return table


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
