"""A steward's work in a real browser, and what comes back of it."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from demo.scenes.generator import CATEGORIES
from demo.stack.services import LabelStudioServer, S3Server
from lae_tasks.config import Config
from lae_tasks.contracts import ReviewItem, Tile, Verdict, VerdictAction
from lae_tasks.review.label_studio import LabelStudioReview, S3Access
from lae_tasks.stages import review
from lae_tasks.stages.release import ReleaseResult, publish
from lae_tasks.storage import Storage, open_storage
from lae_tasks.tables import read_table
from tests.review_world import make_state

#: The first test waits for Label Studio to start.
pytestmark = pytest.mark.timeout(600)

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT_MS = 90_000
#: Pictures for a person to look at go here.
SHOTS = Path(os.environ.get("LAE_SHOTS", ".cache/shots"))


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a headless Chromium; pytest's own files are the only ones it leaves."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(TIMEOUT_MS)
        yield page
        browser.close()


class Desk:
    """The labelling page of a project, and a count of the steward's actions on it."""

    def __init__(self, page: Page, server: LabelStudioServer, project_id: int) -> None:
        self.page = page
        self.actions = 0
        page.goto(f"{server.url}/user/login")
        page.fill("[name=email]", server.email)
        page.fill("[name=password]", server.password)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/user/login" not in url)
        page.goto(f"{server.url}/projects/{project_id}/data?labeling=1")
        self.image = page.locator('img[alt="image"]')
        self.image.wait_for(state="attached")
        expect(page.get_by_text("All other boxes")).to_be_visible(timeout=TIMEOUT_MS)

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.actions += 1

    def select(self, item: ReviewItem, tile: Tile) -> None:
        """Clicks into the middle of a box, and waits until the page shows it as selected."""
        x0, y0, x1, y1 = item.bbox_xyxy_px
        x, y, width, _ = tile.window_px
        shown = self.image.bounding_box()
        assert shown
        scale = shown["width"] / width
        self.page.mouse.click(
            shown["x"] + ((x0 + x1) / 2 - x) * scale, shown["y"] + ((y0 + y1) / 2 - y) * scale
        )
        self.actions += 1
        expect(self.page.get_by_text(item.region_id)).to_be_visible(timeout=TIMEOUT_MS)

    def shoot(self, name: str) -> None:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")

    def submit(self) -> None:
        with self.page.expect_response(
            lambda answer: "/annotations" in answer.url and answer.request.method == "POST"
        ) as answer:
            self.press("Control+Enter")
        assert answer.value.ok


def test_one_relabelled_one_rejected_the_rest_right(
    page: Page, s3: S3Server, label_studio: LabelStudioServer
) -> None:
    objects = s3.client()
    objects.create_bucket(Bucket="steward")
    store = open_storage("s3://steward/store", objects)
    config = Config(
        preset="demo",
        raw="s3://raw",
        store=store.uri,
        # All that can occur, so that a steward's name is a correction and no new category.
        vocabulary=CATEGORIES,
        review={"project": "Steward"},
    )
    state = make_state(store=store)
    with closing(objects), LabelStudioReview(label_studio.url, label_studio.token) as client:
        access = S3Access(s3.key, s3.secret, region_name=s3.region)
        manifest = review.push(state, "2026-11-22", config, store, client, access)
        items = read_table(store, manifest.outputs[0], ReviewItem)
        before = publish(lambda: state, config, store)
        state.review_items.update({item.record_id: item for item in items})
        project_id = client.find_project("Steward")
        assert project_id is not None

        desk = Desk(page, label_studio, project_id)
        (tile,) = state.tiles.values()
        wrong_name = next(item for item in items if item.category == "tennis court")
        no_object = next(item for item in items if item.category == "airplane")
        desk.shoot("steward-1-opened")
        desk.select(wrong_name, tile)
        key = page.locator(".lae-side").get_by_text("basketball court").locator("..").inner_text()
        digit = next(character for character in key if character.isdigit())
        desk.press(digit)
        desk.select(no_object, tile)
        desk.press("x")
        desk.press("g")
        desk.shoot("steward-2-decided")
        desk.submit()

        collected = review.collect(state, config, store, client, "2026-11-23")
        assert collected is not None and collected.rejected_by_reason == {}
        verdicts = {
            verdict.region_id: verdict
            for verdict in read_table(store, collected.outputs[0], Verdict)
        }
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

        state.verdicts.update(verdicts_by_id(verdicts.values()))
        after = publish(lambda: state, config, store)
        expected = released(before, store) | {item.region_id: item.category for item in items}
        expected[wrong_name.region_id] = "basketball court"
        del expected[no_object.region_id]
        assert (before.version, after.version) == ("v1.0.0", "v1.0.1")
        assert released(after, store) == expected


def verdicts_by_id(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    return {verdict.verdict_id: verdict for verdict in verdicts}


def released(result: ReleaseResult, store: Storage) -> dict[str, str]:
    """The category of each region that a release holds."""
    coco = json.loads(store.read(result.manifest.file("coco/instances.json").key))
    names = {category["id"]: category["name"] for category in coco["categories"]}
    return {each["region_id"]: names[each["category_id"]] for each in coco["annotations"]}
