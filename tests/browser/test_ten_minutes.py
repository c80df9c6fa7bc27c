"""A steward's ten minutes, and the release that follows from them.

The pictures of docs/stewards.md are made by this test:

    LAE_SHOTS=docs/images python -m pytest --log-cli-level=INFO tests/browser/test_ten_minutes.py
"""

import logging

import pytest
from playwright.sync_api import Page, expect

from demo.stack.services import LabelStudioServer
from lae_tasks.contracts import BoxPx, ReviewItem, VerdictAction
from lae_tasks.review.proposals import proposals
from lae_tasks.state import State
from lae_tasks.storage import Storage
from tests.browser.desk import Desk, publish
from tests.integration.desk import Desk as Project
from tests.review_world import all_in_doubt, make_state

logger = logging.getLogger(__name__)

#: The first test waits for Label Studio to start.
pytestmark = pytest.mark.timeout(600)

#: Scenes: of one everything is corrected, of one all is right, one is skipped.
CORRECTED, RIGHT, SKIPPED = 7, 11, 8
MISSED: BoxPx = (430, 517, 484, 560)
NEW_NAME = "helipad"


def world(store: Storage) -> State:
    """Three tiles; on that of `CORRECTED` the engine has missed an airplane."""
    state = make_state(CORRECTED, store)
    missed = next(i for i, region in state.regions.items() if region.bbox_xyxy_px == MISSED)
    assert state.decisions[missed].category == "airplane"
    del state.regions[missed], state.decisions[missed]
    for seed in (RIGHT, SKIPPED):
        other = make_state(seed, store)
        for name in ("scenes", "tiles", "regions", "decisions"):
            getattr(state, name).update(getattr(other, name))
    return state


class Morning:
    """What the steward does with each of the tiles."""

    def __init__(self, desk: Desk, state: State, items: list[ReviewItem]) -> None:
        self.desk = desk
        self.tiles = {tile.raw_key: tile for tile in state.tiles.values()}
        self.items = items

    def shown(self) -> int:
        """The seed of the scene whose tile is on the page."""
        title = self.desk.page.locator(".lae-title").inner_text()
        return next(seed for seed in (CORRECTED, RIGHT, SKIPPED) if f"scene-{seed}.tif" in title)

    def work(self) -> None:
        left = {CORRECTED: self.correct, RIGHT: self.accept, SKIPPED: self.skip}
        while left:
            seed = self.shown()
            left.pop(seed)()
            if left:
                title = self.desk.page.locator(".lae-title")
                expect(title).not_to_contain_text(f"scene-{seed}.tif", timeout=90_000)
                expect(self.desk.image).to_be_visible()

    def item(self, box: BoxPx) -> ReviewItem:
        return next(item for item in self.items if item.bbox_xyxy_px == box)

    def accept(self) -> None:
        self.desk.press("g")
        self.desk.submit()

    def skip(self) -> None:
        self.desk.skip()

    def correct(self) -> None:
        desk, tile = self.desk, self.tiles[f"harbour/scene-{CORRECTED}.tif"]
        desk.shoot("steward-1-opened")
        desk.read_instructions()
        desk.select(self.item(NO_OBJECT), tile)
        desk.press("x")
        desk.shoot("steward-2-rejected")
        desk.select(self.item(BY_DIGIT), tile)
        desk.press(desk.digit("basketball court"))
        desk.select(self.item(BY_SEARCH), tile)
        desk.search("storage tank")
        desk.shoot("steward-3-searched")
        desk.select(self.item(RENAMED), tile)
        desk.new_name(NEW_NAME)
        fixed = self.item(MISFIT)
        desk.select(fixed, tile)
        desk.drag(fixed.bbox_xyxy_px[2:], FIXED[2:], tile)
        desk.draw(MISSED, "airplane", tile)
        desk.press("g")
        desk.shoot("steward-4-all-said")
        desk.submit()


NO_OBJECT: BoxPx = (363, 587, 414, 632)
BY_DIGIT: BoxPx = (613, 229, 700, 292)
BY_SEARCH: BoxPx = (608, 607, 686, 671)
RENAMED: BoxPx = (454, 615, 509, 664)
MISFIT: BoxPx = (627, 476, 679, 523)
FIXED: BoxPx = (627, 476, 691, 534)


def test_a_stewards_ten_minutes(
    page: Page, project: Project, label_studio: LabelStudioServer
) -> None:
    project.set(guide_url="https://example.org/stewards")
    project.night = all_in_doubt(world(project.store))
    project.push()
    items = [*project.state.review_items.values()]
    _, released = publish(project)

    desk = Desk(page, label_studio, project.project_id)
    morning = Morning(desk, project.night, items)
    morning.work()

    collected, every = project.collect()
    assert collected.rejected_by_reason == {}
    verdicts = [v for v in every if v.action is not VerdictAction.CHECK]
    said = {v.bbox_xyxy_px: (v.action, v.category) for v in verdicts}
    assert said[NO_OBJECT] == (VerdictAction.REJECT, None)
    assert said[BY_DIGIT] == (VerdictAction.RELABEL, "basketball court")
    assert said[BY_SEARCH] == (VerdictAction.RELABEL, "storage tank")
    assert said[RENAMED] == (VerdictAction.RELABEL, NEW_NAME)
    (moved,) = (v for v in verdicts if v.action is VerdictAction.ADJUST)
    assert near(moved.bbox_xyxy_px, FIXED) and moved.category == "airplane"
    (drawn,) = (v for v in verdicts if v.action is VerdictAction.ADD)
    assert near(drawn.bbox_xyxy_px, MISSED) and drawn.category == "airplane"
    skipped = morning.tiles[f"harbour/scene-{SKIPPED}.tif"]
    (its,) = (t for t in project.tasks() if t.data["lae_key"].startswith(skipped.tile_id))
    assert [annotation["was_cancelled"] for annotation in its.annotations] == [True]
    asked = {item.region_id for item in items if item.tile_id != skipped.tile_id}
    assert {verdict.region_id for verdict in verdicts} == asked | {drawn.region_id}
    corrected = [*map(morning.item, (NO_OBJECT, BY_DIGIT, BY_SEARCH, RENAMED, MISFIT))]
    accepted = {v.region_id for v in verdicts if v.action is VerdictAction.ACCEPT}
    assert accepted == asked - {item.region_id for item in corrected}
    logger.info("%d actions for %d verdicts", desk.actions, len(verdicts))
    assert desk.actions / len(verdicts) <= 2

    (proposal,) = proposals(every, project.config.vocabulary)
    assert (proposal.name, proposal.by) == (NEW_NAME, {label_studio.email: 1})

    expected = released | {
        item.region_id: (item.category, item.bbox_xyxy_px)
        for item in items
        if item.tile_id != skipped.tile_id
    }
    del expected[morning.item(NO_OBJECT).region_id]
    expected[morning.item(BY_DIGIT).region_id] = ("basketball court", BY_DIGIT)
    expected[morning.item(BY_SEARCH).region_id] = ("storage tank", BY_SEARCH)
    expected[morning.item(RENAMED).region_id] = (NEW_NAME, RENAMED)
    expected[moved.region_id] = ("airplane", moved.bbox_xyxy_px)
    expected[drawn.region_id] = ("airplane", drawn.bbox_xyxy_px)
    assert publish(project)[1] == expected


def near(one: BoxPx, other: BoxPx) -> bool:
    """Whether two boxes differ by two pixels at most."""
    return all(abs(a - b) <= 2 for a, b in zip(one, other, strict=True))
