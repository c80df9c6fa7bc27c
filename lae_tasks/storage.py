"""Objects in a bucket or a local folder, behind one small interface.

A `Storage` is rooted at a URI (`s3://bucket/prefix` or a folder) and knows keys below it. Both
kinds are used by the same code; S3 credentials and endpoint come from boto3's own environment
(`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL_S3`, …) or from a client that the caller made.
"""

import base64
import hashlib
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import unquote

import boto3
import botocore.exceptions
from botocore.config import Config as BotoConfig

from lae_tasks.errors import ConfigError, ConflictError, LaeError, TransientError
from lae_tasks.imagery.ranges import RangeFile

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


class MissingObjectError(LaeError):
    """There is no object of that key."""


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a listing shows it.

    Attributes:
        etag: Changes whenever the content does.
        modified_at: When it was written by the store's clock, seconds since the epoch; to the
            second or finer, so it does not tell objects apart.
    """

    key: str
    etag: str
    size_bytes: int
    modified_at: float = field(compare=False)


class Storage(Protocol):
    """Where objects live. Keys are relative to `uri`, with `/` between their parts."""

    uri: str

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, ordered by key; or UnlistableError."""

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below one, without what is in them; ordered.

        Args:
            prefix: The folder, with a slash at its end.
        """

    def check(self) -> None:
        """Raises ConfigError if there is no such bucket or folder."""

    def stat(self, key: str) -> ObjectInfo | None:
        """The object's etag and size; None if it is not there."""

    def read(self, key: str) -> bytes:
        """The object's content. Raises MissingObjectError."""

    def open(self, key: str) -> BinaryIO:
        """The object as a file that can be read anywhere. Raises MissingObjectError.

        Of a remote object only what is read is fetched. If it changes meanwhile, reading on raises
        ConflictError.
        """

    def sha256(self, key: str) -> str:
        """Hex digest of the object's content, without holding it. Raises MissingObjectError."""

    def write(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> None:
        """Writes an object whole: a reader sees the old content or the new, never a part.

        Args:
            key: Where to.
            data: The content, or a file that is read from where it stands, and never held whole.
            if_absent: Only if no object of that key is there yet.
            if_match: Only if the object's etag is still this one.

        Raises:
            ConflictError: If the condition does not hold.
        """

    def download(self, key: str, path: Path) -> None:
        """Copies an object to a local file without holding it in memory."""

    def delete(self, key: str) -> None:
        """Removes an object; nothing happens if it is not there."""


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
        from lae_tasks.http_storage import HttpStorage  # which imports this module

        return HttpStorage(uri)
    raise ConfigError(f"storage URI {uri!r}: use s3://bucket/prefix, https://… or a local folder")


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


#: What a file system says where S3 would say that there is no such object.
_NO_OBJECT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class LocalStorage:
    """A local folder. Writes are atomic: to a temporary file first, then renamed or linked."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.uri = str(self.root)

    def _path(self, key: str) -> Path:
        # Lexically: a link to imagery elsewhere is fine, a key that climbs out is not.
        path = Path(os.path.normpath(self.root / key))
        if not path.is_relative_to(self.root):
            raise ConfigError(f"key {key!r} leaves the folder {self.root}; use keys without '..'")
        return path

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with `prefix`, ordered by key."""
        folder = self._path(prefix.rpartition("/")[0])
        found = (path for path in folder.rglob("*") if path.is_file() and path.name[:5] != ".tmp-")
        keys = sorted(path.relative_to(self.root).as_posix() for path in found)
        for key in keys:
            if key.startswith(prefix) and (info := self.stat(key)):
                yield info

    def folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right below one, ordered; see `Storage.folders`."""
        folder = self._path(prefix)
        if folder.is_dir():
            yield from sorted(path.name for path in folder.iterdir() if path.is_dir())

    def check(self) -> None:
        """Raises ConfigError if there is no such folder."""
        if not self.root.is_dir():
            raise ConfigError(f"storage {self.root}: there is no such folder")

    def stat(self, key: str) -> ObjectInfo | None:
        """The object's etag and size; None if it is not there."""
        # Size and time tell a change well enough, and a listing must not read every file.
        try:
            facts = self._path(key).stat()
        except _NO_OBJECT:  # also one that was deleted since it was listed
            return None
        if not stat.S_ISREG(facts.st_mode):
            return None
        etag = f"{facts.st_size:x}-{facts.st_mtime_ns:x}"
        return ObjectInfo(key, etag, facts.st_size, facts.st_mtime)

    def read(self, key: str) -> bytes:
        """The object's content. Raises MissingObjectError."""
        try:
            return self._path(key).read_bytes()
        except _NO_OBJECT as error:
            raise MissingObjectError(f"{self.root}/{key}: no such object") from error

    def write(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> None:
        """Writes an object whole; see `Storage.write`.

        `if_match` compares and renames in two steps: enough for one machine's own use.
        """
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    shutil.copyfileobj(data, file, 1 << 20)
            temporary.chmod(0o644)
            if if_absent:
                os.link(temporary, path)
            else:
                if if_match is not None:
                    now = self.stat(key)
                    if now is None or now.etag != if_match:
                        raise ConflictError(f"{self.root}/{key}: changed by somebody else")
                temporary.replace(path)
        except FileExistsError as error:
            raise ConflictError(f"{self.root}/{key}: is there already") from error
        finally:
            temporary.unlink(missing_ok=True)

    def open(self, key: str) -> BinaryIO:
        """The object as a file. Raises MissingObjectError."""
        try:
            return self._path(key).open("rb")
        except _NO_OBJECT as error:
            raise MissingObjectError(f"{self.root}/{key}: no such object") from error

    def sha256(self, key: str) -> str:
        """Hex digest of the object's content. Raises MissingObjectError."""
        try:
            with self._path(key).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except _NO_OBJECT as error:
            raise MissingObjectError(f"{self.root}/{key}: no such object") from error

    def download(self, key: str, path: Path) -> None:
        """Copies an object to a local file without holding it in memory."""
        try:
            shutil.copyfile(self._path(key), path)
        except FileNotFoundError as error:
            raise MissingObjectError(f"{self.root}/{key}: no such object") from error

    def delete(self, key: str) -> None:
        """Removes an object; nothing happens if it is not there."""
        self._path(key).unlink(missing_ok=True)
