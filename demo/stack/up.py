"""Starts and stops the stack: `make up`, `make down`, `make status`, `make logs`."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import psutil
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from demo.stack import processes
from demo.stack.airflow_api import AirflowApi
from demo.stack.clients import label_studio_is_up, s3_is_up
from demo.stack.processes import PROCFILE, StackError
from demo.stack.settings import AIRFLOW_USER, LABEL_STUDIO_EMAIL, REPO, Settings

UP_TIMEOUT_S = 600.0
INIT_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Record:
    """The processes of the running stack, as kept in ``stack.json``; the first is honcho."""

    members: tuple[tuple[int, float], ...]

    @classmethod
    def read(cls, settings: Settings) -> Record:
        """The record of the last start; empty if there is none."""
        path = settings.state / "stack.json"
        try:
            return cls(tuple((pid, born) for pid, born in json.loads(path.read_text())))
        except (FileNotFoundError, ValueError):
            return cls(())

    @classmethod
    def write(cls, settings: Settings, members: list[psutil.Process]) -> Record:
        """Note processes, with their birth, so that a reused pid is never taken for ours."""
        record = cls(tuple((process.pid, process.create_time()) for process in members))
        (settings.state / "stack.json").write_text(json.dumps(record.members) + "\n")
        return record

    def alive(self) -> list[psutil.Process]:
        """Those of the processes that still live."""
        found = []
        for pid, born in self.members:
            try:
                process = psutil.Process(pid)
                if process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def honcho(self) -> psutil.Process | None:
        """The process that runs the Procfile, if it lives."""
        return next((p for p in self.alive() if p.pid == self.members[0][0]), None)


def probes(settings: Settings, since: float) -> dict[str, Callable[[], bool]]:
    """How to tell that each service of the Procfile works.

    Args:
        settings: The stack's settings.
        since: When the stack was started; heartbeats before it don't count.
    """
    api = AirflowApi(settings)

    def beats(component: str | None) -> Callable[[], bool]:
        def probe() -> bool:
            try:
                health = api.health()
            except httpx.TransportError:
                return False
            if component is None:
                return bool(health)
            beat = health.get(component)
            return beat is not None and beat > datetime.fromtimestamp(since, UTC)

        return probe

    return {
        "s3": lambda: s3_is_up(settings),
        "label-studio": lambda: label_studio_is_up(settings),
        "airflow-api-server": beats(None),
        "airflow-scheduler": beats("scheduler"),
        "airflow-dag-processor": beats("dag_processor"),
        "airflow-triggerer": beats("triggerer"),
    }


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Let one command at a time change the stack."""
    with (settings.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError("another `make up` or `make down` is at work: wait for it") from None
        yield


def up(settings: Settings, console: Console) -> None:
    """Start what does not run and wait until all of it works.

    Raises:
        StackError: A service did not come up (nothing is left running then), or a port is taken.
    """
    with _alone(settings):
        record = Record.read(settings)
        honcho = record.honcho()
        if honcho is None:
            processes.stop(record.alive())
            honcho = _start(settings, console)
        try:
            _wait(settings, honcho, console)
        except (StackError, KeyboardInterrupt):
            processes.stop([honcho])
            raise
        Record.write(settings, processes.family([honcho]))


def _start(settings: Settings, console: Console) -> psutil.Process:
    for name in ("s3", "label_studio", "airflow"):
        port = getattr(settings, f"{name}_port")
        if processes.port_is_taken(port):
            raise StackError(
                f"port {port} is in use by something else: stop that, or choose another port, "
                f"as in `LAE_{name.upper()}_PORT={port + 1000} make up`"
            )
    settings.save()
    for log in settings.logs.glob("*.log"):
        log.replace(log.with_suffix(".log.1"))
    _init_airflow(settings, console)
    command = [sys.executable, "-m", "honcho", "start", "--no-colour", "-e", "/dev/null"]
    with (settings.logs / "honcho.log").open("w") as log:
        started = subprocess.Popen(
            [*command, "-d", str(REPO), "-f", str(PROCFILE)],
            env=settings.stack_env(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    honcho = psutil.Process(started.pid)
    Record.write(settings, [honcho])
    return honcho


def _init_airflow(settings: Settings, console: Console) -> None:
    log = settings.logs / "airflow-init.log"
    with console.status("making Airflow's database"), log.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "demo.stack.airflow_init"],
            cwd=REPO,
            env=settings.stack_env(),
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=INIT_TIMEOUT_S,
            check=False,
        )
    if done.returncode:
        raise StackError(f"Airflow's database could not be made; its log is {log}")


def _wait(settings: Settings, honcho: psutil.Process, console: Console) -> None:
    """Wait until every service works, showing each as it comes."""
    waiting = probes(settings, honcho.create_time())
    deadline = time.monotonic() + UP_TIMEOUT_S
    columns = (SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        rows = {name: progress.add_task(name, total=1) for name in waiting}
        while waiting:
            for name in [name for name, probe in waiting.items() if probe()]:
                del waiting[name]
                progress.update(rows[name], completed=1)
            if waiting and not (honcho.is_running() and honcho.status() != psutil.STATUS_ZOMBIE):
                raise StackError(_why_it_ended(settings))
            if waiting and time.monotonic() > deadline:
                logs = ", ".join(str(settings.logs / f"{name}.log") for name in waiting)
                raise StackError(f"not up within {UP_TIMEOUT_S:.0f} s; read {logs}")
            if waiting:
                time.sleep(0.3)


def _why_it_ended(settings: Settings) -> str:
    """Name the service that stopped first, with the end of its log."""
    for line in (settings.logs / "honcho.log").read_text().splitlines():
        _, _, event = line.partition("| ")
        name, stopped, _ = event.partition(" stopped (rc=")
        if stopped:
            name = name.removesuffix(".1")  # honcho counts the instances of a service
            log = settings.logs / f"{name}.log"
            return f"{name} ended; the end of {log}:\n{processes.tail(log)}"
    return f"the stack ended while it started; read {settings.logs / 'honcho.log'}"


def down(settings: Settings, console: Console) -> None:
    """Stop the stack with everything that it started."""
    with _alone(settings):
        record = Record.read(settings)
        alive = record.alive()
        if not alive:
            console.print("The stack is not up.")
        else:
            with console.status("stopping the stack"):
                honcho = record.honcho()
                members = processes.family(alive)
                killed = processes.stop([honcho]) if honcho else 0
                killed += processes.stop([p for p in members if p.is_running()])
            note = f" ({killed} processes had to be killed)" if killed else ""
            console.print(f"The stack is down{note}.")
        (settings.state / "stack.json").unlink(missing_ok=True)


def status(settings: Settings, console: Console) -> bool:
    """Print which services work; say whether all of them do."""
    honcho = Record.read(settings).honcho()
    table = Table("service", "state", Column("log", overflow="fold"))
    all_up = honcho is not None
    for name, probe in probes(settings, honcho.create_time() if honcho else 0.0).items():
        works = honcho is not None and probe()
        all_up &= works
        state = "[green]up" if works else "[red]down"
        table.add_row(name, state, str(settings.logs / f"{name}.log"))
    console.print(table)
    return all_up


def links(settings: Settings) -> Table:
    """Where the pages are and how to log in."""
    secrets = settings.secrets
    table = Table.grid(padding=(0, 2))
    for name, address, login in (
        ("Airflow", settings.airflow_url, f"{AIRFLOW_USER} / {secrets.airflow_password}"),
        (
            "Label Studio",
            settings.label_studio_url,
            f"{LABEL_STUDIO_EMAIL} / {secrets.label_studio_password}",
        ),
        ("S3", settings.s3_endpoint, f"keys in {settings.state / 'env'}"),
    ):
        table.add_row(f"[bold]{name}[/]", address, login)
    return table
