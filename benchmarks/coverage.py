"""Do stated intervals of precision hold the truth as often as they say?

    python -m benchmarks.coverage FOLDER [--quarters 60] [--nights 20] [--budget 0.2]

FOLDER is that of `benchmarks.review_loop`, with its nights. From their scenes, drawn anew each
time, it makes up quarters: in each night regions are drawn, stewards who are mistaken in 5 of 100
looks look at them and at what is in doubt, as far as the budget goes, a calibration is fitted, and
decides all nights until then. Every five nights a release is stated, and compared with the truth.

Drawing, fitting, which calibration holds, deciding by it, and stating are the engine's. What is in
between, pushing and collecting, is done here, in memory: `benchmarks.review_loop` goes through all
of it, once. A steward who is mistaken about what is right rejects it, or gives it another name, as
often.
The nights of FOLDER are few: quarters share most of their scenes, so the releases are not as many
independent ones.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.labelled_world import Index, World, read_world
from benchmarks.quarter import read_quarter
from demo.masks import CONFIG
from lae_tasks.config import Config
from lae_tasks.config_file import load_config
from lae_tasks.contracts import (
    Decision,
    Outcome,
    Purpose,
    ReviewItem,
    Verdict,
    VerdictAction,
)
from lae_tasks.releases.dataset import STEWARD, Annotation, Annotations, Dataset
from lae_tasks.releases.statement import Statement, make_statement
from lae_tasks.review.selection import looks_at
from lae_tasks.routing.labelled import Names
from lae_tasks.routing.looks import drawn
from lae_tasks.stages.calibrate import learn
from lae_tasks.state import State
from lae_tasks.storage import Storage, open_storage
from lae_tasks.trust.calibration import probabilities
from lae_tasks.trust.judged import Judged
from lae_tasks.trust.mistakes import steward_error
from lae_tasks.trust.records import Calibration

ERROR = 0.05
EVERY = 5


@dataclass
class Loop:
    """One quarter of nights, as far as it has come."""

    world: World
    config: Config
    store: Storage
    generator: np.random.Generator
    night_of: Index
    budget: float
    night: int = 0
    looks: int = 0
    calibration: Calibration | None = None
    items: dict[int, ReviewItem] = field(default_factory=dict)
    verdicts: dict[int, list[Verdict]] = field(default_factory=lambda: defaultdict(list))
    decided: dict[int, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._seed = int(self.generator.integers(2**31))
        self.decide()

    def decide(self) -> None:
        """Accepts, and draws, as route does."""
        world, route = self.world, self.config.route
        self.here = np.flatnonzero(self.night_of <= self.night)
        self.accepted = world.accepted.copy()
        self.confidence = np.array([decision.confidence for decision in world.decisions])
        share = max(route.audit_share, route.learn_share)
        if self.calibration:
            categories = _of_rows(world.categories, self.here)
            said = probabilities(self.calibration, world.rows[self.here], categories)
            self.confidence[self.here] = said.round(4)
            self.accepted = self.confidence >= self.calibration.accept_at
            share = route.audit_share
        self.drawn = np.zeros(len(world.ids), dtype=bool)
        for night in range(self.night + 1):
            of_night = np.flatnonzero(self.night_of == night)
            categories = world.categories.index[of_night] + 1
            strata = np.where(self.accepted[of_night], categories, 0).astype(np.int32)
            ids = world.ids.take(pa.array(of_night))
            self.drawn[of_night] = drawn(ids, strata, share, self._seed)

    def look(self) -> None:
        """The stewards look at what was drawn, then at what is in doubt, while there is budget."""
        open_ = [n for n in self.here.tolist() if n not in self.items]
        random = [n for n in open_ if self.drawn[n]]
        self.generator.shuffle(random)
        doubt = [n for n in open_ if not self.drawn[n] and not self.accepted[n]]
        doubt.sort(key=lambda n: -self.confidence[n])
        for number in [*random, *doubt]:
            if self.looks >= self.budget * len(self.here):
                return
            self._ask(number)

    def _ask(self, number: int) -> None:
        region, decision = self.world.regions[number], self.world.decisions[number]
        is_drawn = bool(self.drawn[number])
        night, share = str(self.generator.random()), self.config.review.second_look_share
        self.items[number] = ReviewItem(
            region_id=region.region_id,
            task_key=region.region_id,
            tile_id=region.tile_id,
            scene_id=region.scene_id,
            window_px=(0, 0, 1, 1),
            category=decision.category or "",
            bbox_xyxy_px=region.bbox_xyxy_px,
            purpose=Purpose.DRAWN if is_drawn else Purpose.DOUBT,
            looks=looks_at(region.tile_id, night, share) if is_drawn else 1,
        )
        said: list[bool] = []
        while len(said) < self.items[number].looks or (
            # A contradiction of what was drawn, or two that differ, as `second_looks` asks for.
            is_drawn and (said == [False] or (len(said) == 2 and said[0] != said[1]))
        ):
            said.append(bool(self.world.right[number] ^ (self.generator.random() < ERROR)))
            self.verdicts[number].append(self._verdict(number, said[-1], len(said)))
        self.looks += len(said)
        confirm = sum(said)
        self.decided[number] = confirm > len(said) - confirm

    def _verdict(self, number: int, confirms: bool, look: int) -> Verdict:
        item = self.items[number]
        action, category = VerdictAction.ACCEPT, item.category
        if not confirms:
            another = self.world.is_thing[number]
            if self.world.right[number]:  # they are mistaken
                another = number % 2 == 0
            action = VerdictAction.RELABEL if another else VerdictAction.REJECT
            category = "another" if another else ""
        return Verdict(
            verdict_id=f"{item.region_id} {look}",
            region_id=item.region_id,
            tile_id=item.tile_id,
            scene_id=item.scene_id,
            task_key=item.task_key,
            task_created_at="2026-01-01T00:00:00+00:00",
            annotation_id=look,
            annotator=f"steward {look}",
            decided_at=f"2026-01-02T00:00:0{look}+00:00",
            action=action,
            category=category or None,
            bbox_xyxy_px=item.bbox_xyxy_px,
            seconds=None,
        )

    def learn(self) -> None:
        """Fits a calibration as `calibrate` does, and decides all nights by it."""
        world, looked = self.world, np.array(sorted(self.decided))
        judged = Judged(
            model_revision="models",
            region_ids=tuple(world.ids.take(pa.array(looked)).to_pylist()),
            rows=lambda: world.rows[looked],
            categories=_of_rows(world.categories, looked),
            right=np.array([self.decided[n] for n in looked.tolist()]),
            drawn=np.array([self.items[n].purpose is Purpose.DRAWN for n in looked.tolist()]),
            scenes=world.scenes[looked],
            steward_error=steward_error(self._verdicts(), self.items.values()),
        )
        done = learn(self.store, self.config, judged, f"2026-01-{self.night + 1:02d}")
        self.calibration = done.calibration
        if done.manifest:
            self.decide()

    def _verdicts(self) -> list[Verdict]:
        return [verdict for said in self.verdicts.values() for verdict in said]

    def state_release(self) -> tuple[Statement, float, float]:
        """What a release would state, and how much of the unseen, and of all, is right."""
        unseen = [n for n in self.here.tolist() if self.accepted[n] and n not in self.items]
        kept = [n for n in self.items if self.decided[n] or self._is_renamed(n)]
        right = [bool(self.world.right[n]) == self.decided[n] for n in kept]
        known = self.calibration.calibration_id if self.calibration else "none"
        state = State(
            decisions={decision.region_id: decision for decision in self._decisions(known)},
            review_items={item.record_id: item for item in self.items.values()},
            verdicts={verdict.verdict_id: verdict for verdict in self._verdicts()},
            night_of={
                self.world.regions[n].scene_id: str(self.night_of[n]) for n in self.here.tolist()
            },
        )
        annotations = [self._annotation(n, "engine:confident") for n in unseen]
        annotations += [self._annotation(n, STEWARD) for n in kept]
        dataset = Dataset((), Annotations.of(annotations), (), {})
        stated = make_statement(dataset, state, self.config, self.store, ())
        of_unseen = self.world.right[unseen]
        return stated, float(of_unseen.mean()), float(np.mean([*of_unseen, *right]))

    def _is_renamed(self, number: int) -> bool:
        """Whether stewards have given it another name."""
        said = [verdict.action for verdict in self.verdicts[number]]
        return said.count(VerdictAction.RELABEL) > said.count(VerdictAction.REJECT)

    def _decisions(self, calibration: str) -> Iterator[Decision]:
        for number in self.here.tolist():
            outcome = Outcome.ACCEPT if self.accepted[number] else Outcome.REVIEW
            yield self.world.decisions[number].model_copy(
                update={
                    "outcome": outcome,
                    "rule": "confident" if self.accepted[number] else "uncertain",
                    "confidence": float(self.confidence[number]),
                    "calibration": calibration,
                    "drawn": bool(self.drawn[number]),
                }
            )

    def _annotation(self, number: int, source: str) -> Annotation:
        region = self.world.regions[number]
        box, category = region.bbox_xyxy_px, self.world.decisions[number].category or ""
        return Annotation(
            number, 1, region.region_id, 1, category, box, "", 1, box, 1.0, source, None, None
        )


def _of_rows(names: Names, rows: Index) -> Names:
    return Names(names.distinct, names.index[rows])


@dataclass(frozen=True)
class Stated:
    """A figure of a release beside the truth.

    Attributes:
        by: What had decided it: `rules`, or a `calibration`.
    """

    what: str
    by: str
    night: int
    share: float
    low: float
    high: float
    truth: float


def run_quarter(
    world: World, config: Config, seed: int, nights: int, scenes_per_night: int, budget: float
) -> Iterator[Stated]:
    """One made-up quarter: what its releases state."""
    generator = np.random.default_rng(seed)
    scenes = generator.permutation(int(world.scenes.max()) + 1)
    place = np.empty(len(scenes), dtype=np.int64)
    place[scenes] = np.arange(len(scenes)) // scenes_per_night
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(world, config, open_storage(folder), generator, place[world.scenes], budget)
        for night in range(nights):
            loop.night = night
            loop.decide()
            loop.look()
            loop.learn()
            if (night + 1) % EVERY:
                continue
            stated, of_unseen, of_all = loop.state_release()
            unseen = next((each for each in stated.precision if each.category is None), None)
            for what, entry, truth in (
                ("unseen", unseen, of_unseen),
                ("all", stated.whole, of_all),
            ):
                if entry:
                    share = entry.precision
                    by = "calibration" if loop.calibration else "rules"
                    yield Stated(what, by, night + 1, share, entry.low, entry.high, truth)


def main() -> None:
    """Makes up quarters, and prints how often the intervals held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quarters", type=int, default=60)
    parser.add_argument("--nights", type=int, default=20)
    parser.add_argument("--budget", type=float, default=0.2, help="looks per region")
    args = parser.parse_args()
    quarter = read_quarter(args.folder.resolve())
    if quarter is None:
        parser.error(f"{args.folder} has no nights yet; benchmarks.review_loop makes them")
    if args.nights > quarter.count:
        parser.error(f"{args.folder} has {quarter.count} nights only; give --nights")
    config = load_config(CONFIG, store=str(quarter.folder / "store"))
    world = read_world(quarter, open_storage(config.store))
    seeds = track(range(args.quarters), "quarters")
    found = [
        each
        for seed in seeds
        for each in run_quarter(world, config, seed, args.nights, quarter.scenes, args.budget)
    ]
    table = Table(title=f"Precision as stated by releases, {args.quarters} quarters")
    for name in ("of", "decided by", "releases", "truth", "bias", "held", "width"):
        table.add_column(name)
    for what in ("unseen", "all"):
        for by in ("rules", "calibration", ""):
            own = [each for each in found if each.what == what and by in (each.by, "")]
            if own:
                table.add_row(what, by or "either", str(len(own)), *_figures(own))
    Console().print(table)


def _figures(stated: Sequence[Stated]) -> tuple[str, ...]:
    truth = np.array([each.truth for each in stated])
    share, low, high = np.array([(each.share, each.low, each.high) for each in stated]).T
    held = (low <= truth) & (truth <= high)
    return (
        f"{truth.mean():.3f}",
        f"{(share - truth).mean():+.4f}",
        f"{held.mean():.3f}",
        f"{(high - low).mean():.3f}",
    )


if __name__ == "__main__":
    main()
