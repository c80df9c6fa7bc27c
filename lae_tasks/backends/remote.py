"""Naming by a server: many crops in flight, their replies in order."""

import copy
import hashlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import numpy as np

from lae_tasks.backends.chat import best_first, question, samples
from lae_tasks.backends.chat_server import Asking, ChatServer, RefusedError, StoppedError
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.backends.weights import namer_revision
from lae_tasks.config import ClassifyConfig
from lae_tasks.errors import BudgetSpentError, ConfigError, TransientError
from lae_tasks.naming.budget import Budget, OverBudgetError
from lae_tasks.naming.journal import Journal
from lae_tasks.naming.prompt_template import PromptTemplate

#: Crops that are taken ahead, as a multiple of those in flight: so many may be answered before the
#: slowest one is. Not answered, they have so many bytes together.
_AHEAD, _BYTES_AHEAD = 4, 128 << 20

#: After so many crops in a row without a reply it is asked whether the server is at fault.
_REFUSALS = 8


class RemoteClassifier:
    """A Classifier that asks a server with OpenAI's chat protocol.

    Other names are asked for by a second request, so that the reply itself is the one that the
    server gives at its own temperature.
    """

    def __init__(self, config: ClassifyConfig) -> None:
        """Asks nothing yet. Raises ConfigError if a setting or the key cannot be right."""
        if config.remote is None:
            raise ConfigError("classify.remote is not set: give the server's base_url")
        self._config, self._remote = config, config.remote
        prices = (
            config.remote.usd_per_million_prompt_tokens,
            config.remote.usd_per_million_completion_tokens,
        )
        if config.remote.budget_usd is not None and not any(prices):
            raise ConfigError(
                f"classify.remote.budget_usd is {config.remote.budget_usd:g} and no price is set: "
                "add usd_per_million_prompt_tokens and usd_per_million_completion_tokens"
            )
        self.revision = namer_revision(config)
        self._server = ChatServer(config.remote)
        asked_for = (config.max_new_tokens, config.alternatives, config.remote.fingerprint())
        self._settings = json.dumps([self.revision, *asked_for])
        self._journal: Journal | None = None
        self._budget = Budget()
        self._unanswered = _Unanswered()

    def for_shard(self, journal: Journal, share: float) -> "RemoteClassifier":
        """The same namer, which keeps its replies, and spends no more than its share of the budget.

        Args:
            journal: Where replies are kept, and perhaps found; entered already.
            share: Of the night's budget.
        """
        own = copy.copy(self)
        own._journal = journal
        budget_usd = self._remote.budget_usd
        limit_usd = None if budget_usd is None else share * budget_usd
        own._budget = Budget(limit_usd, journal.spent, journal.dearest)
        own._unanswered = _Unanswered()
        return own

    def reply(self, crops: Iterable[Image], template: PromptTemplate) -> Iterator[Reply]:
        """One reply for each RGB crop, in order.

        When a crop's question fails for good, no other is begun; those in flight are waited for and
        their replies kept.

        Raises:
            TransientError: If there is no answer to a crop by the deadline, or the server does not
                answer any more what it did answer.
            BudgetSpentError: If the budget does not suffice for the next.
            ConfigError: If the server would take no request, or has no reply to any crop.
        """
        with self._server.connect() as http:
            yield from self._replies(crops, template, http)

    def _replies(
        self, crops: Iterable[Image], template: PromptTemplate, http: httpx.Client
    ) -> Iterator[Reply]:
        stop = threading.Event()
        failures: list[BaseException] = []

        def answer(key: str, crop: Image) -> Reply:
            until = time.monotonic() + self._remote.deadline_s
            try:
                return self._answer(key, crop, template, Asking(http, until, stop, self._budget))
            except StoppedError:
                raise
            except BaseException as error:
                failures.append(error)
                stop.set()
                raise

        waiting: deque[tuple[Future[Reply], int]] = deque()
        pool = ThreadPoolExecutor(self._remote.max_in_flight, "ask")
        try:
            for crop in crops:
                pixels = np.ascontiguousarray(crop)  # a view would keep its tile in memory
                key = self._key(pixels, template)
                found = self._journal.take(key) if self._journal else None
                if found:
                    self._unanswered.known = pixels
                    counts = {**found.counts, "replies_kept": 1}
                    future: Future[Reply] = Future()
                    future.set_result(replace(found, counts=counts))
                else:
                    future = pool.submit(answer, key, pixels)
                waiting.append((future, pixels.nbytes))
                while self._enough(waiting):
                    yield waiting.popleft()[0].result()
            while waiting:
                yield waiting.popleft()[0].result()
        except (StoppedError, OverBudgetError):
            _finish(pool, stop)
            if isinstance(failures[0], OverBudgetError):
                raise self._budget_spent() from None
            raise failures[0] from None
        finally:
            _finish(pool, stop)

    def _enough(self, waiting: deque[tuple[Future[Reply], int]]) -> bool:
        """Whether no further crop is taken until the first one is answered."""
        if len(waiting) >= _AHEAD * self._remote.max_in_flight:
            return True
        return sum(size for future, size in waiting if not future.done()) >= _BYTES_AHEAD

    def _answer(self, key: str, crop: Image, template: PromptTemplate, asking: Asking) -> Reply:
        try:
            try:
                reply = self._ask(crop, template, asking)
            except RefusedError as error:
                if self._unanswered.enter():
                    self._require_answers(error, template, asking)
                raise
        except BaseException as error:
            if self._journal and asking.counts["cost_microusd"]:
                self._journal.keep_cost(asking.counts)
            if not isinstance(error, RefusedError):
                raise
            # Not kept: it may be the server's fault, and mended when the shard runs again.
            return Reply("", problem=str(error), counts=dict(asking.counts))
        self._unanswered.end(crop)
        if self._journal:
            self._journal.keep(key, reply)
        return reply

    def _require_answers(
        self, error: RefusedError, template: PromptTemplate, asking: Asking
    ) -> None:
        """Asks again about a crop that was answered: crops in a row may be alike, and all unfit."""
        known, since = self._unanswered.known, self._unanswered.since
        if known is None:
            raise ConfigError(
                f"{self._remote.base_url} has no reply to any crop: {error}; does it speak "
                f"OpenAI's chat protocol, and does {self._config.model} take images?"
            ) from error
        body = question(known, template, self._config, self._remote)
        until = time.monotonic() + self._remote.deadline_s
        try:
            self._server.complete(body, replace(asking, until=until))
        except RefusedError as again:
            raise TransientError(
                f"{self._remote.base_url} has no reply to any crop since {since:%H:%M:%S} UTC, not "
                f"even to one that it had answered: {again}; run again when it is mended, what "
                "is answered is not asked twice"
            ) from again
        self._unanswered.end(known)

    def _ask(self, crop: Image, template: PromptTemplate, asking: Asking) -> Reply:
        body = question(crop, template, self._config, self._remote)
        reply = self._server.complete(body, asking)[0]
        others: tuple[Reply, ...] = ()
        # A model that shall say alternatives in its reply need not be asked again.
        says_others = template.schema and "alternatives" in template.schema.get("properties", {})
        if self._config.alternatives and not reply.problem and not says_others:
            try:
                said = self._server.complete(samples(body, self._config.alternatives), asking)
                others = best_first(said)
            except (RefusedError, OverBudgetError, StoppedError, TransientError):
                # The reply is there and paid for. Where more is wrong, the next crop tells.
                asking.counts["samples_missing"] += 1
        return replace(reply, others=others, counts=asking.counts + Counter(reply.counts))

    def _key(self, crop: Image, template: PromptTemplate) -> str:
        """What a reply depends on."""
        digest = hashlib.sha256(f"{self._settings} {template.sha256} {crop.shape}".encode())
        digest.update(crop.data)
        return digest.hexdigest()

    def _budget_spent(self) -> BudgetSpentError:
        answered = self._journal.answered if self._journal else 0
        return BudgetSpentError(
            f"{self._remote.base_url}: {answered} crops of the shard are answered for "
            f"{self._budget.spent / 1e6:.4f} USD; its share of classify.remote.budget_usd "
            f"({self._remote.budget_usd:g}) is {self._budget.limit_usd:.4f} USD. Raise it and run "
            "again: what is answered is not paid for twice"
        )


class _Unanswered:
    """Crops in a row, as they end, that the server has no reply to; used by several threads.

    Attributes:
        known: One that it did answer, now or in an earlier attempt with the same settings.
        since: When the row began.
    """

    def __init__(self) -> None:
        self.known: Image | None = None
        self.since = datetime.now(UTC)
        self._in_a_row = 0
        self._lock = threading.Lock()

    def enter(self) -> bool:
        """One more; whether there are so many that the server may be at fault."""
        with self._lock:
            if not self._in_a_row:
                self.since = datetime.now(UTC)
            self._in_a_row += 1
            return self._in_a_row % _REFUSALS == 0

    def end(self, answered: Image) -> None:
        """A crop was answered."""
        with self._lock:
            self.known, self._in_a_row = answered, 0


def _finish(pool: ThreadPoolExecutor, stop: threading.Event) -> None:
    """Waits for what is in flight; the rest is not begun."""
    stop.set()
    pool.shutdown(wait=True, cancel_futures=True)
