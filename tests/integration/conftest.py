"""Fixtures of the tests against real servers."""

import re
from collections.abc import Iterator

import pytest

from demo.stack.services import LabelStudioServer, S3Server
from tests.integration.desk import Desk, open_desk


@pytest.fixture
def desk(
    request: pytest.FixtureRequest, s3: S3Server, label_studio: LabelStudioServer
) -> Iterator[Desk]:
    """A review project of the test's own."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    name = name if len(name) <= 40 else f"{name[:30].rstrip('-')}-{name[-9:].lstrip('-')}"
    with open_desk(name, s3, label_studio) as desk:
        yield desk
