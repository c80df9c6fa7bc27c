"""The stack's services one by one, on free ports and in a folder of the caller's: for tests.

    with s3_server(tmp_path / "s3") as s3:
        s3.client().create_bucket(Bucket="lae-raw")
        with label_studio_server(tmp_path / "ls", s3=s3) as studio:
            LabelStudio(base_url=studio.url, api_key=studio.token)

Both are the lines of the Procfile that `make up` runs, with the same environment. Label Studio
takes half a minute to start, two on a busy machine (it creates its database): share one per test
session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from demo.stack.clients import label_studio_is_up, s3_client, s3_is_up
from demo.stack.processes import StackError, free_port, start_service, stop, wait_until
from demo.stack.settings import LABEL_STUDIO_EMAIL, REGION, Settings, load


@dataclass(frozen=True)
class S3Server:
    """A running S3 server.

    Attributes:
        endpoint: Its URL.
        key: The access key id.
        secret: The secret access key.
        region: The region's name.
        folder: Where it keeps the buckets: a folder each, a file per object.
    """

    endpoint: str
    key: str
    secret: str
    region: str
    folder: Path

    def client(self) -> Any:
        """A boto3 client of it."""
        return s3_client(self.endpoint, self.key, self.secret)

    def env(self) -> dict[str, str]:
        """Variables by which boto3 finds it without being told."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }


@dataclass(frozen=True)
class LabelStudioServer:
    """A running Label Studio.

    Attributes:
        url: Its address.
        token: The administrator's API token, for the SDK's ``api_key``.
        email: The administrator's login.
        password: The administrator's password.
        folder: Its data and its log (``logs/label-studio.log``).
    """

    url: str
    token: str
    email: str
    password: str
    folder: Path


@contextmanager
def s3_server(folder: Path, *, timeout_s: float = 30.0) -> Iterator[S3Server]:
    """Run `rclone serve s3` on a free port.

    Args:
        folder: Made if missing; buckets go to its ``s3``, the log to ``logs/s3.log``.
        timeout_s: How long to wait for it at most.

    Raises:
        StackError: It did not come up; the message names its log.
    """
    settings = load(folder, s3_port=free_port())
    with _running("s3", settings, lambda: s3_is_up(settings), timeout_s):
        yield S3Server(
            endpoint=settings.s3_endpoint,
            key=settings.secrets.s3_key,
            secret=settings.secrets.s3_secret,
            region=REGION,
            folder=settings.state / "s3",
        )


@contextmanager
def label_studio_server(
    folder: Path, *, s3: S3Server | None = None, timeout_s: float = 300.0
) -> Iterator[LabelStudioServer]:
    """Run Label Studio on a free port, with an administrator and their token.

    Args:
        folder: Made if missing; data, secrets and log go below it. A second run on the same
            folder finds the projects of the first.
        s3: The S3 server that its storages use when they name no ``s3endpoint`` (one that they
            do name works too, on the loopback as well).
        timeout_s: How long to wait for it at most.

    Raises:
        StackError: It is not installed (``make setup``), or did not come up.
    """
    settings = load(folder, label_studio_port=free_port())
    if not (settings.label_studio_venv / "bin" / "label-studio").exists():
        raise StackError(f"no Label Studio in {settings.label_studio_venv}: run `make setup`")
    extra = {"LABEL_STUDIO_S3_ENDPOINT": s3.endpoint} if s3 else {}
    with _running("label-studio", settings, lambda: label_studio_is_up(settings), timeout_s, extra):
        yield LabelStudioServer(
            url=settings.label_studio_url,
            token=settings.secrets.label_studio_token,
            email=LABEL_STUDIO_EMAIL,
            password=settings.secrets.label_studio_password,
            folder=settings.state,
        )


@contextmanager
def _running(
    name: str,
    settings: Settings,
    probe: Callable[[], bool],
    timeout_s: float,
    extra_env: dict[str, str] | None = None,
) -> Iterator[None]:
    settings.save()
    log = settings.logs / f"{name}.log"
    process = start_service(name, settings, extra_env)
    try:
        wait_until(probe, name, timeout_s, alive=lambda: process.poll() is None, log=log)
        yield
    finally:
        stop([psutil.Process(process.pid)] if process.poll() is None else [])
        process.wait(timeout=10)
