"""Releases: what is in one, what changed, and how to read, pull and verify it."""

from lae_tasks.releases.manifest import (
    NoReleaseError,
    ReleaseFile,
    ReleaseManifest,
    list_releases,
    read_release,
)
from lae_tasks.releases.pull import Problem, Pulled, pull, verify

__all__ = [
    "NoReleaseError",
    "Problem",
    "Pulled",
    "ReleaseFile",
    "ReleaseManifest",
    "list_releases",
    "pull",
    "read_release",
    "verify",
]
