import json

import pyarrow.parquet as pq
import pytest

from lae_tasks import load_release
from lae_tasks.accounts import Done, Rejection
from lae_tasks.contracts import Label, Merge, ReviewItem, TileCheck, Verdict, VerdictAction
from lae_tasks.errors import ContractError
from lae_tasks.formats import tables
from lae_tasks.releases.history import UnknownRegionError, read_history
from lae_tasks.review.verdicts import added_region_id
from lae_tasks.runner import Work, run
from lae_tasks.storage import LocalStorage
from tests.records import make_label
from tests.release_world import publish_world
from tests.review_world import commit_night

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]

NIGHT = "2026-11-22"
REPLY = '"Big ship" with likelihood 0.9, as it floats'


@pytest.fixture
def stored(world):
    """A night in the store, what stewards were sent and said, and two versions."""
    world.place("EPSG:32632", (1.0, 0.0, 5e5, 0.0, -1.0, 5e6))
    state = world.state
    first = world.region_ids()[0]
    state.labels[first] = make_label(first, category_said="Big ship", reply=REPLY)
    merge = Merge(
        name="Big ship", canonical="ship", rule="similar", similarity=0.95, count=1, by="engine"
    )
    revisions = {"segment": "sam-1", "classify": "lvlm-1"}
    commit_night(world.store, state, NIGHT, [merge], revisions)
    publish_world(world)
    region = state.regions[first]
    item = ReviewItem(
        region_id=first,
        task_key="task",
        tile_id=region.tile_id,
        scene_id=region.scene_id,
        window_px=state.tiles[region.tile_id].window_px,
        category="ship",
        bbox_xyxy_px=region.bbox_xyxy_px,
    )
    commit(world, "review", (ReviewItem, TileCheck), item)
    x0, y0, x1, y1 = region.bbox_xyxy_px
    world.judge(first, VerdictAction.REJECT)
    world.judge(first, VerdictAction.ADJUST, "ship", (x0, y0, x1 - 1, y1), day="2026-05-02")
    drawn = added_region_id(region.tile_id, (300, 300, 320, 330), "ship")
    world.judge(drawn, VerdictAction.ADD, "ship", (300, 300, 320, 330), day="2026-05-02")
    commit(world, "collect", (Verdict,), *reversed(state.verdicts.values()))
    publish_world(world)
    return world


def commit(world, stage, kinds, *outputs):
    run(world.store, Work(stage, NIGHT, "all", kinds, "c", ()), ["x"], [Done("x", outputs)])


def test_all_that_is_known_of_a_region(stored):
    region_id = stored.region_ids()[0]
    found = read_history(stored.store, region_id)
    region, (scene,) = stored.state.regions[region_id], stored.state.scenes.values()
    assert [each.version for each in found.versions] == ["v1.0.1", "v1.0.0"]
    assert [each.source for each in found.versions] == ["steward", "engine:sure"]
    assert found.versions[1].bbox_xyxy_px == region.bbox_xyxy_px
    assert found.versions[0].bbox_xyxy_px != region.bbox_xyxy_px
    assert found.versions[0].images >= 1
    origin = found.origin
    assert (origin.night, origin.shard) == (NIGHT, "0000")
    assert (origin.region, origin.scene) == (region, scene)
    assert origin.tile == stored.state.tiles[region.tile_id]
    assert origin.label.reply == REPLY
    assert (origin.merge.name, origin.merge.canonical) == ("Big ship", "ship")
    assert origin.decision == stored.state.decisions[region_id]
    assert origin.revisions == {"segment": "sam-1", "classify": "lvlm-1"}
    assert origin.rejections == []
    assert [each.task_key for each in found.review_items] == ["task"]
    assert [each.verdict_id for each in found.verdicts] == ["verdict-001", "verdict-002"]
    assert found.held.action is VerdictAction.ADJUST
    assert json.loads(json.dumps(found.as_dict()))["origin"]["label"]["reply"] == REPLY


