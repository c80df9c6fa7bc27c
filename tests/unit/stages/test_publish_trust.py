"""What a release says of its own quality, and what gets no version for it."""

import io

import numpy as np
import pytest
from PIL import Image

from lae_tasks.accounts import Done
from lae_tasks.contracts import Outcome, Purpose, ReviewItem, TileCheck, VerdictAction
from lae_tasks.releases import drift, gates, list_releases
from lae_tasks.runner import Work, run
from lae_tasks.stages.release import publish
from lae_tasks.stages.validate import ValidationFailedError
from lae_tasks.storage import open_storage
from lae_tasks.trust.records import Calibration, Judgement
from tests.records import make_calibration
from tests.release_world import World, keys, publish_world

#: After any release that a test makes.
LATER = "2126-05-01"

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]


@pytest.fixture
def world(tmp_path):
    world = World(open_storage(str(tmp_path / "store")))
    world.add_scene(3)
    return world


def gates_page(world, manifest):
    return world.store.read(manifest.validation_key).decode()


def look_at(world, ids, wrong=0, day="2026-05-01"):
    """Draws regions that were accepted, and has a steward look; the first so many are wrong."""
    for number, region_id in enumerate(ids):
        decision = world.state.decisions[region_id]
        world.state.decisions[region_id] = decision.model_copy(update={"drawn": True})
        action = VerdictAction.REJECT if number < wrong else VerdictAction.ACCEPT
        world.judge(region_id, action, day=day)


def test_what_has_become_worse_gets_no_version_unless_one_says_so(world, monkeypatch):
    monkeypatch.setattr(gates, "FEWEST", 16)
    for seed in range(4, 14):
        world.add_scene(seed)
    ids = world.region_ids()
    look_at(world, ids[:40])
    stated = publish_world(world).manifest.precision[0]
    assert stated.low > 0.6
    # Few looks tell nothing, but they count with those that follow the next release.
    look_at(world, ids[40:48], wrong=6, day=LATER)
    few = publish_world(world).manifest
    assert "8 objects were drawn and looked at since v1.0.0" in gates_page(world, few)
    assert few.drift_baseline.version == "v1.0.0"
    look_at(world, ids[48:56], wrong=6, day=LATER)
    told = r"4 of 16 objects .* since v1\.0\.0"
    with pytest.raises(ValidationFailedError, match=told) as caught:
        publish_world(world)
    assert "release.refuse_drift" in str(caught.value)
    assert [release.version for release in list_releases(world.store)] == ["v1.0.0", few.version]
    pages = [world.store.read(key).decode() for key in keys(world) if key.endswith("/gates.html")]
    assert any("drift" in page for page in pages)
    release = world.config.release.model_copy(update={"refuse_drift": False})
    config = world.config.model_copy(update={"release": release})
    assert publish(lambda: world.state, config, world.store).version == "v1.0.2"


def test_enough_looks_that_pass_make_a_new_baseline(world, monkeypatch):
    monkeypatch.setattr(drift, "_MANY", 12)
    for seed in range(4, 14):
        world.add_scene(seed)
    ids = world.region_ids()
    look_at(world, ids[:40], wrong=1)
    first = publish_world(world).manifest.drift_baseline
    assert (first.version, first.known_until[:10]) == ("v1.0.0", "2026-05-01")
    look_at(world, ids[40:50], wrong=1, day="2026-05-02")
    assert publish_world(world).manifest.drift_baseline == first
    # Decided before the second release, though collected after it.
    look_at(world, ids[50:52], wrong=1, day="2026-05-02")
    second = publish_world(world).manifest
    assert second.drift_baseline.version == second.version
    assert second.drift_baseline.known_until[:10] == "2026-05-02"


def test_another_mix_is_refused_on_new_scenes_and_on_no_others(world, monkeypatch):
    monkeypatch.setattr(gates, "_REGIONS", 10)
    for seed in range(4, 7):
        world.add_scene(seed)
    late = sorted(world.region_ids(), key=lambda key: world.state.decisions[key].category)[10:]
    for region_id in late:
        world.decide(region_id, Outcome.REJECT, None)
    assert publish_world(world).version == "v1.0.0"
    # A new calibration accepts what the one before did not.
    for region_id in late:
        world.decide(region_id, Outcome.ACCEPT, "a name of later")
    anew = publish_world(world).manifest
    assert anew.diff["scenes_added"] == 0 and anew.diff["added"] == len(late) >= 10
    assert "no scene is new since v1.0.0" in world.store.read(anew.validation_key).decode()
    known = set(world.region_ids())
    for seed in range(7, 10):
        world.add_scene(seed)
    new = [region_id for region_id in world.region_ids() if region_id not in known]
    for region_id in new:
        world.decide(region_id, Outcome.ACCEPT, "a name of now")
    with pytest.raises(ValidationFailedError, match=f"{len(new)} regions on new scenes") as caught:
        publish_world(world)
    assert "'a name of now' (0.000 to 1.000)" in str(caught.value)


def test_what_stewards_add_on_old_scenes_is_no_shift_of_the_new(world, monkeypatch):
    monkeypatch.setattr(gates, "_REGIONS", 10)
    for seed in range(4, 7):
        world.add_scene(seed)
    # The engine is unsure of one name in two; stewards have been at the old scenes.
    unsure = sorted(world.region_ids())[::2]
    for region_id in unsure:
        world.decide(region_id, Outcome.REVIEW, "a doubtful name")
        world.judge(region_id, VerdictAction.ACCEPT)
    assert publish_world(world).version == "v1.0.0"
    known = set(world.region_ids())
    for seed in range(7, 10):
        world.add_scene(seed)
    for region_id in sorted(set(world.region_ids()) - known)[::2]:
        world.decide(region_id, Outcome.REVIEW, "a doubtful name")
    assert publish_world(world).version == "v1.1.0"


