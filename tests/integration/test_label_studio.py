"""The review stage against a real Label Studio and a real S3 server."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from label_studio_sdk import LabelStudio

from demo.stack.processes import free_port
from demo.stack.services import LabelStudioServer, S3Server
from lae_tasks.accounts import Rejection
from lae_tasks.config import Config
from lae_tasks.contracts import Outcome, ReviewItem, Verdict, VerdictAction
from lae_tasks.errors import ConfigError, TransientError, UnfinishedNightError
from lae_tasks.review.boxes import to_percent
from lae_tasks.review.label_studio import LabelStudioReview, S3Access
from lae_tasks.review.tasks import build_tasks
from lae_tasks.review.verdicts import fold_verdicts
from lae_tasks.stages import review
from lae_tasks.state import State
from lae_tasks.storage import Storage, open_storage
from lae_tasks.tables import read_table
from tests.review_world import make_state

#: The first test waits for Label Studio to start.
pytestmark = pytest.mark.timeout(600)

NIGHT = "2026-11-22"
TODAY = "2026-11-23"


@dataclass
class Desk:
    """A store with a night, a project of its own, and a steward who works by API."""

    store: Storage
    config: Config
    client: LabelStudioReview
    sdk: Any
    access: S3Access
    state: State
    project_id: int = 0

    def push(self) -> Any:
        manifest = review.push(self.state, NIGHT, self.config, self.store, self.client, self.access)
        self.project_id = self.client.find_project(self.config.review.project) or 0
        for item in read_table(self.store, manifest.outputs[0], ReviewItem):
            self.state.review_items[item.record_id] = item
        return manifest

    def collect(self) -> tuple[Any, list[Verdict]]:
        manifest = review.collect(self.state, self.config, self.store, self.client, TODAY)
        if manifest is None:
            return None, []
        for output in manifest.outputs[1:]:
            rejections = read_table(self.store, output, Rejection)
            self.state.refused.update(each.rejected_id for each in rejections)
        verdicts = read_table(self.store, manifest.outputs[0], Verdict)
        self.state.verdicts.update({v.verdict_id: v for v in verdicts})
        return manifest, verdicts

    def tasks(self) -> list[Any]:
        return list(self.sdk.tasks.list(project=self.project_id, fields="all", resolve_uri=False))

    def sent_results(self) -> list[dict[str, Any]]:
        (task,) = self.tasks()
        return json.loads(json.dumps(task.predictions[0].result))

    def submit(self, results: list[dict[str, Any]], rest: str = "rest-accept") -> int:
        (task,) = self.tasks()
        annotation = self.sdk.annotations.create(
            id=task.id, result=[*results, _rest(rest)], lead_time=7.5
        )
        return int(annotation.id)


def _rest(choice: str) -> dict[str, Any]:
    value = {"choices": [choice]}
    return _result("rest", "rest", "choices", value)


def _result(result_id: str, name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"id": result_id, "from_name": name, "to_name": "image", "type": kind, "value": value}


@pytest.fixture
def desk(
    request: pytest.FixtureRequest, s3: S3Server, label_studio: LabelStudioServer
) -> Iterator[Desk]:
    name = request.node.name.replace("_", "-")[:40].rstrip("-")
    objects = s3.client()
    objects.create_bucket(Bucket=name)
    store = open_storage(f"s3://{name}/store", objects)
    config = Config(preset="demo", raw="s3://raw", store=store.uri, review={"project": name})
    access = S3Access(s3.key, s3.secret, region_name=s3.region)
    with (
        closing(objects),
        LabelStudioReview(label_studio.url, label_studio.token) as client,
        httpx.Client(timeout=60, trust_env=False) as http,
    ):
        sdk: Any = LabelStudio(
            base_url=label_studio.url, api_key=label_studio.token, httpx_client=http
        )
        desk = Desk(store, config, client, sdk, access, make_state(store=store))
        yield desk
        if desk.project_id:
            sdk.projects.delete(id=desk.project_id)


def test_push_again_doubles_nothing_and_refills_what_was_lost(desk: Desk) -> None:
    manifest = desk.push()
    to_review = [d for d in desk.state.decisions.values() if d.outcome is Outcome.REVIEW]
    audit = [d for d in desk.state.decisions.values() if d.in_audit]
    assert manifest.n_in == manifest.n_done == len(to_review) + len(audit)
    (task,) = desk.tasks()
    written = {info.key: info.etag for info in desk.store.list()}

    assert desk.push() == manifest
    assert [t.id for t in desk.tasks()] == [task.id]
    assert {info.key: info.etag for info in desk.store.list()} == written

    desk.sdk.tasks.delete(id=str(task.id))
    assert desk.push() == manifest
    assert [t.data["lae_key"] for t in desk.tasks()] == [task.data["lae_key"]]


def test_the_project_is_brought_up_to_date(desk: Desk) -> None:
    desk.push()
    before = desk.sdk.projects.get(id=desk.project_id)
    desk.sdk.projects.update(id=desk.project_id, sampling="Sequential sampling")
    desk.push()
    after = desk.sdk.projects.get(id=desk.project_id)
    assert after.sampling == before.sampling == "Uncertainty sampling"
    assert after.label_config == before.label_config
    assert len(desk.sdk.import_storage.s3.list(project=desk.project_id)) == 1


def test_image_and_vocabulary_come_through_label_studio(
    desk: Desk, label_studio: LabelStudioServer
) -> None:
    desk.push()
    (tile,) = desk.state.tiles.values()
    (task,) = desk.tasks()
    shown = desk.sdk.tasks.get(id=task.id).data["image"]
    assert shown.startswith("/"), "Label Studio itself serves the image"
    with httpx.Client(base_url=label_studio.url, trust_env=False, timeout=30) as http:
        login = {"Authorization": f"Token {label_studio.token}"}
        answer = http.get(shown, headers=login)
        assert answer.status_code == 200
        assert answer.content == desk.store.read(tile.image_key)
        assert http.get(shown).status_code in (302, 401, 403)
    names = [entry["value"] for entry in json.loads(desk.store.read(review.VOCABULARY_KEY))]
    assert {d.category for d in desk.state.decisions.values()} <= set(names)


def test_what_a_steward_does_comes_back(desk: Desk) -> None:
    desk.push()
    assert desk.collect() == (None, [])
    pushed = desk.client.latest_change(desk.project_id, None)
    assert pushed and desk.client.latest_change(desk.project_id, pushed) is None

    (tile,) = desk.state.tiles.values()
    results = desk.sent_results()
    boxes = [result for result in results if result["from_name"] == "box"]
    relabelled, rejected, deleted, adjusted = boxes[:4]
    relabelled["value"]["rectanglelabels"] = ["harbor"]
    results.append(_result(rejected["id"], "verdict", "choices", {"choices": ["reject"]}))
    results.remove(deleted)
    adjusted["value"].update(to_percent((200, 170, 260, 240), tile.window_px))
    drawn = {**to_percent((400, 300, 440, 340), tile.window_px), "rectanglelabels": ["ship"]}
    results.append(_result("drawn", "box", "rectanglelabels", drawn))
    annotation_id = desk.submit(results)

    seen = desk.client.latest_change(desk.project_id, pushed)
    assert seen and desk.client.latest_change(desk.project_id, seen) is None
    assert review.has_news(desk.state, desk.config, desk.client)
    manifest, verdicts = desk.collect()
    assert (manifest.n_in, manifest.n_done) == (1, 1)
    assert manifest.counts == {"accept": 3, "add": 1, "adjust": 1, "reject": 2, "relabel": 1}
    by_region = {v.region_id: v for v in verdicts}
    items = {item.region_id: item for item in desk.state.review_items.values()}
    assert by_region[relabelled["id"]].category == "harbor"
    assert by_region[rejected["id"]].category is None
    assert by_region[deleted["id"]].action is VerdictAction.REJECT
    assert by_region[adjusted["id"]].bbox_xyxy_px == (200, 170, 260, 240)
    for verdict in verdicts:
        assert (verdict.annotation_id, verdict.annotator) == (annotation_id, "admin@lae.local")
        assert verdict.seconds == 7.5
        if verdict.action is VerdictAction.ACCEPT:
            assert verdict.bbox_xyxy_px == items[verdict.region_id].bbox_xyxy_px
    (added,) = (v for v in verdicts if v.action is VerdictAction.ADD)
    assert (added.category, added.bbox_xyxy_px) == ("ship", (400, 300, 440, 340))

    written = {info.key: info.etag for info in desk.store.list()}
    assert not review.has_news(desk.state, desk.config, desk.client)
    assert desk.collect() == (None, [])
    assert {info.key: info.etag for info in desk.store.list()} == written

    edited = [*results, _result(rejected["id"], "newname", "textarea", {"text": ["Helipads"]})]
    edited = [r for r in edited if r["from_name"] != "verdict"]
    desk.sdk.annotations.update(id=annotation_id, result=[*edited, _rest("rest-accept")])
    manifest, again = desk.collect()
    assert len(again) == len(verdicts)
    assert not {v.verdict_id for v in again} & {v.verdict_id for v in verdicts}
    folded = fold_verdicts(desk.state.verdicts.values())
    assert len(folded) == len(verdicts)
    assert folded[rejected["id"]].category == "helipad"
    assert desk.collect() == (None, [])


def test_a_steward_takes_back_what_they_decided(desk: Desk) -> None:
    desk.push()
    results = desk.sent_results()
    annotation_id = desk.submit(results)
    _, verdicts = desk.collect()
    first = next(result["id"] for result in results if result["from_name"] == "box")

    def edit(results: list[dict[str, Any]]) -> dict[str, VerdictAction]:
        desk.sdk.annotations.update(id=annotation_id, result=results)
        _, news = desk.collect()
        assert desk.collect() == (None, [])
        return {verdict.region_id: verdict.action for verdict in news}

    unsure = _result(first, "verdict", "choices", {"choices": ["unsure"]})
    changed = edit([*results, unsure, _rest("rest-accept")])
    assert changed.pop(first) is VerdictAction.WITHDRAW
    assert set(changed.values()) == {VerdictAction.ACCEPT}
    assert len(fold_verdicts(desk.state.verdicts.values())) == len(verdicts) - 1

    assert set(edit([]).values()) == {VerdictAction.WITHDRAW}
    assert fold_verdicts(desk.state.verdicts.values()) == {}
    edit([*results, _rest("rest-accept")])
    assert len(fold_verdicts(desk.state.verdicts.values())) == len(verdicts)

    desk.sdk.annotations.delete(id=annotation_id)
    assert review.has_news(desk.state, desk.config, desk.client)
    _, news = desk.collect()
    assert {verdict.action for verdict in news} == {VerdictAction.WITHDRAW}
    assert fold_verdicts(desk.state.verdicts.values()) == {}
    assert desk.collect() == (None, [])


def test_verdicts_outlive_their_task_and_old_tasks_outlive_a_rerun(desk: Desk) -> None:
    desk.push()
    old = {task.id for task in desk.tasks()}
    # The night runs again and decides otherwise: one region less goes to review.
    dropped = next(i for i, d in desk.state.decisions.items() if d.outcome is Outcome.REVIEW)
    decision = desk.state.decisions.pop(dropped)
    desk.push()
    (new_task,) = [task for task in desk.tasks() if task.id not in old]
    (old_task,) = [task for task in desk.tasks() if task.id in old]
    results = json.loads(json.dumps(old_task.predictions[0].result))
    desk.sdk.annotations.create(id=old_task.id, result=[*results, _rest("rest-accept")])
    manifest, verdicts = desk.collect()
    assert manifest.rejected_by_reason == {}
    assert dropped in {verdict.region_id for verdict in verdicts}

    for task in (old_task, new_task):
        desk.sdk.tasks.delete(id=str(task.id))
    desk.state.decisions[dropped] = decision
    desk.push()  # the old task once more, under its old key: another task
    assert desk.collect() == (None, [])
    assert len(fold_verdicts(desk.state.verdicts.values())) == len(verdicts)


def test_two_tasks_of_the_same_key_do_not_undo_each_other(desk: Desk) -> None:
    desk.push()
    first = desk.tasks()[0]
    (payload,) = (task.payload() for task in build_tasks(desk.state, desk.store.uri, NIGHT))
    made = desk.sdk.projects.import_tasks(
        id=desk.project_id, request=[payload], return_task_ids=True
    )
    results = [*json.loads(json.dumps(first.predictions[0].result)), _rest("rest-accept")]
    desk.sdk.annotations.create(id=first.id, result=results)
    _, verdicts = desk.collect()
    assert desk.collect() == (None, [])
    desk.sdk.annotations.create(id=made.task_ids[0], result=results, was_cancelled=True)
    assert desk.collect() == (None, [])
    assert len(fold_verdicts(desk.state.verdicts.values())) == len(verdicts)


def test_a_night_that_ran_again_or_renamed_its_regions(desk: Desk) -> None:
    desk.push()
    (old,) = desk.tasks()
    region_id, decision = next(
        (i, d) for i, d in desk.state.decisions.items() if d.outcome is Outcome.REVIEW
    )
    desk.state.decisions[region_id] = decision.model_copy(update={"category": "harbor"})
    desk.push()
    results = json.loads(json.dumps(old.predictions[0].result))
    desk.sdk.annotations.create(id=old.id, result=[*results, _rest("rest-unchecked")])
    assert desk.collect() == (None, []), "the steward saw the old name, and left it"
    desk.state.unfinished.append(NIGHT)
    with pytest.raises(UnfinishedNightError, match="push when it is routed"):
        desk.push()


def test_all_right_accepts_all(desk: Desk) -> None:
    desk.push()
    desk.submit(desk.sent_results())
    _, verdicts = desk.collect()
    assert {v.action for v in verdicts} == {VerdictAction.ACCEPT}
    assert {v.region_id for v in verdicts} == {
        item.region_id for item in desk.state.review_items.values()
    }


def test_a_skipped_or_unchecked_task_decides_nothing(desk: Desk) -> None:
    desk.push()
    (task,) = desk.tasks()
    desk.submit(desk.sent_results(), "rest-unchecked")
    results = [*desk.sent_results(), _rest("rest-accept")]
    desk.sdk.annotations.create(id=task.id, result=results, was_cancelled=True)
    assert desk.collect() == (None, [])


def test_tasks_of_others_are_counted_not_taken(desk: Desk) -> None:
    desk.push()
    desk.submit(desk.sent_results())
    foreign = {"data": {"image": "s3://x/y.png", "title": "mine", "labels": []}}
    made = desk.sdk.projects.import_tasks(
        id=desk.project_id, request=[foreign], return_task_ids=True
    )
    desk.sdk.annotations.create(id=made.task_ids[0], result=[_rest("rest-accept")])
    manifest, verdicts = desk.collect()
    assert (manifest.n_in, manifest.n_done, manifest.n_rejected) == (2, 1, 1)
    assert manifest.rejected_by_reason == {"unknown task": 1}
    (rejection,) = read_table(desk.store, manifest.outputs[1], Rejection)
    assert "lae_key None" in rejection.detail
    assert len(verdicts) == len(desk.state.review_items)
    assert desk.collect() == (None, []), "what was refused once is not told again"


def test_a_wrong_token_and_a_silent_server_say_what_to_do(label_studio: LabelStudioServer) -> None:
    with (
        LabelStudioReview(label_studio.url, "0" * 40) as client,
        pytest.raises(ConfigError, match=r"HTTP 401.*LABEL_STUDIO_API_KEY"),
    ):
        client.find_project("any")
    with (
        LabelStudioReview(f"http://127.0.0.1:{free_port()}", "0" * 40) as client,
        pytest.raises(TransientError, match=r"looking for project 'any'.*ConnectError"),
    ):
        client.find_project("any")
    with pytest.raises(ConfigError, match="LABEL_STUDIO_API_KEY"):
        LabelStudioReview(label_studio.url, "")


def test_a_local_store_is_refused_with_the_remedy(desk: Desk, tmp_path: Any) -> None:
    desk.store = open_storage(str(tmp_path))
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        desk.push()
