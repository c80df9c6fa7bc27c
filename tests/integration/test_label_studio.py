"""The review stage against a real Label Studio and a real S3 server."""

import json
from typing import Any

import httpx
import pytest

from demo.stack.processes import free_port
from demo.stack.services import LabelStudioServer, S3Server
from lae_tasks.accounts import Rejection
from lae_tasks.contracts import Outcome, VerdictAction
from lae_tasks.errors import ConfigError, ContractError, TransientError, UnfinishedNightError
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.review.boxes import to_percent
from lae_tasks.review.image_storage import S3Access
from lae_tasks.review.label_studio import LabelStudioReview
from lae_tasks.review.verdicts import fold_verdicts
from lae_tasks.stages import review
from lae_tasks.storage import open_storage
from lae_tasks.tables import read_table
from tests.integration.desk import NIGHT, TODAY, Desk, rest, result
from tests.review_world import tasks_of

#: The first test waits for Label Studio to start.
pytestmark = pytest.mark.timeout(600)


def test_push_again_doubles_nothing_and_refills_what_was_lost(desk: Desk) -> None:
    pushed = desk.push()
    to_review = [d for d in desk.night.decisions.values() if d.outcome is Outcome.REVIEW]
    assert pushed.manifest and pushed.manifest.n_in == pushed.manifest.n_done == len(to_review)
    assert (pushed.tasks, pushed.present, pushed.waiting) == (1, 0, 0)
    (task,) = desk.tasks()
    written = {info.key: info.etag for info in desk.store.list()}

    again = desk.push()
    assert (again.manifest, again.tasks, again.present) == (None, 0, 1)
    assert [t.id for t in desk.tasks()] == [task.id]
    assert {info.key: info.etag for info in desk.store.list()} == written

    desk.sdk.tasks.delete(id=str(task.id))
    # What the night says now does not matter: what was filed is sent again.
    region_id = to_review[0].region_id
    rejected = desk.night.decisions[region_id].model_copy(update={"outcome": Outcome.REJECT})
    desk.night.decisions[region_id] = rejected
    refilled = desk.push()
    assert (refilled.manifest, refilled.tasks) == (None, 1)
    (new,) = desk.tasks()
    assert new.data["lae_key"] == task.data["lae_key"]
    assert {r["id"] for r in new.predictions[0].result if r["from_name"] == "box"} == {
        decision.region_id for decision in to_review
    }


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
    (tile,) = desk.night.tiles.values()
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
    assert {d.category for d in desk.night.decisions.values()} <= set(names)


def test_the_search_list_has_what_is_said_now_and_may_be_said(desk: Desk) -> None:
    vocabulary = Vocabulary.model_validate({"categories": ["pier"], "blocked": ["object"]})
    desk.config = desk.config.model_copy(update={"vocabulary": vocabulary})
    desk.push()

    def names() -> set[str]:
        desk.push()
        return {entry["value"] for entry in json.loads(desk.store.read(review.VOCABULARY_KEY))}

    before = names()
    assert "pier" in before and {d.category for d in desk.night.decisions.values()} <= before
    results = desk.sent_results()
    one, other = [str(each["id"]) for each in results if each["from_name"] == "box"][:2]
    blocked = result(other, "newname", "textarea", {"text": ["object"]})
    typo = result(one, "newname", "textarea", {"text": ["lighthuose"]})
    annotation_id = desk.submit([*results, typo, blocked])
    desk.collect()
    assert names() == before | {"lighthuose"}
    corrected = result(one, "newname", "textarea", {"text": ["lighthouse"]})
    desk.sdk.annotations.update(id=annotation_id, result=[*results, corrected, rest("rest-accept")])
    desk.collect()
    assert names() == before | {"lighthouse"}


def test_a_storage_is_brought_up_to_date_whole(desk: Desk, s3: S3Server) -> None:
    desk.access = S3Access(s3.key, s3.secret, "old token", "us-west-2", s3.endpoint)
    desk.push()

    def storage() -> tuple[Any, ...]:
        (found,) = desk.sdk.import_storage.s3.list(project=desk.project_id)
        return found.region_name, found.s3endpoint

    assert storage() == ("us-west-2", s3.endpoint)
    desk.access = S3Access(s3.key, s3.secret)
    desk.push()
    assert not any(storage()), "Label Studio would go on with what was there before"


