"""The LAE-Label engine: from raw overhead imagery to measured dataset releases.

Nothing in this package imports Airflow: a stage runs the same from the command line and from a
task. See `docs/architecture.md` for the map.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lae_tasks.releases.reading import Release


def load_release(uri: str, version: str = "latest") -> "Release":
    """Opens a published release; see `lae_tasks.releases.reading.load_release`."""
    # Airflow imports this package at every parse; what reads releases takes long to import.
    from lae_tasks.releases.reading import load_release as load

    return load(uri, version)
