"""A server that speaks OpenAI's chat protocol, tried again where that can help."""

import json
import logging
import math
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_before_delay,
    wait_random_exponential,
)

from lae_tasks.backends.chat import MalformedError, Usage, read_completion, read_usage
from lae_tasks.backends.protocols import Reply
from lae_tasks.config import RemoteConfig
from lae_tasks.errors import ConfigError, TransientError
from lae_tasks.naming.budget import Budget

logger = logging.getLogger(__name__)

#: The wait before the n-th attempt is a random share of 0.5 s, 1 s, 2 s … and 30 s at most.
_BACK_OFF = wait_random_exponential(multiplier=0.5, max=30)
_TELL_EVERY_S = 30.0
#: A request that was answered so often with JSON that is no completion is given up: each may be
#: billed.
_MALFORMED = 3
_MAX_BODY_BYTES = 32 << 20
_MAX_QUOTE = 300

#: That a request was not worked on, though a later one may be.
_LATER = {408, 409, 425, 429}
#: That there is something about this one request: the next crop may go through.
_REFUSED = {400, 413, 415, 422}
_REMEDIES = {
    401: "set OPENAI_API_KEY to a key of this server",
    402: "the account of this key has no money left",
    403: "the key in OPENAI_API_KEY may not use classify.model here",
    404: "correct classify.remote.base_url, which usually ends in /v1, or classify.model",
}
#: What servers do without, and the words by which they say so.
_OPTIONAL = {
    "logprobs": ("logprobs",),
    "response_format": ("response_format", "json_schema", "structured output", "guided"),
    "temperature": ("temperature",),
    "seed": ("seed",),
}


class RefusedError(Exception):
    """The server has no reply to this request, however often it is sent."""


class StoppedError(Exception):
    """Nobody waits for the answer any more."""


class _AgainError(Exception):
    """This attempt failed; another may not."""

    def __init__(self, what: str, wait_s: float = 0.0) -> None:
        super().__init__(what)
        self.wait_s = wait_s


@dataclass
class Asking:
    """One crop's questions, all their attempts together.

    Attributes:
        http: What they go through, of `ChatServer.connect`.
        until: When the time for them is over, by `time.monotonic`.
        stop: Set when nobody waits for them any more.
        counts: What they took so far.
    """

    http: httpx.Client
    until: float
    stop: threading.Event
    budget: Budget
    counts: Counter[str] = field(default_factory=Counter)


