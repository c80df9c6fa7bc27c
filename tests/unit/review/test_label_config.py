"""Versions of the label config, and what another one would lose."""

import hashlib
import json
from importlib import resources
from typing import Any

import pytest

from lae_tasks.errors import ConfigError
from lae_tasks.review.label_config import (
    VERSION,
    label_config,
    require_no_newer,
    require_nothing_lost,
    require_same_store,
    version_of,
)

XML = label_config("s3://lae/vocabulary.json")


def summary(**update: Any) -> dict[str, Any]:
    """What Label Studio says of a project in which each control was used."""
    return {
        "created_annotations": {
            "box|image|rectanglelabels": 3,
            "verdict|image|choices": 2,
            "other|image|taxonomy": 1,
            "newname|image|textarea": 1,
            "rest|image|choices": 1,
            "ctx|image|rectanglelabels": 1,
            "mask|image|brushlabels": 3,
        },
        "created_labels": {
            "box": {"any name": 3},
            "verdict": {"accept": 1, "reject": 1},
            "rest": {"rest-accept": 1},
            "mask": {"mask": 3},
        },
        "created_labels_drafts": {"verdict": {"unsure": 1}},
    } | update


def test_another_config_has_another_version() -> None:
    text = (resources.files("lae_tasks.review") / "label_config.xml").read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    told = "label_config.xml has changed: raise its version there and in label_config.py"
    assert (VERSION, digest) == (2, "35a87eeddbbd2587"), told


def test_the_config_tells_its_version() -> None:
    assert version_of(XML) == VERSION
    assert version_of("<View/>") == 1, "before there were versions"


def test_a_newer_one_is_not_undone() -> None:
    require_no_newer(XML, "here")
    newer = XML.replace(f"lae label config {VERSION} ", f"lae label config {VERSION + 1} ")
    with pytest.raises(ConfigError, match=rf"here: .* version {VERSION + 1}.*update the engine"):
        require_no_newer(newer, "here")


def test_a_project_is_of_one_store() -> None:
    require_same_store(XML, XML, "here")
    require_same_store(XML, "<View/>", "here")
    require_same_store(XML, "", "here")
    with pytest.raises(ConfigError, match=r"another store's.*s3://other/.*`review.project"):
        require_same_store(XML, label_config("s3://other/vocabulary.json"), "here")


def test_what_is_used_and_still_there_is_not_lost() -> None:
    require_nothing_lost(XML, summary(), "here")


@pytest.mark.parametrize(
    ("name", "old", "new", "lost"),
    [
        ("created_annotations", "newname", "note", "note (textarea, in 1 annotations)"),
        ("created_annotations", "textarea", "number", "newname (number, in 1 annotations)"),
        ("created_labels", "reject", "wrong", "verdict: wrong (1 times)"),
        ("created_labels_drafts", "unsure", "later", "verdict: later (1 times)"),
    ],
)
def test_what_is_used_and_missing_is_named(name: str, old: str, new: str, lost: str) -> None:
    told = json.loads(json.dumps(summary()[name]).replace(old, new))
    with pytest.raises(ConfigError) as error:
        require_nothing_lost(XML, summary(**{name: told}), "here")
    assert lost in str(error.value)
    assert "review.project" in str(error.value)
