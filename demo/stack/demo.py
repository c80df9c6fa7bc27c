"""One night of the demo, through Airflow's scheduler: `make demo`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from demo.stack.airflow_api import AirflowApi
from demo.stack.clients import s3_client
from demo.stack.processes import StackError
from demo.stack.settings import REPO, Settings
from lae_tasks.config_file import load_config

NIGHTLY = "lae_nightly"
RELEASE = "lae_release"
DAGS = (RELEASE, "lae_review", NIGHTLY)

PARSE_TIMEOUT_S = 180.0
RUN_TIMEOUT_S = 3600.0
#: A DAG that is unpaused gets the run of its last scheduled time within seconds.
SCHEDULED_WITHIN_S = 30.0
#: An asset event starts its run within seconds; a night without news sends none.
RELEASE_STARTS_WITHIN_S = 60.0

#: States of a task that will not change any more.
_OVER = {"success", "failed", "upstream_failed", "skipped", "removed"}


@dataclass(frozen=True)
class World:
    """The synthetic imagery to make: how many scenes, how large, from which seed."""

    scenes: int
    size_px: int
    seed: int


def demo(settings: Settings, console: Console, world: World) -> None:
    """Bring imagery to the bucket, run the night and show what came of it.

    What is done already is not done again: imagery that exists, objects that are uploaded, a
    night that succeeded.

    Args:
        settings: Of the running stack.
        console: Where to show progress and the table.
        world: The imagery to make if there is none yet.

    Raises:
        StackError: A step failed; the message names it and its log.
    """
    folder = make_imagery(settings, console, world)
    upload(settings, console, sorted(folder.rglob("*.tif")))
    night = run_night(settings, console)
    _lae(settings, "status", "--night", night)


def check(
    settings: Settings,
    *,
    scenes: int | None = None,
    size: int | None = None,
    seed: int | None = None,
) -> None:
    """Refuse, before anything starts, imagery unlike what is there.

    Raises:
        StackError: It says what to do instead.
    """
    truth = settings.state / "world" / "truth.json"
    if not truth.exists():
        return
    made = json.loads(truth.read_text())
    there = (len(made["images"]), made["info"]["size_px"], made["info"]["seed"])
    asked = (scenes, size, seed)
    if any(want not in (None, have) for want, have in zip(asked, there, strict=True)):
        raise StackError(
            "the imagery is made already: {} scenes of {} px, seed {}; ".format(*there)
            + "leave out SCENES, SIZE and SEED, or start anew: `make down`, then remove "
            + str(settings.state)
        )


def make_imagery(settings: Settings, console: Console, world: World) -> Path:
    """The folder of the synthetic scenes, made if it is not there."""
    folder = settings.state / "world"
    if (folder / "truth.json").exists():  # written last
        console.print(
            f"Imagery is there already: {folder} (`make down` and remove .lae to start anew)"
        )
        return folder
    arguments = ("--scenes", world.scenes, "--size", world.size_px, "--seed", world.seed)
    _lae(settings, "synth", str(folder), *map(str, arguments))
    return folder


def upload(settings: Settings, console: Console, files: list[Path]) -> None:
    """Put files below the config's raw prefix, except those that are there."""
    config = load_config(settings.config)
    raw = urlsplit(config.raw)
    prefix = raw.path.strip("/")
    s3 = s3_client(settings.s3_endpoint, settings.secrets.s3_key, settings.secrets.s3_secret)
    existing = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    for bucket in {raw.netloc, urlsplit(config.store).netloc} - existing:
        s3.create_bucket(Bucket=bucket)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=raw.netloc, Prefix=prefix)
    known = {o["Key"]: o["ETag"].strip('"') for page in pages for o in page.get("Contents", ())}
    n_new = 0
    with Progress(console=console) as progress:
        for file in progress.track(files, description="uploading scenes"):
            key = "/".join([prefix, file.name]).strip("/")
            content = file.read_bytes()
            if known.get(key) != hashlib.md5(content, usedforsecurity=False).hexdigest():
                s3.put_object(Bucket=raw.netloc, Key=key, Body=content)
                n_new += 1
    console.print(f"{n_new} of {len(files)} scenes were new to {config.raw}")


def run_night(settings: Settings, console: Console) -> str:
    """Run the nightly DAG for the last night on its schedule; wait for it and for its release.

    Returns:
        The night's date.
    """
    api = AirflowApi(settings)
    _wait_for_dags(api, console)
    due = api.next_scheduled(NIGHTLY) or datetime.now(UTC)
    is_due = due <= datetime.now(UTC)
    night = (due if is_due else due - timedelta(days=1)).date().isoformat()
    for dag_id in DAGS:
        api.unpause(dag_id)
    if is_due:
        _wait_for_scheduled(api, night)
    run = _current_or_new(api, night)
    follow(settings, api, console, NIGHTLY, run)
    with console.status("waiting for the release that the night starts"):
        release = _wait_for_release(api, night, run)
    if release is None:
        console.print(f"The night of {night} brought nothing new: no release was started.")
    else:
        follow(settings, api, console, RELEASE, release)
    return night


