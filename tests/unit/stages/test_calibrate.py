"""Calibrate: verdicts on one night teach what the next one accepts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lae_tasks.accounts import Done, Manifest
from lae_tasks.config import Config
from lae_tasks.contracts import (
    Assignment,
    BoxPx,
    Decision,
    Label,
    Purpose,
    Record,
    Region,
    ReviewItem,
    Scene,
    Tile,
    TileCheck,
    Verdict,
    VerdictAction,
)
from lae_tasks.night import Night, run_stage
from lae_tasks.review.verdicts import fold_verdicts
from lae_tasks.routing.again import route_again
from lae_tasks.routing.dry_run import dry_run
from lae_tasks.routing.labelled import Names, read_labelled
from lae_tasks.runner import Work, iter_manifests, run
from lae_tasks.stages.calibrate import calibrate, latest, stays_in_force
from lae_tasks.state import digest_of, load_state
from lae_tasks.storage import LocalStorage, Storage
from lae_tasks.tables import read_table
from lae_tasks.trust import judged
from lae_tasks.trust.calibration import fit
from lae_tasks.trust.features import categories_of
from lae_tasks.trust.records import Calibration, Judgement
from tests.records import make_label, make_region, make_scene, make_tile

REGIONS = 400
WINDOW_PX = (0, 0, 1000, 1000)


@pytest.fixture
def store(tmp_path: Path) -> Storage:
    return LocalStorage(tmp_path / "store")


def a_night(store: Storage, name: str, **route: object) -> Night:
    rules = ["unrecognized", "imported", {"rule": "uncertain", "at": 0.9}]
    settings = {
        "score": "token_confidence",
        "rules": rules,
        "learn_share": 0.8,
        "audit_share": 0.3,
    } | route
    config = Config(preset="demo", raw=store.uri, store=store.uri, route=settings)
    return Night(night=name, config=config, raw=store, store=store)


def commit(
    night: Night,
    stage: str,
    inputs: tuple[str, ...],
    tables: dict[type[Record], list[Record]],
    revision: str | None = None,
) -> Manifest:
    shard = "all" if stage == "ingest" else "0000"
    work = Work(stage, night.night, shard, tuple(tables), "", inputs, revision)
    outputs = [record for records in tables.values() for record in records]
    return run(night.store, work, ["x"], [Done("x", outputs)])


def make_up(night: Night, seed: int, revision: str = "m1") -> None:
    """Commits a night of regions that are right as often as their token confidence says."""
    scenes = [make_scene(scene_id=f"{seed}-{n}", raw_key=f"{seed}-{n}.tif") for n in range(20)]
    plan = [Assignment(scene_id=scene.scene_id, shard="0000") for scene in scenes]
    commit(night, "ingest", (), {Scene: [*scenes], Assignment: [*plan]})
    tiles = [make_tile(WINDOW_PX, scene_id=scene.scene_id) for scene in scenes]
    regions: list[Record] = []
    labels: list[Record] = []
    shares = np.random.default_rng(seed).beta(6, 0.4, REGIONS)
    for number, share in enumerate(shares.round(4).tolist()):
        tile = tiles[number % 20]
        x, y = 40 * (number // 20 % 20), 40 * (number // 400)
        region_id = f"{seed}-r{number}"
        box = {"bbox_xyxy_px": (x, y, x + 20, y + 10), "area_px": 200}
        regions.append(
            make_region(region_id=region_id, tile_id=tile.tile_id, scene_id=tile.scene_id, **box)
        )
        labels.append(make_label(region_id, token_confidence=share))
    made: tuple[str, ...] = (digest_of(scene.scene_id for scene in scenes),)
    digests: tuple[str, ...] = ()
    tables: dict[str, dict[type[Record], list[Record]]] = {
        "tile": {Tile: [*tiles]},
        "segment": {Region: regions},
        "classify": {Label: labels},
    }
    for stage, kinds in tables.items():
        manifest = commit(night, stage, made, kinds, None if stage == "tile" else revision)
        digests += tuple(output.sha256 for output in manifest.tables)
        made = digests


def review(
    night: Night,
    seed: int,
    only: int = REGIONS,
    mistakes: bool = True,
    right: float = 1.0,
    purpose: Purpose = Purpose.DRAWN,
) -> None:
    """A steward decides what was drawn: right as often as its token confidence says, or less."""
    state = load_state(night.store, night.night)
    generator = np.random.default_rng(seed)
    items: list[ReviewItem] = []
    verdicts: list[Verdict] = []
    for decision in [d for d in state.decisions.values() if d.drawn][:only]:
        region, label = state.regions[decision.region_id], state.labels[decision.region_id]
        share = label.token_confidence or 0.0
        is_right = generator.random() < share * right or not mistakes
        action = VerdictAction.ACCEPT if is_right else VerdictAction.REJECT
        item, verdict = judge(region, decision, action)
        items.append(item.model_copy(update={"purpose": purpose}))
        verdicts.append(verdict)
    for stage, kinds, records in (
        ("review", (ReviewItem, TileCheck), items),
        ("collect", (Verdict,), verdicts),
    ):
        digest = digest_of(record.record_id for record in records)
        work = Work(stage, night.night, digest[:16], kinds, "", (digest,))
        ids = [record.record_id for record in records]
        run(night.store, work, ids, [Done(record.record_id, [record]) for record in records])


def judge(
    region: Region, decision: Decision, action: VerdictAction, box: BoxPx | None = None
) -> tuple[ReviewItem, Verdict]:
    item = ReviewItem(
        region_id=region.region_id,
        task_key="task",
        tile_id=region.tile_id,
        scene_id=region.scene_id,
        window_px=WINDOW_PX,
        category=decision.category or "",
        bbox_xyxy_px=region.bbox_xyxy_px,
    )
    verdict = Verdict(
        verdict_id=f"v-{region.region_id}",
        region_id=region.region_id,
        tile_id=region.tile_id,
        scene_id=region.scene_id,
        task_key="task",
        task_created_at="2026-01-01T00:00:00Z",
        annotation_id=1,
        annotator="anna",
        decided_at="2026-01-01T01:00:00Z",
        action=action,
        category=None if action is VerdictAction.REJECT else decision.category,
        bbox_xyxy_px=box or region.bbox_xyxy_px,
        seconds=None,
    )
    return item, verdict


def test_the_next_night_uses_what_verdicts_taught(store: Storage) -> None:
    first, second = a_night(store, "2026-01-01"), a_night(store, "2026-01-02")
    make_up(first, 1)
    make_up(second, 2)
    run_stage(first, "route")
    assert "0 of 111 verdicts" in calibrate(store, first.config, "2026-01-01").why
    review(first, 1)
    done = calibrate(store, first.config, "2026-01-01")
    assert done.manifest and done.calibration and not done.why
    judged = read_table(store, done.manifest.outputs[0], Judgement)
    assert len(judged) == done.calibration.verdicts > 300
    assert all(each.drawn for each in judged)
    assert "are accepted, which reaches 0.95 with confidence 0.9" in done.as_text()

    run_stage(second, "route")
    decisions = load_state(store, "2026-01-02").decisions.values()
    assert {d.calibration for d in decisions} == {done.calibration.calibration_id}
    for decision in decisions:
        accepted = decision.confidence >= done.calibration.accept_at
        assert (decision.outcome == "accept") == accepted
    # It is found by the dry run, too, and by the night that taught it.
    assert {c.rule: c.in_order for c in dry_run(second)}["confident"] == sum(
        d.outcome == "accept" for d in decisions
    )
    before = run_stage(first, "route")
    assert {d.calibration for d in load_state(store, "2026-01-01").decisions.values()} == {
        done.calibration.calibration_id
    }
    assert run_stage(first, "route") == before


def test_it_waits_for_enough_new_verdicts(store: Storage) -> None:
    first, second = a_night(store, "2026-01-01"), a_night(store, "2026-01-02")
    make_up(first, 1)
    run_stage(first, "route")
    review(first, 1, only=50)
    few = calibrate(store, first.config, "2026-01-01")
    assert few.manifest is None
    assert few.why == "50 of 111 verdicts on regions that were drawn at random are in"
    review(first, 1)
    once = calibrate(store, first.config, "2026-01-01").calibration
    again = calibrate(store, first.config, "2026-01-02")
    assert (again.calibration, again.why) == (once, "0 verdicts are new, it takes 50")
    make_up(second, 2)
    run_stage(second, "route")
    review(second, 2)
    newer = calibrate(store, first.config, "2026-01-02").calibration
    assert newer and once and newer.verdicts >= once.verdicts + 50
    assert latest(store, "m1", first.config.route) == newer
    assert latest(store, "m2", first.config.route) is None


def test_the_size_of_a_category_is_learned(store: Storage) -> None:
    night = a_night(store, "2026-01-01")
    make_up(night, 1)
    run_stage(night, "route")
    review(night, 1)
    found = calibrate(store, night.config, "2026-01-01").calibration
    assert found and categories_of(found.features) == ("ship",)
    assert found.steward_error is None  # nobody looked twice


def test_another_target_is_learned_for_at_once(store: Storage) -> None:
    night = a_night(store, "2026-01-01")
    make_up(night, 1)
    run_stage(night, "route")
    review(night, 1)
    once = calibrate(store, night.config, "2026-01-01").calibration
    other = a_night(store, "2026-01-01", target_precision=0.9)
    assert latest(store, "m1", other.config.route) is None
    lower = calibrate(store, other.config, "2026-01-01").calibration
    assert once and lower and lower.accept_at < once.accept_at
    # Each holds for its own target.
    assert latest(store, "m1", night.config.route) == once
    assert latest(store, "m1", other.config.route) == lower


def fitted_once(store: Storage, right: float) -> tuple[Night, Night, Calibration]:
    """Two nights, a calibration of the first, and verdicts on the second."""
    first, second = a_night(store, "2026-01-01"), a_night(store, "2026-01-02")
    make_up(first, 1)
    run_stage(first, "route")
    review(first, 1)
    once = calibrate(store, first.config, "2026-01-01").calibration
    assert once
    make_up(second, 2)
    run_stage(second, "route")
    review(second, 2, right=right)
    return first, second, once


def test_a_calibration_that_verdicts_contradict_is_in_force_no_more(
    store: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, once = fitted_once(store, right=0.7)
    done = calibrate(store, first.config, "2026-01-02")
    assert done.manifest and done.calibration is None
    assert "no probability is shown to reach 0.95 with confidence 0.9 any more" in done.as_text()
    assert f"The calibration of {once.verdicts} verdicts is in force no more" in done.as_text()
    assert done.as_text().endswith("What is accepted is up to the rules.")
    assert "any more" in caplog.text
    assert latest(store, "m1", first.config.route) is None
    # What it decided, the rules decide now.
    assert [before.night for before, _ in route_again(second)] == ["2026-01-02"]
    decisions = load_state(store, "2026-01-02").decisions.values()
    assert {d.calibration for d in decisions} == {"none:token_confidence"}
    assert route_again(second) == []


def test_a_calibration_stays_in_force_where_no_verdict_contradicts_it(
    store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, once = fitted_once(store, right=1.0)
    fits: list[object] = []
    monkeypatch.setattr("lae_tasks.stages.calibrate.fit", lambda *_, **__: fits.append(1))
    done = calibrate(store, first.config, "2026-01-02")
    assert done.manifest is None and done.calibration == once
    assert f"The calibration of {once.verdicts} verdicts stays in force" in done.as_text()
    # It is not tried again before as many verdicts are new as it takes.
    again = calibrate(store, first.config, "2026-01-03")
    assert (again.calibration, again.why) == (once, "0 verdicts are new, it takes 50")
    assert len(fits) == 1


def test_what_never_reached_the_target_is_not_tried_at_each_call(
    store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = a_night(store, "2026-01-01")
    make_up(night, 1)
    run_stage(night, "route")
    review(night, 1)
    with monkeypatch.context() as patched:
        patched.setattr("lae_tasks.stages.calibrate.fit", lambda *_, **__: None)
        assert "no probability" in calibrate(store, night.config, "2026-01-01").why
    assert calibrate(store, night.config, "2026-01-01").why == "0 verdicts are new, it takes 50"
    other = a_night(store, "2026-01-01", target_precision=0.9)
    assert calibrate(store, other.config, "2026-01-01").calibration


def test_names_are_not_read_before_there_is_something_to_learn(
    store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = a_night(store, "2026-01-01"), a_night(store, "2026-01-02")
    for number, night in enumerate((first, second), start=1):
        make_up(night, number)
        run_stage(night, "route")
    review(second, 2, only=50)
    read: list[object] = []

    def reads(*args: Any) -> Any:
        read.append(args)
        return read_labelled(*args)

    monkeypatch.setattr(judged, "read_labelled", reads)
    assert "50 of 111" in calibrate(store, first.config, "2026-01-02").why
    assert not read
    review(second, 2)
    assert calibrate(store, first.config, "2026-01-02").calibration
    assert len(read) == 1, "nobody has looked at the first night"


def test_what_taught_a_calibration_counts_by_what_it_said_without_it(store: Storage) -> None:
    first, _, once = fitted_once(store, right=1.0)
    manifest = next(iter_manifests(store, "calibrate"))
    filed = {j.region_id: j.probability for j in read_table(store, manifest.outputs[0], Judgement)}
    state = load_state(store)
    found = judged.read_judged(store, first.config, state, fold_verdicts(state.verdicts.values()))
    assert found
    known = np.array([each in filed for each in found.region_ids])
    of_first = replace(
        found,
        region_ids=tuple(each for each in found.region_ids if each in filed),
        rows=lambda: found.rows()[known],
        categories=Names(found.categories.distinct, found.categories.index[known]),
        right=found.right[known],
        drawn=found.drawn[known],
        scenes=found.scenes[known],
    )
    held_out = np.array([filed[each] for each in of_first.region_ids], dtype=np.float64)
    # By what it says of what taught it, it would accept all.
    eager = once.model_copy(update={"intercept": 50.0})
    rows = of_first.rows()
    assert not stays_in_force(store, first.config, of_first, rows, eager, once, held_out)


@pytest.mark.parametrize("right", [1.0, 0.7])
def test_one_that_accepts_less_takes_over_only_where_verdicts_contradict_the_other(
    store: Storage, monkeypatch: pytest.MonkeyPatch, right: float
) -> None:
    first, _, once = fitted_once(store, right)

    def strict(*args: Any, **settings: Any) -> tuple[Calibration, Any]:
        found = fit(*args, **settings | {"target_precision": 0.5})
        assert found
        update = {"calibration_id": "strict", "accept_at": 0.999, "target_precision": 0.95}
        return found[0].model_copy(update=update), found[1]

    monkeypatch.setattr("lae_tasks.stages.calibrate.fit", strict)
    done = calibrate(store, first.config, "2026-01-02")
    if right == 1.0:
        assert done.calibration == once and done.manifest is None
        assert "a new one would accept less" in done.as_text()
    else:
        assert done.calibration and done.calibration.calibration_id == "strict"
        assert latest(store, "m1", first.config.route) == done.calibration


def test_without_a_rule_that_goes_by_it_nothing_is_learned(store: Storage) -> None:
    night = a_night(store, "2026-01-01", rules=["unrecognized", "token_confidence_below"])
    make_up(night, 1)
    run_stage(night, "route")
    review(night, 1)
    done = calibrate(store, night.config, "2026-01-01")
    assert done.manifest is None and "add `uncertain` to route.rules" in done.as_text()


def test_what_was_drawn_before_there_was_a_calibration_counts_on(store: Storage) -> None:
    night = a_night(store, "2026-01-01")
    make_up(night, 1)
    run_stage(night, "route")
    review(night, 1)
    once = calibrate(store, night.config, "2026-01-01").calibration
    run_stage(night, "route")
    state = load_state(store, "2026-01-01")
    now = sum(decision.drawn for decision in state.decisions.values())
    verdicts = fold_verdicts(state.verdicts.values())
    found = judged.read_judged(store, night.config, state, verdicts)
    assert once and found and found.drawn.sum() == once.drawn > 1.5 * now


def test_what_was_looked_at_for_its_worth_is_no_random_sample(store: Storage) -> None:
    night = a_night(store, "2026-01-01")
    make_up(night, 1)
    run_stage(night, "route")
    review(night, 1, purpose=Purpose.DOUBT)
    assert "0 of 111 verdicts" in calibrate(store, night.config, "2026-01-01").why


def test_other_models_learn_anew(store: Storage) -> None:
    first, second = a_night(store, "2026-01-01"), a_night(store, "2026-01-02")
    make_up(first, 1)
    run_stage(first, "route")
    review(first, 1)
    assert calibrate(store, first.config, "2026-01-01").calibration
    make_up(second, 2, revision="m2")
    run_stage(second, "route")
    decisions = load_state(store, "2026-01-02").decisions.values()
    assert {d.calibration for d in decisions} == {"none:token_confidence"}
    assert "0 of 111" in calibrate(store, first.config, "2026-01-02").why


def test_before_the_first_night_there_is_nothing_to_learn(store: Storage) -> None:
    found = calibrate(store, a_night(store, "2026-01-01").config, "2026-01-01")
    assert found.as_text() == (
        "Nothing fitted: no night was routed yet. What is accepted is up to the rules."
    )


def test_a_night_that_runs_again_just_now_is_left_out(store: Storage) -> None:
    first, second = a_night(store, "2026-01-01"), a_night(store, "2026-01-02")
    for number, night in enumerate((first, second), start=1):
        make_up(night, number)
        run_stage(night, "route")
        review(night, number)
    store.delete("runs/tile/2026-01-02/0000.json")
    found = calibrate(store, first.config, "2026-01-03").calibration
    assert found and found.verdicts < REGIONS


def test_mistakes_on_few_scenes_are_too_few_to_learn_from(store: Storage) -> None:
    night = a_night(store, "2026-01-01")
    make_up(night, 1)
    run_stage(night, "route")
    review(night, 1, mistakes=False)
    done = calibrate(store, night.config, "2026-01-01")
    assert done.why == "regions that were wrong are on too few scenes, it takes 6"
