"""Two publishers race for each version, while readers look on; then publishers are killed.

    python -m benchmarks.publish_race [--races 100] [--kills 20]

The store is on a real S3 server (`rclone serve s3`, which answers two conditional writes that come
within milliseconds both with success). Each publisher is a process of its own, with another state
of things. Fails if a version has two winners, a reader sees less than a whole release, or anything
is left of a publisher that was killed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from demo.stack.services import S3Server, s3_server
from lae_tasks.contracts import VerdictAction
from lae_tasks.releases import claims
from lae_tasks.releases.manifest import NoReleaseError, list_versions, read_release
from lae_tasks.stages.release import publish
from lae_tasks.state import State
from lae_tasks.storage import Storage, open_storage
from tests.release_world import World

URI = "s3://race/store"
#: A killed publisher is taken for dead after so long; the default is a minute.
DEAD_AFTER_S = 3.0
console = Console(soft_wrap=True)


class Reader(threading.Thread):
    """Reads the latest release again and again, and checks that all of it is there."""

    def __init__(self, store: Storage) -> None:
        super().__init__(daemon=True)
        self._store = store
        self.stop = threading.Event()
        self.seen: Counter[str] = Counter()
        self.broken: list[str] = []

    def run(self) -> None:
        """Reads until it is told to stop."""
        while not self.stop.wait(0.5):
            try:
                manifest = read_release(self._store)
            except NoReleaseError:
                continue
            self.seen[manifest.version] += 1
            for file in manifest.files:
                info = self._store.stat(file.key)
                if info is None or info.size_bytes != file.size_bytes:
                    self.broken.append(f"{manifest.version}: {file.path}")


def publisher(s3: S3Server, state: State, config: Any, ready: Any, results: Any) -> None:
    """A process that publishes a state as soon as both are ready."""
    claims.DEAD_AFTER_S = DEAD_AFTER_S
    store = open_storage(URI, s3.client())
    ready.wait()
    result = publish(lambda: state, config, store)
    results.put((result.version, result.new, result.digest))


def race(s3: S3Server, world: World, number: int, context: Any) -> list[tuple[str, bool, str]]:
    """Two publishers at once, each with another verdict; what came of each."""
    ready, results = context.Barrier(2), context.Queue()
    ids = world.region_ids()
    states = []
    for offset in (0, 1):
        region_id = ids[(2 * number + offset) % len(ids)]
        action = VerdictAction.REJECT if number % 2 == 0 else VerdictAction.ACCEPT
        world.judge(region_id, action, day=f"2026-{5 + number // 28:02d}-{1 + number % 28:02d}")
        states.append(State(**{**vars(world.state), "verdicts": dict(world.state.verdicts)}))
    pool = [
        context.Process(target=publisher, args=(s3, state, world.config, ready, results))
        for state in states
    ]
    for process in pool:
        process.start()
    found = [results.get(timeout=300) for _ in pool]
    for process in pool:
        process.join()
    return found


def main() -> None:
    """Races, kills, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    args = parser.parse_args()
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder)) as s3:
        client = s3.client()
        client.create_bucket(Bucket="race")
        store = open_storage(URI, client)
        world = World(store)
        world.add_scene(3)
        world.add_scene(4)
        reader = Reader(open_storage(URI, s3.client()))
        reader.start()
        winners: Counter[str] = Counter()
        for number in track(range(args.races), "races"):
            for version, is_new, digest in race(s3, world, number, context):
                winners[version] += is_new
                assert read_release(store, version).digest == digest, version
        versions = list_versions(store)
        twice = {version for version, count in winners.items() if count > 1}
        reader.stop.set()
        reader.join()
        console.print(
            f"{args.races} races: {len(versions)} versions, {len(twice)} with two winners; readers "
            f"looked {sum(reader.seen.values())} times at {len(reader.seen)} of them and saw "
            f"{len(reader.broken)} files that were not whole"
        )
        assert not twice and not reader.broken
        assert set(versions) == {version for version, count in winners.items() if count == 1}
        kill(s3, world, args.kills, context)


def kill(s3: S3Server, world: World, times: int, context: Any) -> None:
    """Kills publishers at random moments; the next one makes good what they left."""
    store = world.store
    visible = cleared = 0
    claims.DEAD_AFTER_S = DEAD_AFTER_S
    began = time.perf_counter()
    publish(lambda: world.state, world.config, store)
    takes_s = time.perf_counter() - began
    for number in track(range(times), "kills"):
        region_id = world.region_ids()[number % len(world.region_ids())]
        action = VerdictAction.ACCEPT if number % 2 else VerdictAction.REJECT
        world.judge(region_id, action, day=f"2026-12-{1 + number:02d}")
        before = set(list_versions(store))
        ready, results = context.Barrier(1), context.Queue()
        process = context.Process(
            target=publisher, args=(s3, world.state, world.config, ready, results)
        )
        process.start()
        time.sleep(random.uniform(0, 1.2 * takes_s))
        if process.pid and process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        for version in set(list_versions(store)) - before:
            visible += 1
            assert_whole(store, version)
        left = len(list(store.list(claims.PREFIX)))
        with claims.claim(store, dead_after_s=DEAD_AFTER_S):
            cleared += left
        publish(lambda: world.state, world.config, store)
        assert not list(store.list(claims.PREFIX))
    used = {
        file.key for version in list_versions(store) for file in read_release(store, version).files
    }
    orphans = {info.key for info in store.list("files/")} - used
    for version in list_versions(store):
        assert_whole(store, version)
    console.print(
        f"{times} publishers killed: {visible} had made their version, all whole; {cleared} claims "
        f"of dead ones cleared away, {len(orphans)} objects left that no release has"
    )
    assert not orphans


def assert_whole(store: Storage, version: str) -> None:
    """Every file that the version names is there."""
    for file in read_release(store, version).files:
        info = store.stat(file.key)
        assert info and info.size_bytes == file.size_bytes, f"{version}: {file.path}"


if __name__ == "__main__":
    main()
