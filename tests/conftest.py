"""Fixtures that several folders of tests share. Servers start once per session, when asked for."""

from collections.abc import Iterator

import pytest

from demo.stack.services import LabelStudioServer, S3Server, label_studio_server, s3_server

#: Label Studio starts in half a minute; on a machine with other work it took four.
START_TIMEOUT_S = 480


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def label_studio(
    tmp_path_factory: pytest.TempPathFactory, s3: S3Server
) -> Iterator[LabelStudioServer]:
    """A real Label Studio that fetches its images from `s3`."""
    with label_studio_server(
        tmp_path_factory.mktemp("label-studio"), s3=s3, timeout_s=START_TIMEOUT_S
    ) as server:
        yield server
