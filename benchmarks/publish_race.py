"""Publishers race for each version, are paused and are killed, while a reader looks on.

    python -m benchmarks.publish_race [--races 100] [--pauses 20] [--kills 20]

The store is on a real S3 server (`rclone serve s3`, which answers two conditional writes that come
within milliseconds both with success). Each publisher is a process of its own, with another state
of things. Fails if a version has two winners or is lost, if the versions are no chain, each the
parent of the next, if a reader ever sees less than a whole release, or if anything is left of a
publisher that was killed or that had to give up.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from demo.scenes.generator import CATEGORIES
from demo.stack.services import S3Server, s3_server
from lae_tasks.contracts import VerdictAction
from lae_tasks.releases import claims
from lae_tasks.releases.manifest import (
    NoReleaseError,
    latest_version,
    list_versions,
    read_release,
)
from lae_tasks.stages import release
from lae_tasks.state import State
from lae_tasks.storage import Storage, open_storage
from tests.release_world import World, publish_world

URI = "s3://race/store"
#: A publisher is taken for dead after so long; the default is a minute.
DEAD_AFTER_S = 3.0
#: What publishers are about to write when they are stopped; empty: that may be at any moment.
MOMENTS = ("", "manifest.json", "", "files/", "", "releases/LATEST", "", ".files.json")
console = Console(soft_wrap=True)
# Fork: a new process has all imports done, which take longer than to publish.
processes = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """What came of a publisher.

    Attributes:
        cleared: How many claims of dead ones it cleared away.
        objects: How many objects of theirs.
        taken_back: How many versions it took back that it had made too late.
    """

    version: str
    is_new: bool
    digest: str
    cleared: int
    objects: int
    taken_back: int


class Counting(logging.Handler):
    """Counts what is cleared away and taken back, as the engine's warnings tell it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.cleared = self.objects = self.taken_back = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a line of the log."""
        if record.name == claims.logger.name and isinstance(record.args, tuple):
            self.cleared += 1
            self.objects += int(str(record.args[1]))
        elif record.name == release.logger.name:
            self.taken_back += 1


class Stopping:
    """A store whose process is stopped once, just before it writes a key with a text in it."""

    def __init__(self, store: Storage, before: str) -> None:
        self._store, self._before = store, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, key: str, data: Any, **condition: Any) -> None:
        """Writes, once the process goes on."""
        if self._before and self._before in key:
            self._before = ""
            os.kill(os.getpid(), signal.SIGSTOP)
        self._store.write(key, data, **condition)


class Publisher:
    """A process that publishes a state.

    Attributes:
        process: It; started already.
    """

    def __init__(
        self, s3: S3Server, world: World, state: State, start: Any = None, stop_before: str = ""
    ) -> None:
        self._told, told = processes.Pipe(duplex=False)
        self.process = processes.Process(
            target=_publish, args=(s3, world, state, start, stop_before, told)
        )
        self.process.start()
        told.close()  # so that the end of the process is the end of what it tells

    def outcome(self) -> Outcome:
        """What came of it. Raises EOFError if it failed."""
        found: Outcome = self._told.recv()
        self.process.join()
        return found

    def signal(self, number: signal.Signals) -> None:
        """Stops, wakes or kills it, if it is still at work."""
        if self.process.is_alive() and self.process.pid:
            os.kill(self.process.pid, number)

    def stop(self, moment: str, takes_s: float, at_least_s: float = 0) -> None:
        """Stops it, or waits until it stops by itself; it may have ended before.

        Args:
            moment: Where it stops by itself; empty if it does not.
            takes_s: How long it takes to publish.
            at_least_s: How long it is left alone, where it does not stop by itself.
        """
        if not moment:
            time.sleep(at_least_s + random.uniform(0, 1.3 * takes_s))
            self.signal(signal.SIGSTOP)
        elif self.process.pid:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


def _publish(
    s3: S3Server, world: World, state: State, start: Any, stop_before: str, told: Any
) -> None:
    claims.DEAD_AFTER_S = DEAD_AFTER_S
    counting = Counting()
    logging.getLogger("lae_tasks").addHandler(counting)
    store: Any = open_storage(URI, s3.client())
    if start:
        start.wait()
    result = release.publish(lambda: state, world.config, Stopping(store, stop_before))
    counted = counting.cleared, counting.objects, counting.taken_back
    told.send(Outcome(result.version, result.new, result.digest, *counted))