def test_what_a_steward_drew_has_their_verdict_and_its_scene(stored):
    drawn = stored.state.verdicts["verdict-003"]
    found = read_history(stored.store, drawn.region_id)
    assert [each.version for each in found.versions] == ["v1.0.1"]
    assert found.origin.region is None
    assert found.origin.scene.scene_id == drawn.scene_id
    assert found.origin.tile.tile_id == drawn.tile_id
    assert found.verdicts == [drawn]


def test_only_so_many_versions_are_looked_at(stored):
    found = read_history(stored.store, stored.region_ids()[0], most=1)
    assert [each.version for each in found.versions] == ["v1.0.1"]
    assert (found.looked_at, found.published) == (1, 2)


@pytest.fixture
def grown(world, monkeypatch):
    """Three versions, the last one with a scene more; with row groups of three annotations."""
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 3)
    publish_world(world)
    world.judge(world.region_ids()[0], VerdictAction.REJECT)
    publish_world(world)
    world.add_scene(4)
    publish_world(world)
    world.place("EPSG:32632", (1.0, 0.0, 5e5, 0.0, -1.0, 5e6))
    commit_night(world.store, world.state, NIGHT)
    return world


def test_no_more_is_read_than_is_needed(grown, monkeypatch):
    whole, groups, read_group = [], [], pq.ParquetFile.read_row_group

    class Watched(LocalStorage):
        def read(self, key):
            whole.append(key)
            return super().read(key)

    def reading(table, number, columns, **options):
        groups.append((number, *columns))
        return read_group(table, number, columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", reading)
    release = load_release(grown.store.uri)
    scene_id = [*grown.state.scenes][-1]
    images = {image.image_id for image in release.images if image.scene_id == scene_id}
    annotations = list(release.annotations())
    of_scene = [each for each in annotations if each.image_id in images]
    region_id = max(of_scene, key=lambda each: len(grown.tiles_of(each.region_id))).region_id
    found = read_history(Watched(grown.store.root), region_id)
    at = [number // 3 for number, each in enumerate(annotations) if each.region_id == region_id]
    assert [(each.version, each.images) for each in found.versions] == [("v1.1.0", len(at))]
    with_ids = {number for number, *columns in groups if columns == ["region_id"]}
    assert with_ids == {n // 3 for n, each in enumerate(annotations) if each in of_scene}
    assert {number for number, *columns in groups if len(columns) > 1} == {*at} < with_ids
    # What the versions before have is known by the newest of them, which has no such scene.
    assert "releases/v1.0.1/manifest.json" in whole
    assert "releases/v1.0.0/manifest.json" not in whole
    assert release.manifest.file(tables.ANNOTATIONS_PATH).key not in whole


def test_a_damaged_version_is_told(grown):
    key = load_release(grown.store.uri).manifest.file(tables.ANNOTATIONS_PATH).key
    grown.store.write(key, grown.store.read(key)[:-9])
    with pytest.raises(ContractError, match=r"is damaged .*: restore it from a backup"):
        read_history(grown.store, grown.region_ids()[0])


def test_a_region_that_a_stage_rejected_has_the_reason(world):
    world.place("EPSG:32632", (1.0, 0.0, 5e5, 0.0, -1.0, 5e6))
    region_id = world.region_ids()[0]
    commit_night(world.store, world.state, NIGHT)
    why = Rejection(
        rejected_id=region_id, stage="classify", reason="reply not understood", detail="?"
    )
    work = Work("classify", NIGHT, "0000", (Label,), "c", ())
    run(world.store, work, [region_id], [why])
    found = read_history(world.store, region_id)
    assert found.versions == []
    assert found.origin.label is None
    assert found.origin.rejections == [why]


def test_an_unknown_region_is_told(stored):
    with pytest.raises(UnknownRegionError, match="knows no region 'nothing'; give a region_id"):
        read_history(stored.store, "nothing")