def test_what_label_studio_says_of_an_error_is_told(desk: Desk) -> None:
    desk.push()
    with pytest.raises(ConfigError) as raised:
        desk.client._summary(desk.project_id + 1_000_000)
    assert "HTTP 404" in str(raised.value) and "no JSON" not in str(raised.value)


def test_what_a_steward_does_comes_back(desk: Desk) -> None:
    desk.push()
    assert desk.collect() == (None, [])
    pushed = desk.client.latest_change(desk.project_id, None)
    assert pushed and desk.client.latest_change(desk.project_id, pushed) is None

    (tile,) = desk.night.tiles.values()
    results = desk.sent_results()
    boxes = [result for result in results if result["from_name"] == "box"]
    relabelled, rejected, deleted, adjusted = boxes[:4]
    relabelled["value"]["rectanglelabels"] = ["harbor"]
    results.append(result(rejected["id"], "verdict", "choices", {"choices": ["reject"]}))
    results.remove(deleted)
    adjusted["value"].update(to_percent((200, 170, 260, 240), tile.window_px))
    drawn = {**to_percent((400, 300, 440, 340), tile.window_px), "rectanglelabels": ["ship"]}
    results.append(result("drawn", "box", "rectanglelabels", drawn))
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

    edited = [*results, result(rejected["id"], "newname", "textarea", {"text": ["Helipads"]})]
    edited = [r for r in edited if r["from_name"] != "verdict"]
    desk.sdk.annotations.update(id=annotation_id, result=[*edited, rest("rest-accept")])
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

    unsure = result(first, "verdict", "choices", {"choices": ["unsure"]})
    changed = edit([*results, unsure, rest("rest-accept")])
    assert changed.pop(first) is VerdictAction.UNDECIDED
    assert set(changed.values()) == {VerdictAction.ACCEPT}
    assert len(fold_verdicts(desk.state.verdicts.values())) == len(verdicts) - 1

    assert set(edit([]).values()) == {VerdictAction.WITHDRAW}
    assert fold_verdicts(desk.state.verdicts.values()) == {}
    edit([*results, rest("rest-accept")])
    assert len(fold_verdicts(desk.state.verdicts.values())) == len(verdicts)

    desk.sdk.annotations.delete(id=annotation_id)
    assert review.has_news(desk.state, desk.config, desk.client)
    _, news = desk.collect()
    assert {verdict.action for verdict in news} == {VerdictAction.WITHDRAW}
    assert fold_verdicts(desk.state.verdicts.values()) == {}
    assert desk.collect() == (None, [])


def test_old_tasks_outlive_a_rerun_and_verdicts_their_task(desk: Desk) -> None:
    desk.push()
    (old,) = desk.tasks()
    # The night runs again: one region is gone.
    gone = next(i for i, d in desk.night.decisions.items() if d.outcome is Outcome.REVIEW)
    decision, region = desk.night.decisions.pop(gone), desk.night.regions.pop(gone)
    desk.push()
    assert [task.id for task in desk.tasks()] == [old.id], "what was asked is not asked again"
    annotation_id = desk.submit(desk.sent_results())
    manifest, verdicts = desk.collect()
    assert manifest.rejected_by_reason == {}
    assert gone in {verdict.region_id for verdict in verdicts}

    # Taken back, it waits for a look again, and the task is lost.
    desk.sdk.annotations.delete(id=annotation_id)
    desk.collect()
    desk.sdk.tasks.delete(id=str(old.id))
    desk.push()  # the old task once more, under its old key, without what is gone: another task
    assert desk.collect() == (None, [])
    assert gone not in {result["id"] for result in desk.sent_results()}
    desk.submit(desk.sent_results())
    _, again = desk.collect()
    assert {v.action for v in again} == {VerdictAction.ACCEPT}, "nothing is said of what is gone"
    assert {v.region_id for v in verdicts} - {v.region_id for v in again} == {gone}

    (task,) = desk.tasks()
    desk.sdk.tasks.delete(id=str(task.id))
    assert desk.push().tasks == 0, "it was decided"
    assert desk.collect() == (None, [])
    assert len(fold_verdicts(desk.state.verdicts.values())) == len(again)
    desk.night.decisions[gone], desk.night.regions[gone] = decision, region


