import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from label_studio_sdk.core.api_error import ApiError

from lae_tasks.errors import ConfigError
from lae_tasks.review.annotation import progress_of
from lae_tasks.review.image_storage import S3Access
from lae_tasks.review.instruction import instruction
from lae_tasks.review.label_studio import LabelStudioReview, _changed_since, _translated

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


def test_tasks_that_are_too_large_for_a_proxy_name_the_setting() -> None:
    error = _translated(ApiError(status_code=413, body="<html>"), "importing")
    assert isinstance(error, ConfigError) and "review.batch_size" in str(error)


@pytest.mark.parametrize("key", ["g", "x", "q", "n"])
def test_the_guide_and_the_page_name_the_same_keys(key: str) -> None:
    assert f"<kbd>{key}</kbd>" in GUIDE.read_text(encoding="utf-8")
    assert re.search(rf"\b{key}\b", instruction())


AT = "2026-11-23T05:00:00.000000+00:00"


def _task(task_id: int, *users: int, draft: bool = False, skipped: bool = False) -> Any:
    said = [
        {"id": user, "completed_by": user, "was_cancelled": skipped, "updated_at": AT}
        for user in users
    ]
    return SimpleNamespace(
        id=task_id, overlap=1, is_labeled=bool(said), annotations=said, draft_exists=draft
    )


@pytest.mark.parametrize(
    ("tasks", "counts", "doubles", "annotated", "looked"),
    [
        ([_task(1)], 1, (), 0, set()),
        ([_task(3), _task(1), _task(2)], 1, (3, 2), 0, set()),
        ([_task(1), _task(2, 7)], 2, (1,), 1, {"7"}),
        ([_task(1), _task(2, 7, skipped=True)], 2, (1,), 0, set()),
        ([_task(1), _task(2, draft=True)], 2, (1,), 0, set()),
        ([_task(1), _task(2, 7), _task(3, 7, 8), _task(4)], 2, (1, 4), 1, {"7", "ada@example.org"}),
    ],
)
def test_of_tasks_of_one_key_the_first_that_was_begun_counts(
    tasks: list[Any], counts: int, doubles: tuple[int, ...], annotated: int, looked: set[str]
) -> None:
    found = progress_of(tasks, {8: "ada@example.org"})
    assert (found.task_id, found.doubles, found.annotated) == (counts, doubles, annotated)
    assert set(found.by.values()) == looked
