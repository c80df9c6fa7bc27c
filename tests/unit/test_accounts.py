"""Accounts: a manifest whose numbers do not add up cannot be made."""

import pytest
from pydantic import ValidationError

from lae_tasks.accounts import Manifest


def make_manifest(**values: object) -> Manifest:
    defaults = {
        "stage": "tile",
        "night": "2026-11-22",
        "shard": "0000",
        "fingerprint": "f",
        "inputs": (),
        "config_sha256": "c",
        "model_revision": None,
        "n_in": 3,
        "n_done": 2,
        "n_rejected": 1,
        "counts": {},
        "rejected_by_reason": {"gone": 1},
        "seconds": 0.5,
        "outputs": (),
    }
    return Manifest.model_validate(defaults | values)


def test_a_manifest_accounts_for_every_record() -> None:
    with pytest.raises(ValidationError, match="3 records came in, 1 done"):
        make_manifest(n_done=1)
