"""A night whose crops a server names: the demo's model behind OpenAI's protocol, and its faults."""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.scenes import write_world
from demo.stack.settings import REPO
from lae_tasks.accounts import Manifest
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.config_file import load_config
from lae_tasks.contracts import Label
from lae_tasks.local import open_night
from lae_tasks.night import Night, run_stage
from lae_tasks.storage import LocalStorage
from lae_tasks.tables import read_table
from tests.lvlm_server import (
    Answer,
    Fault,
    HttpError,
    LvlmServer,
    demo_model,
    digest_of_crop,
    lvlm_server,
)

NIGHT = "2026-11-22"
SHARD = "0000"
IN_FLIGHT = 4
#: Replies of a part of the journal, which a killed process may not have written.
UNWRITTEN = 32


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes in one shard, cut and segmented: what there is to name."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder / "raw", 2, 768, 990000, lambda _: None)
    night = night_of(folder, {"namer": "local"})
    run_stage(night, "ingest")
    for stage in ("tile", "segment"):
        run_stage(night, stage, SHARD)
    return folder


@pytest.fixture(scope="module")
def local(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """The same, named by the model in this process."""
    night = night_of(copy_of(world, tmp_path_factory.mktemp("local")), {"namer": "local"})
    run_stage(night, "classify", SHARD)
    return night


def copy_of(world: Path, folder: Path) -> Path:
    for name in ("raw", "store"):
        shutil.copytree(world / name, folder / name)
    return folder


def write_config(folder: Path, classify: dict[str, Any]) -> Path:
    """The demo's settings without CLIP, with other ones for naming."""
    settings = yaml.safe_load((REPO / "demo" / "lae.yaml").read_text())
    models = REPO / "demo" / "models"
    settings["segment"]["checkpoint"] = str(models / "sam" / "model.safetensors")
    settings["classify"] = {"model": str(models / "lvlm")} | classify
    settings |= {"raw": str(folder / "raw"), "store": str(folder / "store")}
    path = folder / "lae.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def night_of(folder: Path, classify: dict[str, Any]) -> Night:
    return open_night(load_config(write_config(folder, classify)), NIGHT)


def remote(server: LvlmServer, **settings: Any) -> dict[str, Any]:
    defaults = {"base_url": server.url, "max_in_flight": IN_FLIGHT, "timeout_s": 30.0}
    return {"namer": "remote", "model": "demo-lvlm", "remote": defaults | settings}


def labels_of(night: Night) -> list[Label]:
    manifest = run_stage(night, "classify", SHARD)
    return read_table(night.store, manifest.outputs[0], Label)


def replies_kept(folder: Path) -> list[str]:
    return [info.key for info in LocalStorage(folder / "store").list("replies/")]


def by_digest(crop: Image, _body: dict[str, Any]) -> Reply:
    text = f'"thing {digest_of_crop(crop)[:6]}" with likelihood 0.9'
    return Reply(text, (len(text),), (0.5,))


def asked_twice(server: LvlmServer, manifest: Manifest) -> int:
    """How many answers came that were not needed: each region needs one."""
    return sum(server.answered.values()) - manifest.n_in


@pytest.mark.timeout(900)
def test_with_faults_the_labels_are_those_of_the_local_model(
    world: Path, local: Night, tmp_path: Path
) -> None:
    every = list(Fault)
    with lvlm_server(demo_model()) as server:
        server.slow_s = 8.0
        server.faults = {2 + 4 * i: every[i % len(every)] for i in range(2 * len(every))}
        night = night_of(copy_of(world, tmp_path), remote(server, timeout_s=6.0))
        manifest = run_stage(night, "classify", SHARD)
        assert {asked.fault for asked in server.asked if asked.fault} == set(every)
        assert asked_twice(server, manifest) == 0
        assert manifest.counts["retries"] == len(server.faults)
        assert manifest.counts["requests"] == manifest.n_in + len(server.faults)
        assert manifest.counts["prompt_tokens"] == 100 * manifest.n_in
    same = run_stage(local, "classify", SHARD)
    assert (manifest.n_in, manifest.n_done) == (same.n_in, same.n_done)
    assert manifest.rejected_by_reason == same.rejected_by_reason
    ours, theirs = labels_of(night), labels_of(local)
    for label, expected in zip(ours, theirs, strict=True):
        assert (label.region_id, label.reply) == (expected.region_id, expected.reply)
        assert label.category_said == expected.category_said
        assert label.likelihood_said == expected.likelihood_said
        assert label.token_confidence == pytest.approx(expected.token_confidence, abs=2e-3)
        assert label.model_revision == "remote-demo-lvlm"
    assert sum(label.token_confidence is not None for label in ours) > 0.5 * len(ours)
    # Done anew, as with another vocabulary: every reply is there, and the server is gone.
    night.store.delete(f"runs/classify/{NIGHT}/{SHARD}.json")
    assert run_stage(night, "classify", SHARD).counts["replies_kept"] == manifest.n_in
    assert labels_of(night) == ours


def lae_run(folder: Path) -> list[str]:
    config = str(folder / "lae.yaml")
    command = [sys.executable, "-m", "lae_tasks", "run", "-c", config, "--night", NIGHT]
    return [*command, "--no-push", "--no-release"]


@pytest.mark.timeout(600)
def test_a_night_that_is_killed_pays_only_for_the_rest(world: Path, tmp_path: Path) -> None:
    def speak(crop: Image, body: dict[str, Any]) -> Reply:
        time.sleep(0.05)
        return by_digest(crop, body)

    with lvlm_server(speak) as server:
        night = night_of(copy_of(world, tmp_path), remote(server))
        process = subprocess.Popen(
            lae_run(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while sum(server.answered.values()) < UNWRITTEN + 15:
                assert process.poll() is None
                time.sleep(0.01)
        finally:
            process.kill()
            process.wait()
        while server.at_once:
            time.sleep(0.05)
        before = sum(server.answered.values())
        assert replies_kept(tmp_path)
        manifest = run_stage(night, "classify", SHARD)
        assert before < manifest.n_in
        assert 0 <= asked_twice(server, manifest) <= UNWRITTEN + IN_FLIGHT
        assert manifest.counts["replies_kept"] >= UNWRITTEN
        # What the manifest counts is what was paid for its replies, by both.
        assert manifest.counts["requests"] == manifest.n_in
    assert manifest.n_done == manifest.n_in
    assert all(label.reply.startswith('"thing ') for label in labels_of(night))


@pytest.mark.timeout(600)
def test_what_was_refused_is_asked_about_again(world: Path, tmp_path: Path) -> None:
    def picky(crop: Image, body: dict[str, Any]) -> Answer:
        if int(digest_of_crop(crop)[:2], 16) % 5 == 0:
            return HttpError(400, "not while this model is loaded")
        return by_digest(crop, body)

    with lvlm_server(picky) as server:
        night = night_of(copy_of(world, tmp_path), remote(server))
        first = run_stage(night, "classify", SHARD)
        refused = first.rejected_by_reason["no reply"]
        assert 0 < refused < first.n_in / 2
        server.speaker = by_digest
        before = len(server.asked)
        stage = [sys.executable, "-m", "lae_tasks", "stage", "classify", SHARD, "--night", NIGHT]
        stage += ["-c", str(tmp_path / "lae.yaml")]
        for again, asked in (([], 0), (["--again"], refused), ([], refused)):
            done = subprocess.run([*stage, *again], capture_output=True, text=True, check=True)
            assert len(server.asked) - before == asked
    manifest = Manifest.model_validate_json(done.stdout)
    assert asked_twice(server, manifest) == 0
    assert manifest.n_done == manifest.n_in == first.n_in
    assert manifest.counts["replies_kept"] == first.n_in - refused
    assert len(labels_of(night)) == first.n_in


@pytest.mark.timeout(600)
def test_a_budget_ends_the_night_and_a_larger_one_goes_on(world: Path, tmp_path: Path) -> None:
    prices = {"usd_per_million_prompt_tokens": 10.0, "usd_per_million_completion_tokens": 20.0}
    cost_usd = 0.0012  # of 100 and 10 tokens
    copy_of(world, tmp_path)
    with lvlm_server(by_digest) as server:
        write_config(tmp_path, remote(server, budget_usd=20.5 * cost_usd, **prices))
        environment = os.environ | {"COLUMNS": "300"}
        done = subprocess.run(
            lae_run(tmp_path), capture_output=True, text=True, check=False, env=environment
        )
        assert done.returncode == 1
        message = " ".join(done.stderr.split())
        assert "BudgetSpentError" in message
        assert "20 crops of the shard are answered for 0.0240 USD" in message
        assert "Traceback" not in message
        assert sum(server.answered.values()) == 20
        night = night_of(tmp_path, remote(server, budget_usd=1.0, **prices))
        manifest = run_stage(night, "classify", SHARD)
        assert asked_twice(server, manifest) == 0
    assert manifest.counts["cost_microusd"] == 1200 * manifest.n_in
    assert manifest.counts["replies_kept"] == 20
    assert Counter(server.answered.values()) == {1: manifest.n_in}
    # Nothing but the money was another: the shard is done.
    with lvlm_server(by_digest) as other:
        assert run_stage(night_of(tmp_path, remote(other)), "classify", SHARD) == manifest
        assert other.asked == []
