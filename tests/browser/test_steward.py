"""A steward's work in a real browser, and what comes back of it."""

import pytest
from playwright.sync_api import Page

from demo.stack.services import LabelStudioServer
from lae_tasks.contracts import VerdictAction
from tests.browser.desk import Desk, publish
from tests.integration.desk import Desk as Project

#: The first test waits for Label Studio to start.
pytestmark = pytest.mark.timeout(600)


def test_one_relabelled_one_rejected_the_rest_right(
    page: Page, project: Project, label_studio: LabelStudioServer
) -> None:
    project.push()
    items = [*project.state.review_items.values()]
    before, released = publish(project)

    desk = Desk(page, label_studio, project.project_id)
    (tile,) = project.night.tiles.values()
    wrong_name = next(item for item in items if item.category == "tennis court")
    no_object = next(item for item in items if item.category == "airplane")
    desk.shoot("relabelled-1-opened")
    desk.select(wrong_name, tile)
    desk.press(desk.digit("basketball court"))
    desk.select(no_object, tile)
    desk.press("x")
    desk.press("g")
    desk.shoot("relabelled-2-decided")
    desk.submit()

    collected, every = project.collect()
    assert collected.rejected_by_reason == {}
    verdicts = {verdict.region_id: verdict for verdict in every}
    assert set(verdicts) == {item.region_id for item in items}
    assert verdicts[wrong_name.region_id].action is VerdictAction.RELABEL
    assert verdicts[wrong_name.region_id].category == "basketball court"
    assert verdicts[no_object.region_id].action is VerdictAction.REJECT
    for item in items:
        verdict = verdicts[item.region_id]
        assert verdict.annotator == label_studio.email
        assert verdict.bbox_xyxy_px == item.bbox_xyxy_px, "untouched to the pixel"
        if item not in (wrong_name, no_object):
            assert (verdict.action, verdict.category) == (VerdictAction.ACCEPT, item.category)
    assert desk.actions / len(verdicts) <= 2

    expected = released | {item.region_id: (item.category, item.bbox_xyxy_px) for item in items}
    expected[wrong_name.region_id] = ("basketball court", wrong_name.bbox_xyxy_px)
    del expected[no_object.region_id]
    assert before == "v1.0.0"
    assert publish(project) == ("v1.0.1", expected)
