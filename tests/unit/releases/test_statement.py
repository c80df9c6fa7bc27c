"""What a release states comes from the random sample, the held-out and the second looks."""

from pathlib import Path

import pytest

from lae_tasks.accounts import Done
from lae_tasks.config import Config
from lae_tasks.contracts import (
    Decision,
    Outcome,
    Purpose,
    ReviewItem,
    TileCheck,
    Verdict,
    VerdictAction,
    review_item_id,
)
from lae_tasks.releases.dataset import STEWARD, Annotation, Annotations, Dataset
from lae_tasks.releases.statement import Statement, make_statement
from lae_tasks.runner import Work, run
from lae_tasks.state import State
from lae_tasks.storage import LocalStorage
from lae_tasks.trust.audit import Correction, wilson
from lae_tasks.trust.mistakes import error_from, truly_right
from lae_tasks.trust.records import Calibration, Judgement
from tests.records import make_calibration, make_decision, make_region, make_tile

ACCEPT, REJECT, UNDECIDED = VerdictAction.ACCEPT, VerdictAction.REJECT, VerdictAction.UNDECIDED
STEWARDS = ("anna", "ben", "cem")


class World:
    """Ships of one scene, decided by one calibration, and what stewards say of them."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStorage(folder)
        self.state = State(night_of={"s1": "2026-01-01"})
        self.judgements: list[Judgement] = []
        self.annotations: list[Annotation] = []

    def region(self, held_out: float | None = None, **decision: object) -> str:
        region_id = f"r{len(self.state.decisions):04d}"
        usual = {"rule": "confident", "calibration": "c", "confidence": 0.9}
        made: Decision = make_decision(make_region(region_id=region_id), **usual | decision)
        self.state.decisions[region_id] = made
        if held_out is not None:
            self.judgements.append(
                Judgement(region_id=region_id, right=True, drawn=True, probability=held_out)
            )
        return region_id

    def look(
        self, region_id: str, *says: VerdictAction, planned: int = 1, purpose: str = "drawn"
    ) -> None:
        box = (1, 2, 5, 6)
        item = ReviewItem(
            region_id=region_id,
            task_key="task",
            tile_id="t1",
            scene_id="s1",
            window_px=(0, 0, 9, 9),
            category="ship",
            bbox_xyxy_px=box,
            purpose=Purpose(purpose),
            looks=planned,
        )
        self.state.review_items[review_item_id("task", region_id)] = item
        for number, action in enumerate(says):
            verdict = Verdict(
                verdict_id=f"{region_id} {number}",
                region_id=region_id,
                tile_id="t1",
                scene_id="s1",
                task_key="task",
                task_created_at="2026-01-01T00:00:00+00:00",
                annotation_id=number,
                annotator=STEWARDS[number],
                decided_at="2026-01-02T00:00:00+00:00",
                action=action,
                category="ship" if action is ACCEPT else None,
                bbox_xyxy_px=box,
                seconds=None,
            )
            self.state.verdicts[verdict.verdict_id] = verdict

    def is_in(self, region_id: str, source: str = "engine:confident") -> None:
        box = (1, 2, 5, 6)
        self.annotations.append(
            Annotation(1, 1, region_id, 1, "ship", box, "", 16, box, 0.9, source, None, None)
        )

    def stated(self, optimism: float = 0.0) -> Statement:
        calibration = make_calibration(calibration_id="c", accept_at=0.8, optimism=optimism)
        work = Work("calibrate", "2026-01-01", "0000", (Judgement, Calibration), "", ("c",))
        run(self.store, work, ["c"], [Done("c", [*self.judgements, calibration])])
        rules = ["unrecognized", {"rule": "uncertain", "at": 0.9}]
        config = Config(
            preset="demo",
            raw="raw",
            store="store",
            route={"rules": rules},
            vocabulary={"categories": [{"name": "ship", "synonyms": ["boat"]}]},
        )
        dataset = Dataset((), Annotations.of(self.annotations), (), {})
        return make_statement(dataset, self.state, config, self.store, self.state.decisions)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A sample of 100 by the held-out, of which stewards find 86 right, and 300 unseen ships."""
    world = World(tmp_path)
    for number in range(90):
        region_id = world.region(0.9, drawn=True)
        world.look(region_id, ACCEPT if number < 81 else REJECT)
    for number in range(10):  # in doubt now, by what their own verdicts have taught
        doubtful = {"outcome": Outcome.REVIEW, "rule": "uncertain"}
        region_id = world.region(0.85, drawn=True, **doubtful)
        world.look(region_id, ACCEPT if number < 5 else REJECT)
    for _ in range(10):  # accepted now, by what their own verdicts have taught
        world.look(world.region(0.5, drawn=True), ACCEPT)
    for _ in range(20):  # looked at for their worth, under another calibration
        world.look(world.region(), REJECT, purpose="doubt")
    for number in range(299):
        world.is_in(world.region(confidence=0.85 if number < 30 else 0.9))
    puzzling = world.region(drawn=True)
    world.look(puzzling, UNDECIDED)
    world.is_in(puzzling)
    return world


def two_looked(world: World, regions: int, differ: int) -> list[str]:
    doubtful = {"outcome": Outcome.REVIEW, "rule": "uncertain"}
    ids = [world.region(**doubtful) for _ in range(regions)]
    for number, region_id in enumerate(ids):
        second = REJECT if number < differ else ACCEPT
        world.look(region_id, ACCEPT, second, planned=2, purpose="doubt")
    return ids