def _wait_for_dags(api: AirflowApi, console: Console) -> None:
    deadline = time.monotonic() + PARSE_TIMEOUT_S
    with console.status("waiting for Airflow to read the DAGs"):
        while missing := set(DAGS) - api.dag_ids():
            if time.monotonic() > deadline:
                reasons = "; ".join(api.import_errors()) or "their files were not found"
                raise StackError(f"no DAG {', '.join(sorted(missing))} in Airflow: {reasons}")
            time.sleep(1)


def _wait_for_scheduled(api: AirflowApi, night: str) -> None:
    """Let the scheduler make the run that is due, so that the night is not started twice."""
    deadline = time.monotonic() + SCHEDULED_WITHIN_S
    while not api.runs(NIGHTLY, night) and time.monotonic() < deadline:
        time.sleep(0.5)


def _current_or_new(api: AirflowApi, night: str) -> dict[str, Any]:
    """The run of a night that succeeded or is on its way, else a new one."""
    usable = [run for run in api.runs(NIGHTLY, night) if run["state"] != "failed"]
    return usable[0] if usable else api.trigger(NIGHTLY, night)


def _wait_for_release(
    api: AirflowApi, night: str, nightly: dict[str, Any]
) -> dict[str, Any] | None:
    """The release run that the night's asset event starts; a failed one is tried again."""
    tasks = api.tasks(NIGHTLY, nightly["dag_run_id"])
    if any(task["task_id"] == "report" and task["state"] == "skipped" for task in tasks):
        return None  # it told of nothing
    deadline = time.monotonic() + RELEASE_STARTS_WITHIN_S
    while time.monotonic() < deadline:
        runs = api.runs(RELEASE, night)
        since = [run for run in runs if run["queued_at"] >= nightly["queued_at"]]
        if since:
            return since[0] if since[0]["state"] != "failed" else api.trigger(RELEASE, night)
        time.sleep(1)
    return None


def follow(
    settings: Settings, api: AirflowApi, console: Console, dag_id: str, run: dict[str, Any]
) -> None:
    """Show a run's tasks until it ends.

    Raises:
        StackError: It failed (the failed tasks and their logs are named), or it takes too long.
    """
    run_id = run["dag_run_id"]
    deadline = time.monotonic() + RUN_TIMEOUT_S
    shown_at = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task(dag_id, total=None)
        while True:
            state = api.run(dag_id, run_id)["state"]
            tasks = api.tasks(dag_id, run_id)
            done = sum(task["state"] in _OVER for task in tasks)
            running = ", ".join(sorted({t["task_id"] for t in tasks if t["state"] == "running"}))
            what = f"{dag_id} [dim]{running or state}[/]"
            progress.update(bar, completed=done, total=len(tasks) or None, description=what)
            if not console.is_terminal and time.monotonic() - shown_at > 30:
                shown_at = time.monotonic()
                console.print(f"{dag_id}: {done} of {len(tasks)} tasks; {running or state}")
            if state in ("success", "failed"):
                break
            if time.monotonic() > deadline:
                raise StackError(f"{dag_id} is not through after {RUN_TIMEOUT_S / 60:.0f} minutes")
            time.sleep(1)
    if state == "failed":
        failed = [task for task in tasks if task["state"] == "failed"]
        lines = [f"  {_label(task)}: {_log(settings, task)}" for task in failed]
        page = f"{settings.airflow_url}/dags/{dag_id}/runs/{quote(run_id)}"
        raise StackError("\n".join([f"{dag_id} failed ({page}); its failed tasks:", *lines]))


def _label(task: dict[str, Any]) -> str:
    mapped = f"[{task['map_index']}]" if task["map_index"] >= 0 else ""
    return f"{task['task_id']}{mapped}"


def _log(settings: Settings, task: dict[str, Any]) -> Path:
    """Where Airflow keeps the log of a task's last attempt."""
    folder = settings.airflow_home / "logs" / f"dag_id={task['dag_id']}"
    folder = folder / f"run_id={task['dag_run_id']}" / f"task_id={task['task_id']}"
    if task["map_index"] >= 0:
        folder = folder / f"map_index={task['map_index']}"
    return folder / f"attempt={task['try_number']}.log"


def _lae(settings: Settings, *arguments: str) -> None:
    """Run the command line on the stack."""
    done = subprocess.run(
        [sys.executable, "-m", "lae_tasks", *arguments],
        cwd=REPO,
        env=os.environ | settings.client_env(),
        check=False,
        timeout=RUN_TIMEOUT_S,
    )
    if done.returncode:
        raise StackError(f"`lae {' '.join(arguments)}` failed; its messages are above")
