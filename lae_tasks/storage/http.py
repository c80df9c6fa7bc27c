"""A public copy of a store behind a web server: to be read, not to be written or listed.

Any server will do that gives the objects by their keys; one that answers ranges saves traffic.

S3 answers 403, forbidden, where nothing is, to all who may not list the bucket. So once the server
has given something, a 403 is a MissingObjectError that says "forbidden or missing": who may do
without the object goes on, as who asks whether a version was yanked; who was told of it by a
manifest fails.
"""

import hashlib
import logging
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar, cast
from urllib.parse import quote

import httpx
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_before_delay,
    wait_random_exponential,
)

from lae_tasks.errors import ConfigError, ConflictError, LaeError, TransientError, UnlistableError
from lae_tasks.imagery.ranges import RangeFile
from lae_tasks.storage.base import MissingObjectError, ObjectInfo

T = TypeVar("T")

_CONNECTIONS = 16
_CONNECT_S, _READ_S = 10.0, 30.0
#: A body may take the deadline, and beyond that what it takes at this speed.
_SLOWEST_BYTES_PER_S = 20_000

_GONE = {404, 410}
_LOGIN, _FORBIDDEN = 401, 403
_LATER = {408, 425, 429}


@dataclass(frozen=True)
class _Ranged:
    """What the server said of an object of which a range was asked for."""

    size_bytes: int
    version: str
    data: bytes