def test_the_sample_is_by_the_held_out(world: World) -> None:
    stated = world.stated()
    (entry, of_ships) = stated.precision
    assert (entry.category, of_ships.category) == (None, "ship")
    assert (entry.audited, entry.right, entry.unseen) == (100, 86, 300)
    assert (entry.undecided, entry.unmeasured) == (1, 0)
    assert entry.precision == pytest.approx(0.86)
    # The unseen are a sample, too.
    assert (entry.low, entry.high) == pytest.approx(wilson(0.86, 1 / (1 / 100 + 1 / 300)))
    assert stated.fresh and stated.fresh.right == 86


def test_mistakes_of_stewards_are_allowed_for_and_so_is_what_is_not_known_of_them(
    world: World,
) -> None:
    kept = two_looked(world, regions=40, differ=4)
    for region_id in kept[4:]:
        world.is_in(region_id, STEWARD)
    stated = world.stated()
    entry, error = stated.precision[0], error_from(4 / 40)
    assert stated.steward_error == pytest.approx(error)
    low, high = wilson(4 / 40, 40)
    errors = (error, error_from(low), error_from(high))
    # Nothing that contradicts the engine was looked at again yet.
    correction = Correction(
        *(lambda share, e=each: truly_right(share, e, again=0.0) for each in errors)
    )
    wanted = correction.interval(0.86, *wilson(0.86, 1 / (1 / 100 + 1 / 300)))
    assert (entry.precision, entry.low, entry.high) == pytest.approx(wanted)
    assert entry.precision > 0.86, "more was right than they found"
    whole = stated.whole
    assert whole and (whole.objects, whole.seen) == (336, 36)
    assert 0.9 < whole.seen_precision < 1, "what both accept may be wrong all the same"


def test_what_nobody_has_looked_at_any_of_is_told(world: World) -> None:
    world.state.night_of["s2"] = "2026-01-02"
    for region_id in [world.region() for _ in range(7)]:
        of_later = world.state.decisions[region_id].model_copy(update={"scene_id": "s2"})
        world.state.decisions[region_id] = of_later
        world.is_in(region_id)
    entry = world.stated().precision[0]
    assert (entry.unseen, entry.unmeasured) == (307, 7)
    # As right as what is as likely on the night that was looked at.
    assert entry.precision == pytest.approx((277 * 0.9 + 30 * 0.5) / 307)


def test_what_was_in_doubt_when_it_was_sent_speaks_for_as_much_as_is_unseen_of_it(
    world: World, tmp_path: Path
) -> None:
    """Stewards have looked at all that was in doubt; a lower threshold accepts it now."""
    world = World(tmp_path / "band")
    for number in range(300):
        in_doubt_once = number < 100
        region_id = world.region(confidence=0.85 if in_doubt_once else 0.97, drawn=True)
        wrong = number % 10 == 0 if in_doubt_once else number % 50 == 0
        world.look(region_id, REJECT if wrong else ACCEPT)
    for _ in range(900):
        world.look(world.region(confidence=0.85), ACCEPT, purpose="doubt")
    for _ in range(1_800):
        world.is_in(world.region(confidence=0.97))
    entry = world.stated().precision[0]
    assert (entry.audited, entry.right, entry.unseen) == (300, 286, 1_800)
    assert entry.precision == pytest.approx(0.98, abs=0.002)
    assert (entry.low, entry.high) == pytest.approx(
        wilson(0.98, 1 / (1 / 200 + 1 / 1_800)), abs=0.003
    )


def test_a_share_that_is_less_than_its_optimism_is_none(world: World) -> None:
    for _ in range(100):
        world.look(world.region(0.9, drawn=True), REJECT)
    for key in list(world.state.verdicts):
        reject = {"action": REJECT, "category": None}
        world.state.verdicts[key] = world.state.verdicts[key].model_copy(update=reject)
    entry = world.stated(optimism=0.01).precision[0]
    assert (entry.precision, entry.low) == (0, 0) and entry.high > 0


def test_recall_takes_a_name_of_before_for_what_it_is_called_now(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(5):
        scene, key = f"s{number}", f"check {number}"
        world.state.night_of[scene] = "2026-01-01"
        tile = make_tile((0, 0, 9, 9), scene_id=scene)
        world.state.tiles[tile.tile_id] = tile
        check = TileCheck(
            task_key=key, tile_id=tile.tile_id, scene_id=scene, window_px=tile.window_px
        )
        world.state.tile_checks[check.record_id] = check
        # Two say that it is a ship, one of them as it was called then; the latest says no.
        region_id = world.region()
        world.look(region_id, ACCEPT, ACCEPT, REJECT)
        old, now = {"scene_id": scene, "tile_id": tile.tile_id}, {"task_key": key}
        done = {"verdict_id": key, "region_id": tile.tile_id, "action": VerdictAction.CHECK}
        for look in range(3):
            verdict = world.state.verdicts[f"{region_id} {look}"]
            called = {"category": "boat"} if look == 0 else {}
            verdict = verdict.model_copy(update=old | now | called)
            world.state.verdicts[verdict.verdict_id] = verdict
        world.state.verdicts[key] = verdict.model_copy(update=done)
        decision = world.state.decisions[region_id]
        world.state.decisions[region_id] = decision.model_copy(update=old)
        world.state.regions[region_id] = make_region(region_id=region_id, **old)
        item = world.state.review_items.pop(review_item_id("task", region_id))
        item = item.model_copy(update=old | now)
        world.state.review_items[item.record_id] = item
    recall = world.stated().recall
    assert recall and (recall.objects, recall.found) == (5, 5)
