"""Starting and ending processes with all that they started, by process id only."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from honcho.environ import parse_procfile

from demo.stack.settings import HOST, REPO, Settings

PROCFILE = Path(__file__).with_name("Procfile")


class StackError(Exception):
    """The stack can't do what was asked; the message says what to look at."""


def procfile() -> dict[str, str]:
    """The services' commands by name."""
    return dict(parse_procfile(PROCFILE.read_text()).processes)


def start_service(
    name: str, settings: Settings, extra_env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start one service of the Procfile alone, in a session of its own."""
    return subprocess.Popen(
        procfile()[name],
        shell=True,
        cwd=REPO,
        env=settings.stack_env() | (extra_env or {}),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def family(roots: list[psutil.Process]) -> list[psutil.Process]:
    """Those of the processes that live, with all their descendants."""
    alive: dict[int, psutil.Process] = {}
    for root in roots:
        try:
            for process in [root, *root.children(recursive=True)]:
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    alive[process.pid] = process
        except psutil.NoSuchProcess:
            continue
    return list(alive.values())


def stop(roots: list[psutil.Process], timeout_s: float = 20.0) -> int:
    """End processes and all their descendants.

    The roots get a SIGTERM and pass it on as they see fit. Whatever of the family is left after
    the timeout is killed.

    Returns:
        How many had to be killed.
    """
    members = family(roots)
    for root in roots:
        try:
            root.terminate()
        except psutil.NoSuchProcess:
            continue
    deadline = time.monotonic() + timeout_s
    while members and time.monotonic() < deadline:
        time.sleep(0.1)
        members = family(members)
    for process in members:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(members, timeout=5)
    return len(members)


def wait_until(
    probe: Callable[[], bool],
    what: str,
    timeout_s: float,
    *,
    alive: Callable[[], bool] = lambda: True,
    log: Path | None = None,
) -> None:
    """Wait for a probe to say yes.

    Args:
        probe: Called every 0.3 s.
        what: The name of what is waited for, for the message.
        timeout_s: How long at most.
        alive: Says whether there is still something to wait for.
        log: The log to name when it does not come up.

    Raises:
        StackError: It ended, or the deadline passed.
    """
    deadline = time.monotonic() + timeout_s
    where = f"; its log is {log}" if log else ""
    while not probe():
        if not alive():
            raise StackError(f"{what} ended while it started{where}")
        if time.monotonic() > deadline:
            raise StackError(f"{what} did not come up within {timeout_s:.0f} s{where}")
        time.sleep(0.3)


def port_is_taken(port: int) -> bool:
    """Whether something listens on a port of the loopback."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def tail(path: Path, n_lines: int = 15) -> str:
    """The last lines of a log."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 16_384))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-n_lines:])
