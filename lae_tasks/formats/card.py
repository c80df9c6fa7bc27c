"""The README of a release: what is in it, how it was made, and what it does not promise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lae_tasks.config import ReleaseConfig
from lae_tasks.formats.data_docs import template
from lae_tasks.releases.manifest import PrecisionEntry, ReleaseManifest
from lae_tasks.trust.audit import CONFIDENCE

PATH = "README.md"
RELIABILITY_PATH = "card/reliability.png"
PRECISION_UNKNOWN = "not measured yet: no audit has been decided for this version"


@dataclass(frozen=True)
class Picture:
    """A sample picture of the card, by its path in the release."""

    path: str
    caption: str


def render(
    manifest: ReleaseManifest,
    config: ReleaseConfig,
    pictures: Sequence[Picture],
    changes: Mapping[str, Mapping[str, int]],
    by_steward: int,
) -> bytes:
    """The card.

    Args:
        manifest: The release's manifest; its list of files need not be complete yet.
        config: The release's settings.
        pictures: Samples to show.
        changes: The diff's counts by category; empty for the first release.
        by_steward: How many objects a steward decided.
    """
    text = template("card.md.jinja").render(
        m=manifest,
        description=config.description,
        min_object_share=config.min_object_share,
        pictures=pictures,
        changes=changes,
        reliability=RELIABILITY_PATH,
        by_steward=by_steward,
        precision=_precision(manifest),
        whole=_whole(manifest),
        recall=_recall(manifest),
        agreement=_agreement(manifest),
        confidence=CONFIDENCE,
        precision_of={each.category: _interval(each) for each in manifest.precision},
    )
    return text.encode()


def _precision(manifest: ReleaseManifest) -> str:
    """What is known of all objects that nobody has looked at."""
    for entry in manifest.precision:
        if entry.category is None:
            more = f"; {entry.undecided} more were left undecided" if entry.undecided else ""
            if entry.unmeasured:
                more += (
                    f"; {entry.unmeasured} are of nights of which nobody has looked at any yet, "
                    "and are taken to be like the others"
                )
            return (
                f"{_interval(entry)} of the {entry.unseen} objects that nobody has looked at, by "
                f"{entry.audited} that were drawn at random and looked at{more}"
            )
    if manifest.whole and manifest.whole.seen == manifest.whole.objects:
        return "stewards have looked at every object"
    return PRECISION_UNKNOWN


def _whole(manifest: ReleaseManifest) -> str:
    """What is known of all objects."""
    entry = manifest.whole
    if entry is None:
        return PRECISION_UNKNOWN
    said = _share(entry.precision, entry.low, entry.high)
    return f"{said} of all {entry.objects} objects, {entry.seen} of which stewards decided"


def _recall(manifest: ReleaseManifest) -> str:
    entry = manifest.recall
    if entry is None:
        return "not measured yet: too few tiles were looked over for what is missing"
    said = _share(entry.recall, entry.low, entry.high)
    return f"{said}, from {entry.tiles} tiles that stewards looked over"


def _agreement(manifest: ReleaseManifest) -> str:
    entry = manifest.agreement
    waiting = f"; of all regions, {entry.open} are in dispute still" if entry else ""
    if entry is None or not entry.regions:
        return f"not measured yet: nothing that was planned for two stewards has both{waiting}"
    alpha = "" if entry.alpha is None else f"Krippendorff's alpha {entry.alpha:.2f}: "
    return (
        f"{alpha}two stewards differ on {entry.differ} of {entry.regions} regions that were "
        f"planned for two{waiting}"
    )


def _interval(entry: PrecisionEntry) -> str:
    return _share(entry.precision, entry.low, entry.high)


def _share(share: float, low: float, high: float) -> str:
    return f"{100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)"
