"""Nights on a real Airflow with its scheduler: the same bytes as by the command line."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from label_studio_sdk import LabelStudio

from demo.scenes import write_world
from demo.stack.services import LabelStudioServer, S3Server
from demo.stack.settings import REPO
from lae_tasks.config_file import load_config
from lae_tasks.formats import coco
from lae_tasks.runner import iter_manifests, read_manifest
from lae_tasks.storage import Storage, open_storage
from tests.integration.airflow_stack import Airflow, airflow_server, lae

pytestmark = pytest.mark.timeout(1500)

#: Other models may be named to try the engine with.
MODELS = Path(os.environ.get("LAE_TEST_MODELS", REPO / "demo" / "models"))
BUCKET = "lae-airflow"
PROJECT = "LAE Airflow test"
RUN_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class World:
    """Imagery in a bucket, a store that Airflow fills, and one that the command line fills."""

    airflow: Airflow
    s3: Any
    endpoint: S3Server
    studio: LabelStudioServer
    store: Storage
    by_hand: Storage
    config: Path

    def upload(self, folder: Path, name: str) -> None:
        """Puts the scenes of a folder below the raw prefix."""
        for file in sorted(folder.rglob("*.tif")):
            key = f"scenes/{name}-{file.name}"
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())

    def run_by_hand(self, night: str) -> None:
        """Runs a night by the command line, into the other store."""
        env = self.endpoint.env() | {"LAE_CONFIG": str(self.config)}
        lae("run", "--night", night, "--store", self.by_hand.uri, "--no-push", env=env)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, s3: S3Server, label_studio: LabelStudioServer
) -> Iterator[World]:
    if not MODELS.is_dir():
        pytest.skip(f"no models in {MODELS}")
    folder = tmp_path_factory.mktemp("airflow")
    config = folder / "lae.yaml"
    settings = {
        "preset": "demo",
        "raw": f"s3://{BUCKET}/scenes",
        "store": f"s3://{BUCKET}/store",
        "ingest": {"shard_scenes": 1},
        "segment": {
            "checkpoint": str(MODELS / "sam" / "model.safetensors"),
            "points_per_side": 8,
            "crop_n_layers": 0,
        },
        "classify": {"model": str(MODELS / "lvlm"), "clip_model": f"local-dir:{MODELS / 'clip'}"},
        "route": {"audit_share": 1.0},  # whatever the models make of it, there is work
        "review": {"project": PROJECT},
    }
    config.write_text(yaml.safe_dump(settings))
    env = {"AIRFLOW_VAR_LAE_REVIEW_QUIET_S": "2", "AIRFLOW_VAR_LAE_REVIEW_POLL_S": "1"}
    with (
        closing(s3.client()) as client,
        airflow_server(folder / "state", config, s3, label_studio, env) as airflow,
    ):
        client.create_bucket(Bucket=BUCKET)
        yield World(
            airflow=airflow,
            s3=client,
            endpoint=s3,
            studio=label_studio,
            store=open_storage(load_config(config).store, client),
            by_hand=open_storage(f"s3://{BUCKET}/by-hand", client),
            config=config,
        )


def routed(store: Storage, night: str) -> dict[str, str]:
    """The digests of what a night decided."""
    manifest = read_manifest(store, "route", night, "all")
    assert manifest is not None
    return {output.key: output.sha256 for output in manifest.outputs}


def latest_release(store: Storage) -> dict[str, Any]:
    version = store.read("releases/LATEST").decode().strip()
    found: dict[str, Any] = json.loads(store.read(f"releases/{version}/manifest.json"))
    return found


@pytest.fixture(scope="module")
def first_night(world: World, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two scenes, worked on by the run that the schedule makes; its night."""
    folder = tmp_path_factory.mktemp("two-scenes")
    write_world(folder, 2, 512, 3)
    world.upload(folder, "first")
    api = world.airflow.api
    due = api.next_scheduled("lae_nightly")
    assert due is not None
    for dag_id in ("lae_release", "lae_nightly"):
        api.unpause(dag_id)
    night = due.date().isoformat()
    run = world.airflow.wait_for_run("lae_nightly", night, RUN_TIMEOUT_S)
    states = world.airflow.states(run)
    assert set(states.values()) == {"success"}, (states, world.airflow.logs())
    assert {index for name, index in states if name == "shards.segment"} == {0, 1}
    return night


def test_a_night_is_the_same_by_airflow_and_by_the_command_line(
    world: World, first_night: str
) -> None:
    release = world.airflow.wait_for_run("lae_release", first_night, RUN_TIMEOUT_S)
    assert release["state"] == "success", world.airflow.logs()
    world.run_by_hand(first_night)
    assert routed(world.store, first_night) == routed(world.by_hand, first_night)
    published, by_hand = latest_release(world.store), latest_release(world.by_hand)
    assert published["version"] == by_hand["version"] == "v1.0.0"
    assert published["digest"] == by_hand["digest"]