class Race:
    """A store with all that happens to it.

    Attributes:
        made: How often each version was made, with its digest.
        cleared: How many claims of dead publishers were cleared away.
        objects: How many objects of theirs.
        taken_back: How many versions were taken back that were made too late.
    """

    def __init__(self, s3: S3Server, world: World) -> None:
        self.s3, self.world, self.store = s3, world, world.store
        self.made: Counter[tuple[str, str]] = Counter()
        self.cleared = self.objects = self.taken_back = 0
        self._number = 0

    def judge(self, is_name_new: bool = False) -> State:
        """A state with one verdict more; a new name makes a minor version of it, not a patch."""
        self._number += 1
        ids = self.world.region_ids()
        rounds = self._number // len(ids)
        name = CATEGORIES[(self._number + rounds) % len(CATEGORIES)]
        self.world.judge(
            ids[self._number % len(ids)],
            VerdictAction.RELABEL,
            f"thing {self._number}" if is_name_new else name,
            day=str(date(2026, 5, 1) + timedelta(days=self._number)),
        )
        return State(**{**vars(self.world.state), "verdicts": dict(self.world.state.verdicts)})

    def publisher(self, state: State, start: Any = None, stop_before: str = "") -> Publisher:
        """One that begins at once, or when all have come to a barrier."""
        return Publisher(self.s3, self.world, state, start, stop_before)

    def two(self, first: State, second: State) -> list[Publisher]:
        """Two that begin at the same time."""
        start = processes.Barrier(2)
        return [self.publisher(first, start), self.publisher(second, start)]

    def take(self, *publishers: Publisher) -> list[Outcome]:
        """Waits for publishers, and looks at what they have made."""
        outcomes = [publisher.outcome() for publisher in publishers]
        for outcome in outcomes:
            self.made[outcome.version, outcome.digest] += outcome.is_new
            self.cleared += outcome.cleared
            self.objects += outcome.objects
            self.taken_back += outcome.taken_back
            assert read_release(self.store, outcome.version).digest == outcome.digest
        return outcomes

    def race(self) -> None:
        """Two at once."""
        self.take(*self.two(self.judge(), self.judge()))

    def pause(self, number: int, takes_s: float) -> bool:
        """Two, of which the first stands still for a while; whether its claim was cleared away.

        Where it stands still for too long, the other one publishes meanwhile, under another
        version than the first would: it adds a name.
        """
        moment = MOMENTS[number % len(MOMENTS)]
        states = self.judge(), self.judge(is_name_new=True)
        first = self.publisher(states[0], stop_before=moment)
        second = None if moment else self.publisher(states[1])
        first.stop(moment, takes_s)
        second = second or self.publisher(states[1])
        is_short = number // len(MOMENTS) % 2
        low, high = (0.1, 0.7) if is_short else (1.5, 4.0)
        time.sleep(random.uniform(low * DEAD_AFTER_S, high * DEAD_AFTER_S))
        first.signal(signal.SIGCONT)
        return any(outcome.cleared for outcome in self.take(first, second))

    def kill(self, takes_s: float, times: int) -> int:
        """Some are killed, one after the other; then two clear up at the same time.

        Returns:
            How many of the killed had made their version.
        """
        before = set(list_versions(self.store))
        for number in range(times):
            moment = random.choice(MOMENTS)
            victim = self.publisher(self.judge(), stop_before=moment)
            # Only once one is dead for sure does the next one clear up, and can be killed at that.
            victim.stop(moment, takes_s, DEAD_AFTER_S if number else 0)
            victim.signal(signal.SIGKILL)
            victim.process.join()
        visible = set(list_versions(self.store)) - before
        for version in visible:
            manifest = read_release(self.store, version)
            self.made[version, manifest.digest] += 1
            assert_whole(self.store, version)
        left = {info.key for info in self.store.list(claims.PREFIX)}
        cleared = self.cleared
        self.take(*self.two(self.judge(), self.judge()))
        assert not list(self.store.list(claims.PREFIX))
        assert not left or self.cleared > cleared, left
        return len(visible)

    def check(self) -> None:
        """Looks at all that is there in the end."""
        versions = list_versions(self.store)
        manifests = [read_release(self.store, version) for version in versions]
        for before, after in pairwise(manifests):
            assert after.parent == before.version, (after.version, after.parent)
        assert manifests[0].parent is None
        assert self.made == Counter((each.version, each.digest) for each in manifests)
        assert latest_version(self.store) == versions[-1]
        for version in versions:
            assert_whole(self.store, version)
            assert self.store.stat(f"releases/{version}/README.md")
        used = {file.key for manifest in manifests for file in manifest.files}
        orphans = [info.key for info in self.store.list("files/") if info.key not in used]
        known = {*versions, "LATEST"}
        rest = [i.key for i in self.store.list("releases/") if i.key.split("/")[1] not in known]
        rest += [info.key for info in self.store.list(claims.PREFIX)]
        console.print(
            f"{len(versions)} versions in one chain, each made once and whole; {len(orphans)} "
            f"objects that none of them has, {len(rest)} other rests"
        )
        assert not orphans and not rest, (orphans, rest)


