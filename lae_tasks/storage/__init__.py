"""Objects in a bucket or a local folder, behind one small interface.

A `Storage` is rooted at a URI (`s3://bucket/prefix` or a folder) and knows keys below it. All kinds
are used by the same code; S3 credentials and endpoint come from boto3's own environment
(`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL_S3`, …) or from a client that the caller made.
"""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lae_tasks.errors import ConfigError
from lae_tasks.storage.base import MissingObjectError, ObjectInfo, Storage
from lae_tasks.storage.http import HttpStorage
from lae_tasks.storage.local import LocalStorage
from lae_tasks.storage.s3 import S3Storage, s3_client

__all__ = [
    "HttpStorage",
    "LocalStorage",
    "MissingObjectError",
    "ObjectInfo",
    "S3Storage",
    "Storage",
    "open_storage",
    "s3_client",
]


def open_storage(uri: str, client: Any = None) -> Storage:
    """Opens the storage at a URI. Raises ConfigError if it is none.

    Args:
        uri: `s3://bucket/prefix`, a local folder, or `https://…` of a copy, which is only read.
        client: A boto3 S3 client; by default one is made from the environment.
    """
    scheme, _, rest = uri.partition("://")
    if scheme == "file" or "://" not in uri:
        return LocalStorage(Path(unquote(rest) if rest else uri))
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3" and bucket:
        return S3Storage(bucket, prefix.strip("/"), client or s3_client())
    if scheme in ("http", "https"):
        return HttpStorage(uri)
    raise ConfigError(f"storage URI {uri!r}: use s3://bucket/prefix, https://… or a local folder")
