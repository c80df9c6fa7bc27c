"""Does the review loop work? A quarter of synthetic nights, with stewards who make mistakes.

    python -m benchmarks.review_loop FOLDER [--nights 30] [--scenes 8] [--budget 0.2]

The first time it draws the scenes and runs the nights with the demo's models, which takes about two
minutes a night; FOLDER keeps them. Then, from the same regions and names, it compares

* the **engine**: its own route, push, collect and calibrate, night by night, on S3; the first
  night's stewards work in a real Label Studio;
* the **paper's rule** (likelihood >= 0.9, its merging and its NMS), for likelihood the one that the
  model says, or that of the name's tokens, each with nobody who looks, with stewards who look by
  chance, and with stewards who look at what is least likely.

A look is one steward at one box, or at one tile for what is missing, or drawing a box there. The
engine may take BUDGET looks per region; stewards of the others look as often as the engine's did,
in each night. All data sets are put together by the engine's release; what its gates would refuse
is printed. Precision and recall are those of the truth, of all nights until then. FOLDER gets
review_loop.png, .md (tables) and .json.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.label_studio_desk import LabelStudioDesk
from benchmarks.paper_rule import paper_arms
from benchmarks.quarter import Quarter, said_by
from benchmarks.review_results import ENGINE, Result, as_json, markdown, plot
from benchmarks.simulated_stewards import STEWARDS, SimulatedDesk
from demo.masks import CONFIG
from demo.stack.services import S3Server, label_studio_server, s3_server
from lae_tasks.config import Config
from lae_tasks.config_file import load_config
from lae_tasks.night import Night, run_stage
from lae_tasks.releases.assemble import assemble
from lae_tasks.releases.dataset import Dataset
from lae_tasks.releases.drift import fresh_regions, next_baseline
from lae_tasks.releases.gates import make_gates
from lae_tasks.releases.manifest import ReleaseManifest
from lae_tasks.releases.mixes import class_mixes
from lae_tasks.releases.statement import Statement, make_statement
from lae_tasks.review.image_storage import S3Access
from lae_tasks.routing.again import route_again
from lae_tasks.stages import review
from lae_tasks.stages.calibrate import calibrate
from lae_tasks.state import State, load_reviews, load_state
from lae_tasks.storage import Storage, open_storage

Desk = SimulatedDesk | LabelStudioDesk
#: Of a night's looks so much is kept for what is asked beyond the night's push: tiles that are
#: checked, and second looks at what a steward contradicts. They took an eighth to a half of them.
RESERVE = 0.5
console = Console()


def main() -> None:
    """Runs the whole comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--budget", type=float, default=0.2)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    quarter = Quarter(args.folder.resolve(), args.nights, args.scenes)
    config = load_config(
        CONFIG, raw=str(quarter.folder / "raw"), store=str(quarter.folder / "store")
    )
    quarter.make(config, args.workers, console.print)
    taken, reached = zip(*engine_arm(quarter, config, args.budget), strict=True)
    results = [each for each in reached if each]
    results += paper_arms(quarter, config, taken)
    (quarter.folder / "review_loop.json").write_text(as_json(results))
    told = markdown(results)
    (quarter.folder / "review_loop.md").write_text(told)
    plot(results, quarter.folder / "review_loop.png")
    print(told)


