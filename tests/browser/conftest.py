"""A page of a headless Chromium, and a project to open in it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from demo.scenes.generator import CATEGORIES
from demo.stack.services import LabelStudioServer, S3Server
from lae_tasks.naming.vocabulary import Vocabulary
from tests.integration.desk import Desk, open_desk

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


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of its own; pytest's own files are the only ones it leaves."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(TIMEOUT_MS)
        yield page
        browser.close()


@pytest.fixture
def project(
    request: pytest.FixtureRequest, s3: S3Server, label_studio: LabelStudioServer
) -> Iterator[Desk]:
    """A night in a store and a project for it, both of the test's own."""
    name = request.module.__name__.rpartition("_")[2]
    with open_desk(f"browser-{name}", s3, label_studio) as desk:
        # All that can occur, so that a steward's name is a correction and no new category.
        vocabulary = Vocabulary.model_validate(CATEGORIES)
        desk.config = desk.config.model_copy(update={"vocabulary": vocabulary})
        yield desk
