"""A project's label config changes on a real Label Studio, and no annotation is lost by it."""

from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest

from demo.stack.services import S3Server
from lae_tasks.contracts import VerdictAction
from lae_tasks.errors import ConfigError
from lae_tasks.review.label_config import VERSION, version_of
from lae_tasks.stages import review
from lae_tasks.storage import open_storage
from tests.integration.desk import NIGHT, Desk, result
from tests.review_world import commit_night, make_state

pytestmark = pytest.mark.timeout(600)


def annotate(desk: Desk) -> tuple[str, str]:
    """The first box gets a typed name, the second is rejected, the rest is right."""
    results = desk.sent_results()
    first, second = [str(each["id"]) for each in results if each["from_name"] == "box"][:2]
    desk.submit(
        [
            *results,
            result(first, "newname", "textarea", {"text": ["lighthouse"]}),
            result(second, "verdict", "choices", {"choices": ["reject"]}),
        ]
    )
    return first, second


def project(desk: Desk) -> Any:
    return desk.sdk.projects.get(id=desk.project_id)


def set_config(desk: Desk, old: str, new: str) -> str:
    """Changes the label config by hand; as it is from then on."""
    config = project(desk).label_config
    assert old in config
    desk.sdk.projects.update(id=desk.project_id, label_config=config.replace(old, new))
    return str(project(desk).label_config)


def test_an_older_config_is_brought_up_to_date_and_no_annotation_is_lost(desk: Desk) -> None:
    desk.push()
    current = project(desk).label_config
    assert version_of(current) == VERSION, "Label Studio keeps the line that tells it"
    set_config(desk, f"<!-- lae label config {VERSION} -->\n", "")
    old = set_config(desk, '<Choice value="unsure" hotkey="q"/>', "")
    assert version_of(old) == 1
    first, second = annotate(desk)
    before = [task.annotations for task in desk.tasks()]

    desk.push()
    assert project(desk).label_config == current
    assert [task.annotations for task in desk.tasks()] == before
    assert project(desk).total_annotations_number == 1
    _, verdicts = desk.collect()
    by_region = {verdict.region_id: verdict for verdict in verdicts}
    assert by_region[first].category == "lighthouse"
    assert by_region[second].action is VerdictAction.REJECT
    assert len(by_region) == len(desk.state.review_items)


def test_what_stewards_have_used_is_not_taken_from_them(desk: Desk) -> None:
    desk.push()
    # Label Studio would refuse to lose the first, and would let a text field or a choice go.
    set_config(
        desk,
        '<Choices name="rest"',
        '<Choices name="quality" toName="image"><Choice value="poor"/></Choices>'
        '<TextArea name="note" toName="image"/><Choices name="rest"',
    )
    by_hand = set_config(
        desk, '<Choice value="unsure"', '<Choice value="later"/><Choice value="unsure"'
    )
    results = desk.sent_results()
    desk.submit(
        [
            *results,
            result("q", "quality", "choices", {"choices": ["poor"]}),
            result("n", "note", "textarea", {"text": ["hazy"]}),
            result(results[0]["id"], "verdict", "choices", {"choices": ["later"]}),
        ]
    )
    before = [task.annotations for task in desk.tasks()]
    desk.sdk.projects.update(id=desk.project_id, sampling="Sequential sampling")

    commit_night(desk.store, make_state(8, desk.store), "2026-11-23")  # to be asked about
    written = {info.key: info.etag for info in desk.store.list()}
    with pytest.raises(ConfigError, match=r"note .*quality .*verdict: later .*`review.project`"):
        desk.push("2026-11-23")
    assert {info.key: info.etag for info in desk.store.list()} == written
    assert project(desk).label_config == by_hand
    assert project(desk).sampling == "Sequential sampling", "all or nothing"
    assert [task.annotations for task in desk.tasks()] == before
    assert desk.collect()[1], "what stewards said comes back all the same"


def test_an_older_engine_leaves_a_newer_config_alone(desk: Desk) -> None:
    desk.push()
    this, next_one = (f"lae label config {version}" for version in (VERSION, VERSION + 1))
    newer = set_config(desk, this, next_one)
    with pytest.raises(ConfigError, match=rf"version {VERSION + 1}.*update the engine"):
        desk.push()
    assert project(desk).label_config == newer


def test_a_project_of_another_store_is_left_alone(desk: Desk, s3: S3Server) -> None:
    desk.push()
    before = project(desk)
    bucket = urlsplit(desk.store.uri).netloc
    with closing(s3.client()) as objects:
        other = open_storage(f"s3://{bucket}/other", objects)
        commit_night(other, make_state(8, other), NIGHT)
        written = [info.key for info in other.list()]
        with pytest.raises(ConfigError, match=r"another store's.*/store/.*/other/.*review.project"):
            review.push(other, NIGHT, desk.config, desk.client, desk.access)
        assert [info.key for info in other.list()] == written
    assert project(desk).label_config == before.label_config
    assert len(desk.tasks()) == 1


def test_the_project_links_to_the_guide(desk: Desk) -> None:
    review = desk.config.review.model_copy(update={"guide_url": "https://example.org/guide?a=1&b"})
    desk.config = desk.config.model_copy(update={"review": review})
    desk.push()
    link = '<a href="https://example.org/guide?a=1&amp;b">'
    assert link in project(desk).expert_instruction
    assert "https://example.org/guide?a=1&b" in project(desk).description
    desk.config = desk.config.model_copy(
        update={"review": review.model_copy(update={"guide_url": ""})}
    )
    desk.push()
    assert "example.org" not in project(desk).expert_instruction + project(desk).description