def assert_whole(store: Storage, version: str) -> None:
    """Every file that the version names is there."""
    for file in read_release(store, version).files:
        info = store.stat(file.key)
        assert info and info.size_bytes == file.size_bytes, f"{version}: {file.path}"


@contextmanager
def reader(s3: S3Server) -> Iterator[None]:
    """Somebody who reads the latest release again and again, and checks that all of it is there."""
    stop, (found, told) = processes.Event(), processes.Pipe(duplex=False)

    def read() -> None:
        store, seen, broken = open_storage(URI, s3.client()), Counter[str](), list[str]()
        while not stop.wait(0.5):
            try:
                version = read_release(store).version
                seen[version] += 1
                assert_whole(store, version)
            except NoReleaseError as error:
                if seen:
                    broken.append(str(error))
            except AssertionError as error:
                broken.append(str(error))
        told.send((seen, broken))

    process = processes.Process(target=read, daemon=True)
    process.start()
    told.close()  # so that one who waits for a reader that died is told
    try:
        yield
    finally:
        stop.set()
    seen, broken = found.recv()
    process.join()
    console.print(
        f"a reader looked {sum(seen.values())} times at {len(seen)} of the versions, and saw "
        f"{len(broken)} files that were not whole"
    )
    assert not broken, broken[:5]


def main() -> None:
    """Races, pauses, kills, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=100)
    parser.add_argument("--pauses", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random.seed(args.seed)
    with tempfile.TemporaryDirectory() as folder, s3_server(Path(folder)) as s3:
        warm = World(open_storage(f"{folder}/warm"))
        warm.add_scene(3)
        publish_world(warm)
        s3.client().create_bucket(Bucket="race")
        world = World(open_storage(URI, s3.client()))
        world.add_scene(3)
        race = Race(s3, world)
        with reader(s3):
            run(race, args.races, args.pauses, args.kills)
        race.check()


def run(race: Race, races: int, pauses: int, kills: int) -> None:
    """Does so many of each."""
    began = time.perf_counter()
    race.take(race.publisher(race.judge()))
    takes_s = time.perf_counter() - began
    console.print(f"to publish takes {takes_s:.1f} s")

    def tell(what: str) -> None:
        nonlocal began
        now = time.perf_counter()
        console.print(f"{what}, in {now - began:.0f} s")
        began = now

    tell("the first version")
    for _ in track(range(races), "races", console=console):
        race.race()
    twice = sum(count > 1 for count in race.made.values())
    tell(f"{races} races: {len(race.made)} versions, {twice} with two winners")
    assert not twice
    gave_up = sum(
        race.pause(number, takes_s) for number in track(range(pauses), "pauses", console=console)
    )
    tell(
        f"{pauses} publishers paused: {gave_up} for so long that they were cleared away, with "
        f"{race.objects} objects; {race.taken_back} versions taken back that were made too late"
    )
    assert (gave_up and race.objects) or pauses < 10
    race.cleared = race.objects = 0
    visible = sum(
        # A third of the killed are killed as they clear up, or wait to.
        race.kill(takes_s, times)
        for times in track([1, 2] * (kills // 3) + [1] * (kills % 3), "kills", console=console)
    )
    tell(
        f"{kills} publishers killed: {visible} had made their version, all whole; {race.cleared} "
        f"claims of dead ones cleared away, with {race.objects} objects"
    )
    assert race.objects or kills < 10


if __name__ == "__main__":
    main()
