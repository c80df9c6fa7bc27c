import json
import re
from pathlib import Path

import boto3
import pytest

from lae_tasks.errors import ConfigError
from lae_tasks.review.label_studio import INSTRUCTION, LabelStudioReview, S3Access, _changed_since

GUIDE = Path(__file__).parents[3] / "docs" / "stewards.md"


def test_a_cursor_is_given_in_the_only_form_that_label_studio_reads() -> None:
    query = json.loads(_changed_since("2026-11-23T07:00:00+02:00"))
    (moment,) = (i["value"] for i in query["filters"]["items"] if i["type"] == "Datetime")
    assert moment == "2026-11-23T05:00:00.000000Z"


def test_without_a_cursor_all_tasks_are_asked_for() -> None:
    assert json.loads(_changed_since(None))["filters"]["items"] == []


def test_secrets_do_not_show() -> None:
    access = S3Access("key", "very-secret", "very-secret-token")
    assert "very-secret" not in repr(access)


def test_credentials_come_from_the_session() -> None:
    session = boto3.Session("key", "secret", region_name="eu-central-1")
    assert S3Access.from_session(session) == S3Access("key", "secret", None, "eu-central-1", None)


def test_an_address_without_a_scheme_is_refused_with_the_remedy() -> None:
    with (
        LabelStudioReview("localhost:8080", "token") as client,
        pytest.raises(ConfigError, match="http://host:8080"),
    ):
        client.find_project("any")


@pytest.mark.parametrize("key", ["g", "x", "q", "n"])
def test_the_guide_and_the_page_name_the_same_keys(key: str) -> None:
    assert f"<kbd>{key}</kbd>" in GUIDE.read_text(encoding="utf-8")
    assert re.search(rf"\b{key}\b", INSTRUCTION)
