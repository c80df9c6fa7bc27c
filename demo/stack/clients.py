"""Small clients of the stack's services, and the probes of their health."""

from __future__ import annotations

from typing import Any

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from demo.stack.settings import REGION, Settings


def s3_client(endpoint: str, key: str, secret: str, *, timeout_s: float = 60.0) -> Any:
    """A boto3 client that works with `rclone serve s3`."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name=REGION,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"max_attempts": 3, "mode": "standard"},
            connect_timeout=5,
            read_timeout=timeout_s,
            proxies={},
        ),
    )


def s3_is_up(settings: Settings) -> bool:
    """Whether the S3 server answers to our key."""
    try:
        with httpx.Client(trust_env=False, timeout=5) as http:
            http.get(settings.s3_endpoint)
        s3_client(
            settings.s3_endpoint, settings.secrets.s3_key, settings.secrets.s3_secret, timeout_s=5
        ).list_buckets()
    except (httpx.TransportError, BotoCoreError, ClientError):
        return False
    return True


def label_studio_is_up(settings: Settings) -> bool:
    """Whether Label Studio answers to our token."""
    try:
        with httpx.Client(
            base_url=settings.label_studio_url,
            headers={"Authorization": f"Token {settings.secrets.label_studio_token}"},
            trust_env=False,
            timeout=10,
        ) as http:
            return http.get("/api/current-user/whoami").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
