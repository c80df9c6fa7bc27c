"""A steward at the labelling page: what they do with keys and mouse, counted."""

import io
import json
import os
from pathlib import Path

from PIL import Image
from playwright.sync_api import FloatRect, Page, expect

from demo.stack.services import LabelStudioServer
from lae_tasks.contracts import BoxPx, ReviewItem, Tile
from lae_tasks.stages import release
from lae_tasks.state import load_state
from tests.browser.conftest import TIMEOUT_MS
from tests.integration.desk import Desk as Project

#: Pictures for a person to look at go here; those of the guide, without Label Studio's own panels.
SHOTS = Path(os.environ.get("LAE_SHOTS", ".cache/shots"))
#: The part of the page that they show, as x, y, width and height, and how wide they are.
SHOT_CLIP = (0, 50, 1120, 735)
SHOT_PX = 840


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

    def read_instructions(self) -> None:
        """Opens what the page says of itself, takes a picture and closes it again."""
        self.page.get_by_role("button", name="Instructions").click()
        expect(self.page.get_by_role("link", name="The whole guide")).to_be_visible()
        self.shoot("steward-instructions")
        self.page.keyboard.press("Escape")
        expect(self.page.get_by_role("link", name="The whole guide")).to_be_hidden()

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.actions += 1

    def type(self, name: str) -> None:
        """Types a name, which counts as one action."""
        self.page.keyboard.type(name)
        self.actions += 1

    def click(self, what: str) -> None:
        """Clicks on what matches a selector."""
        self.page.click(what)
        self.actions += 1

    def digit(self, category: str) -> str:
        """The key of a category, as it stands beside it."""
        names = self.page.locator(".lae-side").get_by_text(category, exact=True)
        text = names.first.locator("..").inner_text()
        return next(character for character in text if character.isdigit())

    def at(self, x_px: float, y_px: float, tile: Tile) -> tuple[float, float]:
        """Where a point of the scene is on the page."""
        x, y, width, _ = tile.window_px
        shown = self.image.bounding_box()
        assert shown
        scale = shown["width"] / width
        return shown["x"] + (x_px - x) * scale, shown["y"] + (y_px - y) * scale

    def select(self, item: ReviewItem, tile: Tile) -> None:
        """Clicks into the middle of a box, and waits until the page shows it as selected."""
        x0, y0, x1, y1 = item.bbox_xyxy_px
        self.page.mouse.click(*self.at((x0 + x1) / 2, (y0 + y1) / 2, tile))
        self.actions += 1
        expect(self.page.get_by_text(item.region_id)).to_be_visible(timeout=TIMEOUT_MS)

    def drag(self, start: tuple[float, float], end: tuple[float, float], tile: Tile) -> None:
        """Drags from one point of the scene to another."""
        mouse = self.page.mouse
        mouse.move(*self.at(*start, tile))
        mouse.down()
        mouse.move(*self.at((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, tile), steps=5)
        mouse.move(*self.at(*end, tile), steps=5)
        mouse.up()
        self.actions += 1

    def search(self, category: str) -> None:
        """Looks a category up in the vocabulary for the box that is selected."""
        self.click(".ant-select-selector")
        # What is typed before the field is there is lost, or taken for keys.
        expect(self.page.locator(".ant-select-dropdown input:focus")).to_be_visible()
        self.type(category)
        self.page.locator(".ant-select-dropdown").get_by_text(category, exact=True).click()
        self.actions += 1

    def new_name(self, name: str) -> None:
        """Types a category that is nowhere yet for the box that is selected."""
        self.click("[placeholder='a new category: type, Enter']")
        self.type(name)
        self.press("Enter")

    def draw(self, box: BoxPx, category: str, tile: Tile) -> None:
        """Draws a box that was missed."""
        self.press("Escape")
        self.press(self.digit(category))
        self.drag(box[:2], box[2:], tile)

    def shoot(self, name: str) -> None:
        """Takes a picture of the page, small enough for the guide."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        x, y, width, height = SHOT_CLIP
        clip: FloatRect = {"x": x, "y": y, "width": width, "height": height}
        whole = Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB")
        size = (SHOT_PX, round(height * SHOT_PX / width))
        small = whole.resize(size, Image.Resampling.LANCZOS)
        # The octree keeps the few pixels of a thin line in their own colour.
        few = small.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(SHOTS / f"{name}.png", optimize=True)

    def submit(self) -> None:
        """Sends the tile; the next one comes."""
        self._send("Control+Enter")

    def skip(self) -> None:
        """Leaves the tile to somebody else; the next one comes."""
        self._send("Control+Space")

    def _send(self, key: str) -> None:
        with self.page.expect_response(
            lambda answer: "/annotations" in answer.url and answer.request.method == "POST"
        ) as answer:
            self.press(key)
        assert answer.value.ok


def publish(project: Project) -> tuple[str, dict[str, tuple[str, BoxPx]]]:
    """The version of a release of the project's store, and what it holds.

    Of each region category and box, in scene pixels.
    """
    store = project.store
    result = release.publish(lambda: load_state(store), project.config, store)
    coco = json.loads(store.read(result.manifest.file("coco/instances.json").key))
    names = {category["id"]: category["name"] for category in coco["categories"]}
    return result.version, {
        each["region_id"]: (names[each["category_id"]], (x, y, x + width, y + height))
        for each in coco["annotations"]
        for x, y, width, height in [each["bbox_scene"]]
    }
