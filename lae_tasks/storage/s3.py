"""A prefix of a bucket on an S3 server."""

import base64
import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, cast

import boto3
import botocore.exceptions
from botocore.config import Config as BotoConfig

from lae_tasks.errors import ConfigError, ConflictError, LaeError, TransientError
from lae_tasks.imagery.ranges import RangeFile
from lae_tasks.storage.base import MissingObjectError, ObjectInfo

logger = logging.getLogger(__name__)

_GONE = {"404", "NoSuchKey", "NotFound"}
_LOST = {"PreconditionFailed", "ConditionalRequestConflict", "409", "412"}
_DENIED = {
    "403": "check the credentials and the bucket's policy",
    "AccessDenied": "check the credentials and the bucket's policy",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID or the Airflow connection",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY or the Airflow connection",
    "NoSuchBucket": "create the bucket, or correct the URI in the config",
}


def s3_client(**overrides: Any) -> Any:
    """A boto3 S3 client from the environment, with settings that every S3 server accepts."""
    config = BotoConfig(
        # Servers other than AWS often lack the newer default checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"max_attempts": 5, "mode": "standard"},
        connect_timeout=10,
        read_timeout=60,
    )
    return boto3.client("s3", config=config, **overrides)


class S3Storage:
    """A prefix of an S3 bucket."""

    def __init__(self, bucket: str, prefix: str, client: Any) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client = client

    def _call(self, operation: str, key: str, **arguments: Any) -> Any:
        """Calls the client; its errors become ours, with the place and the remedy."""
        if key or operation != "list_objects_v2":
            arguments["Key"] = self.prefix + key
        place = f"s3://{self.bucket}/{self.prefix}{key}"
        try:
            return getattr(self._client, operation)(Bucket=self.bucket, **arguments)
        except botocore.exceptions.ClientError as error:
            raise _translated(error, operation, place) from error
        except (botocore.exceptions.NoCredentialsError, ValueError) as error:
            raise ConfigError(
                f"{place}: {error}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        except botocore.exceptions.EndpointConnectionError as error:
            raise TransientError(
                f"{place}: {error}; start the server, or correct AWS_ENDPOINT_URL_S3 or the "
                "Airflow connection"
            ) from error
        except (botocore.exceptions.BotoCoreError, OSError) as error:
            raise TransientError(f"{operation} {place}: {error}") from error

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, ordered by key."""
        for page in self._pages(prefix):
            for entry in page.get("Contents", []):
                key = entry["Key"].removeprefix(self.prefix)
                at = entry["LastModified"].timestamp()
                yield ObjectInfo(key, entry["ETag"].strip('"'), entry["Size"], at)

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below one, ordered; see `Storage.folders`."""
        for page in self._pages(prefix, Delimiter="/"):
            for entry in page.get("CommonPrefixes", []):
                yield entry["Prefix"].removeprefix(self.prefix + prefix).rstrip("/")

    def _pages(self, prefix: str, **how: str) -> Iterator[Any]:
        token: dict[str, str] = {}
        while True:
            prefixed = self.prefix + prefix
            page = self._call("list_objects_v2", "", Prefix=prefixed, **how, **token)
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def check(self) -> None:
        """Raises ConfigError if there is no such bucket."""
        self._call("list_objects_v2", "", Prefix=self.prefix, MaxKeys=1)

    def stat(self, key: str) -> ObjectInfo | None:
        """The object's etag and size; None if it is not there."""
        try:
            head = self._call("head_object", key)
        except MissingObjectError:
            return None
        at = head["LastModified"].timestamp()
        return ObjectInfo(key, head["ETag"].strip('"'), head["ContentLength"], at)

    def read(self, key: str) -> bytes:
        """The object's content. Raises MissingObjectError."""
        body = self._call("get_object", key)["Body"]
        try:
            return bytes(body.read())
        except (botocore.exceptions.BotoCoreError, OSError) as error:
            raise TransientError(f"reading {self.uri}/{key}: {error}") from error

    def write(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> None:
        """Writes an object whole; see `Storage.write`."""
        condition: dict[str, str] = {}
        if if_absent:
            condition["IfNoneMatch"] = "*"
        if if_match is not None:
            condition["IfMatch"] = f'"{if_match}"'
        self._call("put_object", key, Body=data, **condition)

    def open(self, key: str) -> BinaryIO:
        """The object as a file that is read by ranges; see `Storage.open`."""
        head = self._call("head_object", key)
        etag, size = head["ETag"], int(head["ContentLength"])

        def fetch(start: int, end: int) -> bytes:
            place = {"Range": f"bytes={start}-{end - 1}", "IfMatch": etag}
            answer = self._call("get_object", key, **place)
            try:
                with closing(answer["Body"]) as body:
                    # Not every server honours the condition, or the range.
                    if answer["ETag"] != etag:
                        raise ConflictError(f"{self.uri}/{key}: was replaced while it was read")
                    data = bytes(body.read())
            except (botocore.exceptions.BotoCoreError, OSError) as error:
                raise TransientError(f"reading {self.uri}/{key}: {error}") from error
            if len(data) != min(end, size) - start:
                raise TransientError(f"{self.uri}/{key}: {len(data)} bytes came for a range")
            return data

        return cast(BinaryIO, RangeFile(fetch, size))

    def sha256(self, key: str) -> str:
        """Hex digest of the object's content: as the server keeps it, else by reading it once."""
        head = self._call("head_object", key, ChecksumMode="ENABLED")
        kept = head.get("ChecksumSHA256")
        if kept and head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT" and "-" not in kept:
            return base64.b64decode(kept).hex()
        digest = hashlib.sha256()
        body = self._call("get_object", key)["Body"]
        try:
            for chunk in body.iter_chunks(1 << 20):
                digest.update(chunk)
        except (botocore.exceptions.BotoCoreError, OSError) as error:
            raise TransientError(f"reading {self.uri}/{key}: {error}") from error
        return digest.hexdigest()

    def download(self, key: str, path: Path) -> None:
        """Copies an object to a local file without holding it in memory."""
        body = self._call("get_object", key)["Body"]
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(body, file, 1 << 20)
        except botocore.exceptions.BotoCoreError as error:
            raise TransientError(f"reading {self.uri}/{key}: {error}") from error

    def delete(self, key: str) -> None:
        """Removes an object; nothing happens if it is not there."""
        self._call("delete_object", key)


def _translated(error: Any, operation: str, place: str) -> LaeError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _GONE:
        return MissingObjectError(f"{place}: no such object")
    if code in _LOST:
        return ConflictError(f"{place}: changed by somebody else ({code})")
    if code in _DENIED:
        return ConfigError(f"{operation} {place}: {code}; {_DENIED[code]}")
    return TransientError(f"{operation} {place}: {error}")