def test_two_tasks_of_the_same_key_do_not_undo_each_other(desk: Desk) -> None:
    desk.push()
    first = desk.tasks()[0]
    items = desk.state.review_items.values()
    (payload,) = (task.payload() for task in tasks_of(desk.night, desk.store.uri, NIGHT, items))
    made = desk.sdk.projects.import_tasks(
        id=desk.project_id, request=[payload], return_task_ids=True
    )
    results = [*json.loads(json.dumps(first.predictions[0].result)), rest("rest-accept")]
    desk.sdk.annotations.create(id=first.id, result=results)
    other = desk.sdk.annotations.create(id=made.task_ids[0], result=results)
    _, verdicts = desk.collect()
    assert desk.collect() == (None, [])
    desk.sdk.annotations.delete(id=other.id)
    _, news = desk.collect()
    assert {verdict.action for verdict in news} == {VerdictAction.WITHDRAW}
    assert desk.collect() == (None, [])
    assert len(fold_verdicts(desk.state.verdicts.values())) == len(verdicts) // 2


def test_a_night_that_runs_again_or_renamed_its_regions(desk: Desk) -> None:
    desk.push()
    region_id, decision = next(
        (i, d) for i, d in desk.night.decisions.items() if d.outcome is Outcome.REVIEW
    )
    desk.night.decisions[region_id] = decision.model_copy(update={"category": "harbor"})
    desk.push()
    desk.submit(desk.sent_results(), "rest-unchecked")
    _, verdicts = desk.collect()
    said = {verdict.action for verdict in verdicts}
    assert said == {VerdictAction.UNDECIDED}, "the steward saw the old name, and left it"
    segment = next(info.key for info in desk.store.list(f"runs/segment/{NIGHT}/0000.json"))
    manifest = json.loads(desk.store.read(segment))
    desk.store.write(segment, json.dumps(manifest | {"inputs": ["another"]}).encode())
    with pytest.raises(UnfinishedNightError, match="push when it is routed"):
        review.push(desk.store, NIGHT, desk.config, desk.client, desk.access)
    with pytest.raises(ContractError, match="2026-01-01 is not routed"):
        review.push(desk.store, "2026-01-01", desk.config, desk.client, desk.access)


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
    results = [*desk.sent_results(), rest("rest-accept")]
    desk.sdk.annotations.create(id=task.id, result=results, was_cancelled=True)
    manifest, verdicts = desk.collect()
    assert manifest.counts == {"undecided": len(desk.state.review_items)}, "none of the skipped one"
    assert fold_verdicts(verdicts) == {}
    assert desk.collect() == (None, [])


def test_tasks_of_others_are_counted_not_taken(desk: Desk) -> None:
    desk.push()
    desk.submit(desk.sent_results())
    foreign = {"data": {"image": "s3://x/y.png", "title": "mine", "labels": []}}
    made = desk.sdk.projects.import_tasks(
        id=desk.project_id, request=[foreign], return_task_ids=True
    )
    desk.sdk.annotations.create(id=made.task_ids[0], result=[rest("rest-accept")])
    manifest, verdicts = desk.collect()
    assert (manifest.n_in, manifest.n_done, manifest.n_rejected) == (2, 1, 1)
    assert manifest.rejected_by_reason == {"unknown task": 1}
    (rejection,) = read_table(desk.store, manifest.outputs[1], Rejection)
    assert "lae_key None" in rejection.detail
    assert len(verdicts) == len(desk.state.review_items)
    assert desk.collect() == (None, []), "what was refused once is not told again"


def test_what_was_filed_and_annotated_while_collecting_is_read_the_next_time(desk: Desk) -> None:
    before = desk.state
    desk.push()
    desk.submit(desk.sent_results())
    manifest = review.collect(before, desk.config, desk.store, desk.client, TODAY)
    assert manifest and manifest.rejected_by_reason == {"unknown task": 1}
    assert review.has_news(desk.state, desk.config, desk.client)
    _, verdicts = desk.collect()
    assert len(verdicts) == len(desk.state.review_items)
    assert desk.collect() == (None, [])


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
    desk.config = desk.config.model_copy(update={"store": str(tmp_path)})
    with pytest.raises(ConfigError, match="s3://bucket/prefix"):
        desk.push()
