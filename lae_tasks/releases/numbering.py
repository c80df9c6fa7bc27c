"""The version number that a change deserves: major, minor or patch, and why."""

from collections.abc import Iterable, Mapping

from lae_tasks.releases.diff import Diff
from lae_tasks.releases.manifest import RELEASE_SCHEMA_VERSION, ReleaseManifest, version_number

FIRST_VERSION = "v1.0.0"


def next_version(
    parent: ReleaseManifest | None,
    diff: Diff,
    published: Iterable[str],
    vocabulary: tuple[str, ...],
    formats: tuple[str, ...],
) -> tuple[str, str]:
    """The version number that a change deserves, and why.

    Major for another schema, another vocabulary, or a category that went (or was renamed), which
    all change what a model has to be built for. Minor for other images, or for a category that is
    new by what nights or stewards say. Patch for anything else.

    Args:
        parent: The release before, None for the first.
        diff: What changed against it.
        published: All versions there are; the new one is above them.
        vocabulary: The config's names.
        formats: What the release is written in.
    """
    if parent is None:
        return FIRST_VERSION, "the first release"
    major, minor, patch = max(version_number(version) for version in (parent.version, *published))
    wider, change = f"v{major + 1}.0.0", _breaking(parent, diff, vocabulary)
    if change:
        return wider, f"major: {change}"
    if diff.images_added or diff.images_removed or diff.images_changed or diff.categories_added:
        return f"v{major}.{minor + 1}.0", f"minor: {_told(diff, _WIDER)}"
    said = [_told(diff, _LABELS)]
    if parent.formats != formats:
        said.append(f"written in {', '.join(formats)}")
    told = ", ".join(filter(None, said)) or "other metadata"
    return f"v{major}.{minor}.{patch + 1}", f"patch: {told}"


def _breaking(parent: ReleaseManifest, diff: Diff, vocabulary: tuple[str, ...]) -> str:
    """What changed that readers of the parent may stumble over; empty if nothing."""
    if parent.schema_version != RELEASE_SCHEMA_VERSION:
        return f"schema {parent.schema_version} -> {RELEASE_SCHEMA_VERSION}"
    if diff.categories_removed:
        return f"without {', '.join(diff.categories_removed)}"
    if parent.vocabulary != vocabulary:
        more = [name for name in vocabulary if name not in parent.vocabulary]
        less = [name for name in parent.vocabulary if name not in vocabulary]
        parts = [f"with {', '.join(more)}" * bool(more), f"without {', '.join(less)}" * bool(less)]
        return f"vocabulary {' and '.join(filter(None, parts)) or 'in another order'}"
    return ""


#: For one, and for several.
_WIDER = {
    "scenes_added": ("1 scene more", "{} scenes more"),
    "scenes_removed": ("1 scene less", "{} scenes less"),
    "images_added": ("1 image more", "{} images more"),
    "images_removed": ("1 image less", "{} images less"),
    "images_changed": ("1 image with other pixels", "{} images with other pixels"),
    "categories_added": ("1 category more", "{} categories more"),
}
_LABELS = {
    "added": ("1 object added", "{} objects added"),
    "removed": ("1 removed", "{} removed"),
    "relabelled": ("1 relabelled", "{} relabelled"),
    "moved": ("1 moved", "{} moved"),
    "rescored": ("1 with another score or source", "{} with another score or source"),
}


def _told(diff: Diff, phrases: Mapping[str, tuple[str, str]]) -> str:
    counts = diff.counts()
    return ", ".join(
        phrases[name][counts[name] > 1].format(counts[name]) for name in phrases if counts[name]
    )
