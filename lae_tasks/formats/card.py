"""The README of a release: what is in it, how it was made, and what it does not promise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lae_tasks.config import ReleaseConfig
from lae_tasks.formats.data_docs import template
from lae_tasks.releases.manifest import PrecisionEntry, ReleaseManifest
from lae_tasks.trust.audit import CONFIDENCE

PATH = "README.md"
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
        by_steward=by_steward,
        precision=_precision(manifest),
        confidence=CONFIDENCE,
        precision_of={each.category: _interval(each) for each in manifest.precision},
    )
    return text.encode()


def _precision(manifest: ReleaseManifest) -> str:
    """What is known of all objects that nobody has looked at."""
    for entry in manifest.precision:
        if entry.category is None:
            return (
                f"{_interval(entry)} of the {entry.unseen} objects that nobody has looked at, by "
                f"{entry.audited} that were drawn at random and looked at"
            )
    return PRECISION_UNKNOWN


def _interval(entry: PrecisionEntry) -> str:
    low, high = (f"{100 * end:.1f}" for end in (entry.low, entry.high))
    return f"{100 * entry.precision:.1f} % ({low} to {high} %)"
