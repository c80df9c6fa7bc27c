"""A storage to put label files in."""

from pathlib import Path

import pytest

from lae_tasks.storage import LocalStorage


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)