class ChatServer:
    """How one server is asked, and what it cannot do; used by several threads."""

    def __init__(self, config: RemoteConfig) -> None:
        """Asks nothing yet. Raises ConfigError if address or key cannot be such."""
        self._config = config
        self._key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not self._key.isascii() or not self._key.isprintable():
            raise ConfigError("OPENAI_API_KEY has characters that no key has; set it again")
        # Neither is quoted below: a message or a log is no place for a secret.
        if "@" in config.base_url or "?" in config.base_url:
            raise ConfigError(
                "classify.remote.base_url has a user, a password or a query in it: leave them out, "
                "and give a key by OPENAI_API_KEY"
            )
        setting = f"classify.remote.base_url {config.base_url!r}"
        try:
            url = httpx.URL(config.base_url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"{setting}: {error}") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError(f"{setting}: give one such as http://localhost:8000/v1")
        self._url = str(url)
        # Its line per request would be millions.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self._without: set[str] = set()
        self._lock = threading.Lock()
        self._told = -math.inf

    def connect(self) -> httpx.Client:
        """Connections that are kept until it is closed; as many as requests may be in flight."""
        n = self._config.max_in_flight
        return httpx.Client(
            base_url=self._config.base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            limits=httpx.Limits(max_connections=n, max_keepalive_connections=n),
        )

    def complete(self, body: Mapping[str, Any], asking: Asking) -> tuple[Reply, ...]:
        """The replies to a request, one or more.

        Raises:
            RefusedError: If the server does not take it, or answers with no completion.
            StoppedError: If `asking.stop` was set before it was sent.
            OverBudgetError: If the budget does not suffice for it.
            ConfigError: If the server would take no request: a wrong key, address or model.
            TransientError: If there is no answer by the deadline.
        """
        malformed = 0

        def attempt() -> tuple[Reply, ...]:
            nonlocal malformed
            try:
                return self._attempt(body, asking)
            except MalformedError as error:
                malformed += 1
                what = f"no chat completion in the answer: {error}"
                if malformed >= _MALFORMED:
                    raise RefusedError(f"{what} ({malformed} such answers)") from error
                raise _AgainError(what) from error

        attempts = Retrying(
            sleep=sleep_using_event(asking.stop),
            stop=stop_before_delay(max(0.0, asking.until - time.monotonic())),
            wait=lambda state: _BACK_OFF(state) + _asked_to_wait(state),
            retry=retry_if_exception_type(_AgainError),
            before_sleep=lambda state: self._before_retry(state, asking),
            reraise=True,
        )
        try:
            return attempts(attempt)
        except _AgainError as error:
            raise TransientError(
                f"{self._url}: no answer in {self._config.deadline_s:g} s and "
                f"{asking.counts['requests']} requests, the last: {error}; start the server, or "
                "raise classify.remote.deadline_s"
            ) from error

    def _attempt(self, body: Mapping[str, Any], asking: Asking) -> tuple[Reply, ...]:
        while True:
            with asking.budget.request():
                if asking.stop.is_set():
                    raise StoppedError
                asking.counts["requests"] += 1
                sent = self._supported(body)
                left_s = max(0.001, asking.until - time.monotonic())
                answer, content = self._post(asking.http, sent, min(self._config.timeout_s, left_s))
                if answer.status_code == httpx.codes.OK:
                    return self._read(content, asking)
            if not self._did_without(sent, answer.status_code, content):
                raise self._problem(answer, content)

    def _post(
        self, http: httpx.Client, body: Mapping[str, Any], timeout_s: float
    ) -> tuple[httpx.Response, bytes]:
        until = time.monotonic() + timeout_s
        content = bytearray()
        try:
            with http.stream("POST", "chat/completions", json=body, timeout=timeout_s) as answer:
                for part in answer.iter_bytes():
                    content += part
                    # The client's own timeout is of each part.
                    if time.monotonic() > until:
                        raise _AgainError(f"no whole answer in {timeout_s:g} s")
                    if len(content) > _MAX_BODY_BYTES:
                        raise _AgainError(f"an answer of more than {_MAX_BODY_BYTES >> 20} MB")
        except httpx.TimeoutException as error:
            kind = type(error).__name__
            raise _AgainError(f"no answer in {timeout_s:g} s ({kind})") from error
        except httpx.RequestError as error:
            raise _AgainError(f"{type(error).__name__}: {self._clean(str(error))}") from error
        return answer, bytes(content)

    def _read(self, content: bytes, asking: Asking) -> tuple[Reply, ...]:
        usage = read_usage(content)
        if usage:  # before anything else: what is no completion is billed, too
            self._pay(usage, asking)
        try:
            replies = read_completion(content)
        except MalformedError:
            if _is_json_object(content):
                raise
            # A proxy's page, perhaps: it says nothing of the crop.
            said = self._clean(_message(content))
            raise _AgainError(f"HTTP 200, but no JSON object: {said}") from None
        if usage is None and self._config.budget_usd is not None:
            raise ConfigError(
                f"{self._url}: its answers have no `usage`, so that nobody knows what they cost; "
                "leave out classify.remote.budget_usd"
            )
        return replies

    def _pay(self, usage: Usage, asking: Asking) -> None:
        sent, got = usage.prompt_tokens, usage.completion_tokens
        # A price per million is one in millionths.
        cost = math.ceil(
            sent * self._config.usd_per_million_prompt_tokens
            + got * self._config.usd_per_million_completion_tokens
        )
        asking.budget.pay(cost)
        asking.counts.update(prompt_tokens=sent, completion_tokens=got, cost_microusd=cost)

    def _supported(self, body: Mapping[str, Any]) -> dict[str, Any]:
        sent = {name: value for name, value in body.items() if name not in self._without}
        if "max_tokens" in self._without:
            sent["max_completion_tokens"] = body["max_tokens"]
        return sent

    def _did_without(self, sent: Mapping[str, Any], status: int, content: bytes) -> bool:
        """Whether the server cannot do a thing that it was asked for and that can be left out."""
        if status not in (400, 422):
            return False
        said = self._clean(_message(content)).lower()  # not what a long message quotes of the body
        names = [n for n, words in _OPTIONAL.items() if n in sent and any(w in said for w in words)]
        if "max_completion_tokens" in said and "max_tokens" in sent:
            names = ["max_tokens"]  # its newer name
        with self._lock:
            new = set(names) - self._without
            self._without |= new
        if new:
            logger.warning(
                "%s: does not support %s, goes on without: %s",
                self._url,
                " and ".join(sorted(new)),
                said,
            )
        return bool(names)

    def _problem(self, answer: httpx.Response, content: bytes) -> Exception:
        status = answer.status_code
        said = self._clean(_message(content))
        what = f"HTTP {status}: {said}" if said else f"HTTP {status}"
        if status == 429 and "insufficient_quota" in content.decode(errors="replace"):
            return ConfigError(f"{self._url}: {what}; {_REMEDIES[402]}")
        if status in _LATER or status >= 500:
            return _AgainError(what, _retry_after_s(answer.headers.get("retry-after", "")))
        if status in _REFUSED:
            return RefusedError(what)
        return ConfigError(f"{self._url}: {what}; {_REMEDIES.get(status, _REMEDIES[404])}")

    def _before_retry(self, state: RetryCallState, asking: Asking) -> None:
        asking.counts["retries"] += 1
        with self._lock:
            quiet = time.monotonic() - self._told < _TELL_EVERY_S
            if not quiet:
                self._told = time.monotonic()
        error = state.outcome.exception() if state.outcome else None
        level = logging.DEBUG if quiet else logging.WARNING
        logger.log(level, "%s: %s; tries again in %.1f s", self._url, error, state.upcoming_sleep)

    def _clean(self, text: str) -> str:
        """What may stand in a message: neither key nor picture, and not much."""
        text = text.encode(errors="replace").decode()  # half a character, which JSON can have
        if self._key:
            text = text.replace(self._key, "…")
        text = re.sub(r"(data:[\w/.+-]*;base64,)?[A-Za-z0-9+/=_-]{64,}", "…", text)
        text = " ".join(text.split())
        return text if len(text) <= _MAX_QUOTE else text[:_MAX_QUOTE] + "…"


def _json(text: str) -> Any:
    """What a text says as JSON; itself if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the latter is of brackets, thousands deep
        return text


def _is_json_object(content: bytes) -> bool:
    return isinstance(_json(content.decode(errors="replace")), dict)


def _message(content: bytes) -> str:
    """What the body of an error says, as OpenAI, FastAPI or any other server writes it."""
    found = _json(content.decode(errors="replace"))
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    if isinstance(found, list):  # FastAPI's, each with a copy of what was sent
        found = [{**item, "input": "…"} if isinstance(item, dict) else item for item in found]
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def _asked_to_wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.wait_s if isinstance(error, _AgainError) else 0.0


def _retry_after_s(value: str) -> float:
    """The header's seconds, from a number or a date; 0 where it has neither."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = (date - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