def engine_arm(
    quarter: Quarter, config: Config, budget: float
) -> Iterator[tuple[int, Result | None]]:
    """The engine's own loop, night by night, with stewards at a simulated desk.

    Yields:
        How many looks the stewards took on a night, and what was reached by then, if it is scored.
    """
    served = quarter.folder / "served"
    shutil.rmtree(served, ignore_errors=True)
    # Without what comes after the names.
    made_anew = shutil.ignore_patterns("route", "review", "collect", "calibrate")
    shutil.copytree(
        quarter.folder / "store",
        served / "s3" / "quarter" / "store",
        copy_function=_link,
        ignore=made_anew,
    )
    with s3_server(served) as s3:
        store = open_storage("s3://quarter/store", s3.client())
        config = config.model_copy(update={"store": store.uri})
        access = S3Access(s3.key, s3.secret, region_name=s3.region)
        regions = looks = 0
        parent: Released | None = None
        simulated: Desk = SimulatedDesk(STEWARDS, quarter.truth)
        for number, night in enumerate(quarter.nights, start=1):
            here = Night(night, config, open_storage(config.raw), store)
            run_stage(here, "route")
            regions += len(load_state(store, night).regions)
            reserve = RESERVE * budget * regions / number
            left = max(1, int(budget * regions - reserve) - looks)
            settings = config.review.model_copy(update={"looks_per_night": left})
            its = config.model_copy(update={"review": settings})
            with real_desk(quarter, s3) if number == 1 else nullcontext(simulated) as desk:
                before = desk.looks
                review.push(store, night, its, desk, access)
                while desk.work():
                    review.collect(load_reviews(store), its, store, desk, night)
                    review.follow_up(load_reviews(store), its, desk)
                taken = desk.looks - before
            looks += taken
            done = calibrate(store, its, night)
            if done.manifest:
                route_again(here)
            console.print(night, f"{looks} looks, {looks / regions:.1%};", done.as_text())
            if night not in quarter.scored:
                yield taken, None
                continue
            result, release = _reached(quarter, night, load_state(store), its, store, looks, parent)
            parent = release or parent
            yield taken, result


@contextmanager
def real_desk(quarter: Quarter, s3: S3Server) -> Iterator[LabelStudioDesk]:
    """A real Label Studio, for one night: it is as slow as people are quick."""
    folder = quarter.folder / "label-studio"
    shutil.rmtree(folder, ignore_errors=True)
    with (
        label_studio_server(folder, s3=s3) as server,
        LabelStudioDesk(server.url, server.token, STEWARDS, quarter.truth) as desk,
    ):
        yield desk


@dataclass(frozen=True)
class Released:
    """What the next release is compared with.

    Attributes:
        manifest: As far as gates look at it.
        scenes: Ids of its scenes.
    """

    manifest: ReleaseManifest
    scenes: frozenset[str]


def _reached(
    quarter: Quarter,
    night: str,
    state: State,
    config: Config,
    store: Storage,
    looks: int,
    parent: Released | None,
) -> tuple[Result, Released | None]:
    """What a release would hold and state after a night; and the release, if no gate refuses it."""
    dataset = assemble(state, config)
    score = quarter.score(said_by(dataset), night)
    before = parent.manifest if parent else None
    stated = make_statement(dataset, state, config, store, fresh_regions(before, state))
    told = refusals(dataset, state, config, stated, parent)
    for says in told:
        console.print(f"{night}: a release is refused: {says}")
    return (
        Result(ENGINE, night, score, len(state.regions), looks, stated.whole, stated.recall),
        None if told else as_released(night, dataset, state, stated, parent),
    )


def refusals(
    dataset: Dataset, state: State, config: Config, stated: Statement, parent: Released | None
) -> list[str]:
    """What the gates that a release does not pass say."""
    scenes = {image.scene_id for image in dataset.images}
    mixes = class_mixes(dataset, state, config, scenes - (parent.scenes if parent else scenes))
    gates = make_gates(config, stated, mixes, parent.manifest if parent else None)
    return [gate.says for gate in gates if not gate.passes]


def as_released(
    name: str, dataset: Dataset, state: State, stated: Statement, parent: Released | None
) -> Released:
    """A release as the gates of the next one look at it."""
    baseline = next_baseline(name, parent.manifest if parent else None, stated, state)
    # Without files and all else that no gate looks at.
    manifest = ReleaseManifest.model_construct(
        version=name,
        counts=dataset.counts(),
        precision=stated.precision,
        drift_baseline=baseline,
    )
    return Released(manifest, frozenset(image.scene_id for image in dataset.images))


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


if __name__ == "__main__":
    main()