def test_a_killed_task_is_tried_again_and_changes_nothing(
    world: World, first_night: str, tmp_path: Path
) -> None:
    write_world(tmp_path, 1, 2048, 4)  # 36 tiles: long enough to be killed in the middle
    world.upload(tmp_path, "second")
    night = (date.fromisoformat(first_night) + timedelta(days=1)).isoformat()
    airflow = world.airflow
    run = airflow.api.trigger("lae_nightly", night)
    task = airflow.wait_for_task(run, "shards.segment", "running", 120)
    process = airflow.process_of(task)
    deadline = time.monotonic() + 60
    while process.cpu_times().user < 3:  # the model is loaded and at work
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.kill()
    assert read_manifest(world.store, "tile", night, "0000") is not None
    assert read_manifest(world.store, "segment", night, "0000") is None
    ended = airflow.wait_for(run, RUN_TIMEOUT_S)
    assert ended["state"] == "success", airflow.logs()
    tasks = airflow.api.tasks("lae_nightly", run["dag_run_id"])
    tries = {t["task_id"]: t["try_number"] for t in tasks}
    assert tries["shards.segment"] == 2
    assert tries["shards.tile"] == tries["shards.classify"] == 1
    world.run_by_hand(night)
    assert routed(world.store, night) == routed(world.by_hand, night)
    airflow.wait_for_run("lae_release", night, RUN_TIMEOUT_S)
    assert latest_release(world.store)["digest"] == latest_release(world.by_hand)["digest"]
    assert latest_release(world.store)["version"] == "v1.1.0"


def reject_a_box(studio: LabelStudioServer, published: set[str]) -> str:
    """What a steward does to a task: a box that was published is wrong, the others are right."""
    with httpx.Client(timeout=60, trust_env=False) as http:
        return _reject(
            LabelStudio(base_url=studio.url, api_key=studio.token, httpx_client=http), published
        )


def _reject(sdk: Any, published: set[str]) -> str:
    (project,) = [p for p in sdk.projects.list() if p.title == PROJECT]
    tasks = sdk.tasks.list(project=project.id, fields="all", resolve_uri=False)
    task, sent, box = next(
        (task, task.predictions[0].result, result["id"])
        for task in tasks
        for result in task.predictions[0].result
        if result["from_name"] == "box" and result["id"] in published
    )
    common = {"to_name": "image", "type": "choices"}
    wrong = {"id": box, "from_name": "verdict", "value": {"choices": ["reject"]}}
    rest = {"id": "rest", "from_name": "rest", "value": {"choices": ["rest-accept"]}}
    sdk.annotations.create(id=task.id, result=[*sent, common | wrong, common | rest])
    return str(box)


def test_verdicts_come_back_and_start_a_release(world: World, first_night: str) -> None:
    airflow = world.airflow
    airflow.wait_for_run("lae_release", first_night, RUN_TIMEOUT_S)
    before = latest_release(world.store)
    airflow.api.unpause("lae_review")
    run = airflow.wait_for_first_run("lae_review", 400)
    airflow.wait_for_task(run, "wait_for_verdicts", "deferred", 120)
    rejected = reject_a_box(world.studio, regions(world.store, before))
    ended = airflow.wait_for(run, RUN_TIMEOUT_S)
    states = airflow.states(ended)
    # One verdict is too few to learn from.
    assert {name: state for (name, _), state in states.items()} == {
        "wait_for_verdicts": "success",
        "collect": "success",
        "follow_up": "success",
        "calibrate": "skipped",
        "route_again": "skipped",
    }, (states, airflow.logs())
    (batch,) = iter_manifests(world.store, "collect")
    key = f"{batch.night}-{batch.shard}"
    release = airflow.wait_for_run("lae_release", key, RUN_TIMEOUT_S)
    assert release["state"] == "success", airflow.logs()
    after = latest_release(world.store)
    assert after["parent"] == before["version"]
    assert after["version"].rpartition(".")[2] == "1", "corrected labels make a patch version"
    assert rejected not in regions(world.store, after)
    # What the steward did was also hinted at; so the next run did not wait for the clock.
    hinted = airflow.wait_for_first_run("lae_review", 60, "asset_triggered")
    assert [event["action"] for event in airflow.started_by(hinted)] == ["ANNOTATION_CREATED"]
    airflow.wait_for_task(hinted, "wait_for_verdicts", "deferred", 120)


def regions(store: Storage, release: dict[str, Any]) -> set[str]:
    """The regions that a release's COCO file annotates."""
    (file,) = [file for file in release["files"] if file["path"] == coco.PATH]
    annotations = json.loads(store.read(file["key"]))["annotations"]
    return {annotation["region_id"] for annotation in annotations}


def test_a_wrong_setting_fails_at_once(world: World, first_night: str) -> None:
    api = world.airflow.api
    right = world.config.read_text()
    world.config.write_text(f"{right}tilee: {{}}\n")
    try:
        run = api.trigger("lae_nightly", "2027-01-01")
        assert world.airflow.wait_for(run, 180)["state"] == "failed"
    finally:
        world.config.write_text(right)
    tasks = {task["task_id"]: task for task in api.tasks("lae_nightly", run["dag_run_id"])}
    assert tasks["check_models"]["state"] == "failed"
    assert tasks["check_models"]["try_number"] == 1
    assert tasks["ingest"]["state"] == "upstream_failed"
    assert "did you mean tile?" in world.airflow.logs()
