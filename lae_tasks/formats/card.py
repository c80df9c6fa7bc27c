"""The README of a release: what is in it, how it was made, and what it does not promise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lae_tasks.config import ReleaseConfig
from lae_tasks.formats.data_docs import template
from lae_tasks.releases.manifest import ReleaseManifest

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
    precision: str = PRECISION_UNKNOWN,
) -> bytes:
    """The card.

    Args:
        manifest: The release's manifest; its list of files need not be complete yet.
        config: The release's settings.
        pictures: Samples to show.
        changes: The diff's counts by category; empty for the first release.
        by_steward: How many objects a steward decided.
        precision: What is known of the labels' precision.
    """
    text = template("card.md.jinja").render(
        m=manifest,
        description=config.description,
        min_object_share=config.min_object_share,
        pictures=pictures,
        changes=changes,
        by_steward=by_steward,
        precision=precision,
    )
    return text.encode()