def test_conflicts_are_told_though_nothing_was_planned_for_two(world):
    region_id, *_ = world.region_ids()
    world.judge(region_id, VerdictAction.ACCEPT)
    other = world.judge(region_id, VerdictAction.REJECT)
    both = other.model_copy(update={"annotator": "another@example.org"})
    world.state.verdicts[other.verdict_id] = both
    found = publish_world(world).manifest.agreement
    assert (found.regions, found.open, found.alpha) == (0, 1, None)
    card = world.store.read("releases/v1.0.0/README.md").decode()
    assert "not measured yet: nothing that was planned for two stewards has both" in card
    assert "of all regions, 1 are in dispute still" in card


def test_a_release_says_how_right_all_of_it_is(world):
    world.add_scene(4)
    ids = world.region_ids()
    look_at(world, ids[:6], wrong=1)
    manifest = publish_world(world).manifest
    whole, (unseen,) = manifest.whole, manifest.precision
    assert (whole.objects, whole.seen, whole.seen_precision) == (len(ids) - 1, 5, 1.0)
    wanted = (unseen.unseen * unseen.precision + 5) / whole.objects
    assert whole.precision == pytest.approx(wanted)
    assert whole.low < whole.precision <= whole.high
    card = world.store.read("releases/v1.0.0/README.md").decode()
    assert f"of all {whole.objects} objects, 5 of which stewards decided" in card
    assert "Stewards are taken to be right" in card


def test_a_release_shows_how_reliable_its_newest_calibration_is(world):
    for name, night in (("old", "2026-01-01"), ("new", "2026-02-01"), ("unused", "2026-03-01")):
        found = make_calibration(
            calibration_id=name,
            night=night,
            bins_said=(0.2, 0.9),
            bins_right=(0.3, 0.9),
            bins_count=(10, 30),
            calibration_error=0.025,
        )
        work = Work("calibrate", night, "0000", (Judgement, Calibration), "", (name,))
        run(world.store, work, [name], [Done(name, [found])])
    for number, (key, decision) in enumerate(world.state.decisions.items()):
        update = {"calibration": "new" if number else "old"}
        world.state.decisions[key] = decision.model_copy(update=update)
    manifest = publish_world(world).manifest
    assert manifest.reliability.calibration_id == "new"
    card = world.store.read("releases/v1.0.0/README.md").decode()
    assert "(expected calibration error) is 0.025" in card and "card/reliability.png" in card
    picture = Image.open(io.BytesIO(world.store.read("releases/v1.0.0/card/reliability.png")))
    blue = (np.asarray(picture)[..., 2] > np.asarray(picture)[..., 0].astype(int) + 90).nonzero()
    # Both points are on it: the one at 0.2 of what was said, and the larger one at 0.9.
    assert blue[1].min() == pytest.approx(64 + 0.2 * 300, abs=7)
    assert blue[1].max() == pytest.approx(64 + 0.9 * 300, abs=7)
    assert blue[0].min() == pytest.approx(16 + 0.1 * 300, abs=7)


def test_a_release_says_its_recall_by_tiles_that_were_looked_over(world):
    for seed in range(4, 8):
        world.add_scene(seed)
    missed, *_ = [key for key in world.region_ids() if len(world.tiles_of(key)) == 1]
    region = world.state.regions[missed]
    category = world.state.decisions[missed].category
    world.decide(missed, Outcome.REJECT, None)
    for number, tile in enumerate(world.state.tiles.values()):
        check = TileCheck(
            task_key=f"check {number}",
            tile_id=tile.tile_id,
            scene_id=tile.scene_id,
            window_px=tile.window_px,
        )
        world.state.tile_checks[check.record_id] = check

        def say(region_id, action, box, category=None, check=check):
            verdict = world.judge(missed, action, category, box)
            update = {
                "region_id": region_id,
                "tile_id": check.tile_id,
                "scene_id": check.scene_id,
                "task_key": check.task_key,
                "category": category,
                "decided_at": "2026-05-01T08:00:00+00:00",
            }
            world.state.verdicts[verdict.verdict_id] = verdict.model_copy(update=update)

        for its in [r for r in world.state.regions.values() if r.tile_id == tile.tile_id]:
            name = world.state.decisions[its.region_id].category
            if its.region_id == missed:
                say("drawn", VerdictAction.ADD, region.bbox_xyxy_px, category)
                continue
            item = ReviewItem(
                region_id=its.region_id,
                task_key=check.task_key,
                tile_id=tile.tile_id,
                scene_id=tile.scene_id,
                window_px=tile.window_px,
                category=name,
                bbox_xyxy_px=its.bbox_xyxy_px,
                purpose=Purpose.CHECK,
            )
            world.state.review_items[item.record_id] = item
            say(its.region_id, VerdictAction.ACCEPT, its.bbox_xyxy_px, name)
        say(tile.tile_id, VerdictAction.CHECK, (0, 0, 8, 8))
    manifest = publish_world(world).manifest
    there, found = len(world.state.regions), manifest.recall
    assert (found.tiles, found.objects, found.found) == (20, there, there - 1)
    assert found.low < found.recall == pytest.approx(1 - 1 / there)
    # It is in now, as a steward drew it.
    assert manifest.counts["objects"] == there
    card = world.store.read("releases/v1.0.0/README.md").decode()
    assert "from 20 tiles that stewards looked over" in card