class HttpStorage:
    """A web server's folder.

    Attributes:
        uri: Its address, without a slash at its end.
    """

    def __init__(self, uri: str, deadline_s: float = 60.0) -> None:
        """Asks nothing yet.

        Args:
            uri: Such as `https://data.example.org/lae`.
            deadline_s: For each request, all attempts together; a long body may take longer.

        Raises:
            ConfigError: If it cannot be such an address.
        """
        if "@" in uri or "?" in uri or "#" in uri:  # not quoted: it may hold a secret
            raise ConfigError(
                "the mirror's address has a user, a password, a query or a fragment in it: only "
                "what everybody may read can be read so; use s3://… with credentials"
            )
        try:
            url = httpx.URL(uri)
        except httpx.InvalidURL as error:
            raise ConfigError(f"storage URI {uri!r}: {error}") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError(f"storage URI {uri!r}: give one such as https://example.org/lae")
        self.uri = uri.rstrip("/")
        self._deadline_s = deadline_s
        self._has_answered = False
        # Its line per request would be thousands.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._http = httpx.Client(
            # What is packed on the way has no ranges.
            headers={"Accept-Encoding": "identity"},
            follow_redirects=True,
            limits=httpx.Limits(max_connections=_CONNECTIONS),
        )
        weakref.finalize(self, self._http.close)

    def list(self, prefix: str = "") -> NoReturn:
        """Raises UnlistableError: a web server tells nobody what there is."""
        raise UnlistableError(
            f"{self.uri}/{prefix}: a mirror cannot be listed; set `store` to the bucket or folder "
            "that it is a copy of"
        )

    def folders(self, prefix: str) -> NoReturn:
        """Raises UnlistableError, as `list` does."""
        self.list(prefix)

    def check(self) -> None:
        """Raises ConfigError if no release can be read there."""
        if self.stat("releases/LATEST") is None:
            raise ConfigError(
                f"{self.uri}: there is no releases/LATEST; give the address of a copy of a store"
            )

    def stat(self, key: str) -> ObjectInfo | None:
        """The object's etag and size; None if it is not there."""

        def told(answer: httpx.Response) -> ObjectInfo:
            size = answer.headers.get("Content-Length")
            if size is None:
                raise ConfigError(f"{self.uri}/{key}: the server does not say how large it is")
            at = answer.headers.get("Last-Modified")
            try:
                modified_at = parsedate_to_datetime(at).timestamp() if at else 0.0
            except ValueError:
                modified_at = 0.0
            return ObjectInfo(key, _version(answer), int(size), modified_at)

        try:
            return self._ask("HEAD", key, told)
        except MissingObjectError:
            return None

    def read(self, key: str) -> bytes:
        """The object's content. Raises MissingObjectError."""
        return self._ask("GET", key, lambda answer: b"".join(self._body(answer)))

    def open(self, key: str) -> BinaryIO:
        """The object as a file that is read by ranges; see `Storage.open`.

        A server without ranges sends it whole, to a temporary file.
        """

        def begin(answer: httpx.Response) -> _Ranged | BinaryIO:
            if answer.status_code == httpx.codes.PARTIAL_CONTENT:
                return self._ranged(answer)
            file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
            if answer.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:  # not empty
                for chunk in self._body(answer):
                    file.write(chunk)
            file.seek(0)
            return cast(BinaryIO, file)

        first = self._ask("GET", key, begin, {"Range": "bytes=0-0"})
        if not isinstance(first, _Ranged):
            return first

        def fetch(start: int, end: int) -> bytes:
            place = {"Range": f"bytes={start}-{end - 1}"}
            found = self._ask("GET", key, self._ranged, place)
            if (found.version, found.size_bytes) != (first.version, first.size_bytes):
                raise ConflictError(f"{self.uri}/{key}: was replaced while it was read")
            if len(found.data) != min(end, first.size_bytes) - start:
                raise TransientError(f"{self.uri}/{key}: {len(found.data)} bytes came for a range")
            return found.data

        return cast(BinaryIO, RangeFile(fetch, first.size_bytes))

    def sha256(self, key: str) -> str:
        """Hex digest of the object's content, by reading it once. Raises MissingObjectError."""

        def digest_of(answer: httpx.Response) -> str:
            digest = hashlib.sha256()
            for chunk in self._body(answer):
                digest.update(chunk)
            return digest.hexdigest()

        return self._ask("GET", key, digest_of)

    def download(self, key: str, path: Path) -> None:
        """Copies an object to a local file without holding it in memory."""

        def save(answer: httpx.Response) -> None:
            with path.open("wb") as file:
                for chunk in self._body(answer):
                    file.write(chunk)

        self._ask("GET", key, save)

    def write(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> None:
        """Raises ConfigError."""
        self._refuse(key)

    def delete(self, key: str) -> None:
        """Raises ConfigError."""
        self._refuse(key)

    def _refuse(self, key: str) -> NoReturn:
        raise ConfigError(
            f"{self.uri}/{key}: a mirror can only be read; set `store` to the bucket or folder "
            "that it is a copy of"
        )

    def _ask(
        self,
        method: str,
        key: str,
        use: Callable[[httpx.Response], T],
        headers: dict[str, str] | None = None,
    ) -> T:
        """What `use` makes of the answer, whose body it may read; tried again where that may help.

        Raises:
            MissingObjectError: If there is no such object.
            ConfigError: If the server will not give it.
            TransientError: If it does not answer by the deadline.
        """
        until = time.monotonic() + self._deadline_s
        place = f"{self.uri}/{key}"

        def attempt() -> T:
            left_s = max(0.001, until - time.monotonic())
            timeout = httpx.Timeout(min(_READ_S, left_s), connect=min(_CONNECT_S, left_s))
            url = f"{self.uri}/{quote(key)}"
            try:
                with self._http.stream(method, url, headers=headers, timeout=timeout) as answer:
                    self._require_answer(answer, place)
                    return use(answer)
            except (httpx.TransportError, httpx.DecodingError) as error:
                raise _translated(error, place) from error
            except httpx.TooManyRedirects as error:
                raise ConfigError(f"{place}: {error}; correct the mirror's address") from error

        attempts = Retrying(
            stop=stop_before_delay(self._deadline_s),
            wait=wait_random_exponential(multiplier=0.5, max=10),
            retry=retry_if_exception_type(TransientError),
            reraise=True,
        )
        return attempts(attempt)

    def _require_answer(self, answer: httpx.Response, place: str) -> None:
        status = answer.status_code
        if answer.is_success:
            self._has_answered = True
        elif status in _GONE:
            raise MissingObjectError(f"{place}: no such object")
        elif status == _FORBIDDEN and self._has_answered:
            raise MissingObjectError(f"{place}: 403, forbidden or missing")
        elif status in (_LOGIN, _FORBIDDEN):
            raise ConfigError(
                f"{place}: {status} {answer.reason_phrase}; check the mirror's address, and that "
                "everybody may read it"
            )
        elif status >= 500 or status in _LATER:
            raise TransientError(f"{place}: {status} {answer.reason_phrase}")
        elif status != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise ConfigError(f"{place}: {status} {answer.reason_phrase}; no web server of files?")

    def _body(self, answer: httpx.Response) -> Iterator[bytes]:
        """The content, part by part, as long as it comes fast enough."""
        started, received = time.monotonic(), 0
        for chunk in answer.iter_bytes():
            received += len(chunk)
            yield chunk
            if time.monotonic() - started > self._deadline_s + received / _SLOWEST_BYTES_PER_S:
                raise TransientError(f"{answer.url}: {received} bytes in {self._deadline_s:g} s")

    def _ranged(self, answer: httpx.Response) -> _Ranged:
        """A part of an object, with what the server says of the whole."""
        told = answer.headers.get("Content-Range", "")
        total = told.rpartition("/")[2]
        if answer.status_code != httpx.codes.PARTIAL_CONTENT or not total.isdecimal():
            raise TransientError(
                f"{answer.url}: no range came, but {answer.status_code} ({told!r}); if that stays "
                "so, the server cannot be used for this"
            )
        return _Ranged(int(total), _version(answer), b"".join(self._body(answer)))


def _version(answer: httpx.Response) -> str:
    """What changes whenever the content does, as far as the server says."""
    headers = answer.headers
    return (headers.get("ETag") or headers.get("Last-Modified") or "").removeprefix("W/").strip('"')


def _translated(error: httpx.HTTPError, place: str) -> LaeError:
    told = str(error) or type(error).__name__
    if "CERTIFICATE" in told or isinstance(error, httpx.UnsupportedProtocol):
        return ConfigError(f"{place}: {told}; correct the mirror's address")
    return TransientError(f"{place}: {told}; check the address, or try again later")
