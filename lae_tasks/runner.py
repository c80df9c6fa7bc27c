"""Runs a stage over a shard exactly once: fingerprint, account, write, commit.

A stage yields a `Done` or a `Rejection` for every record that came in. The runner checks that
each one is accounted for, writes the tables, and last of all the manifest: if it is there with
the same fingerprint, the shard is done and a rerun skips it, but after `require_again`. Tables are
named by their content and hold no times and no hosts, so a late attempt does no harm, and until a
shard that runs again has its new manifest, the old one is valid. A killed attempt may leave tables
that no manifest names; they count for nothing.

    runs/<stage>/<night>/<shard>.<contract>.<sha256>.parquet  the stage's tables
    rejects/<stage>/<night>/<shard>.<sha256>.parquet          every Rejection, with its reason
    runs/<stage>/<night>/<shard>.json                         the manifest
"""

import hashlib
import json
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError

from lae_tasks.accounts import Counted, Done, Manifest, Output, Rejection
from lae_tasks.contracts import SCHEMA_VERSION, Record, first_problem
from lae_tasks.errors import ContractError
from lae_tasks.storage import MissingObjectError, Storage
from lae_tasks.tables import TableWriter, remedy, sha256_of

logger = logging.getLogger(__name__)

_TELL_AFTER_S = 30.0
"""A shard that takes long says in the log how far it is, so often."""


@dataclass(frozen=True)
class Work:
    """One shard of one stage, and all that its result depends on.

    Attributes:
        record_types: Contracts of the tables it writes, the main one first.
        config_sha256: Fingerprint of the stage's settings.
        inputs: Digests of what comes in.
        model_revision: Digest of the models; None for a stage without one.
    """

    stage: str
    night: str
    shard: str
    record_types: tuple[type[Record], ...]
    config_sha256: str
    inputs: tuple[str, ...]
    model_revision: str | None = None

    @property
    def base_key(self) -> str:
        """Key of the shard's files, without their suffix."""
        return f"runs/{self.stage}/{self.night}/{self.shard}"

    @property
    def fingerprint(self) -> str:
        """Digest of everything that the result depends on."""
        parts = [self.stage, SCHEMA_VERSION, self.config_sha256, self.model_revision, self.inputs]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_manifest(store: Storage, stage: str, night: str, shard: str) -> Manifest | None:
    """The shard's manifest, or None if it is not committed.

    Raises:
        ContractError: If the manifest cannot be read as one.
    """
    key = f"runs/{stage}/{night}/{shard}.json"
    try:
        return Manifest.model_validate_json(store.read(key))
    except MissingObjectError:
        return None
    except ValidationError as error:
        what_to_do = remedy(key)
        if any(problem["loc"] == ("schema_version",) for problem in error.errors()):
            what_to_do = "what another engine wrote cannot be continued: set `store` to a new place"
        raise ContractError(
            f"{store.uri}/{key}: not a manifest of schema version {SCHEMA_VERSION} "
            f"({first_problem(error)}); {what_to_do}"
        ) from error


def iter_manifests(store: Storage, stage: str, night: str | None = None) -> Iterator[Manifest]:
    """The committed manifests of a stage, by night and shard."""
    prefix = f"runs/{stage}/{night}/" if night else f"runs/{stage}/"
    for info in store.list(prefix):
        if info.key.endswith(".json"):
            _, _, its_night, name = info.key.split("/")
            manifest = read_manifest(store, stage, its_night, name.removesuffix(".json"))
            if manifest:
                yield manifest


def require_again(store: Storage, stage: str, night: str, shard: str) -> None:
    """Lets a committed shard run again though nothing changed; until it has, its tables count.

    Raises:
        ConflictError: If the shard was committed anew meanwhile.
    """
    key = f"runs/{stage}/{night}/{shard}.json"
    there = store.stat(key)
    manifest = read_manifest(store, stage, night, shard)
    if there and manifest:
        # No work has this fingerprint.
        stale = manifest.model_copy(update={"fingerprint": ""})
        store.write(key, stale.model_dump_json(indent=1).encode(), if_match=there.etag)


def run(
    store: Storage,
    work: Work,
    record_ids: Iterable[str],
    results: Iterable[Done | Rejection | Counted],
) -> Manifest:
    """Runs a shard to its manifest, or skips it if it is done already.

    Args:
        store: Where the outputs go.
        work: The shard, and what its result depends on.
        record_ids: Ids of the records that come in; not read if the shard is done.
        results: What the stage makes of them, lazily: nothing runs if the shard is done. Its
            records are written while they come, and do not stay in memory.

    Raises:
        ContractError: If a record came back twice, unasked for, or not at all.
    """

    def write(tables: Mapping[type[Record], TableWriter]) -> _Account:
        account = _Account(work, record_ids)
        for result in results:
            if isinstance(result, Counted):
                account.counts.update(result.counts)
                continue
            account.enter(result)
            for record in result.outputs if isinstance(result, Done) else (result,):
                tables[type(record)].add(record)
        account.check()
        return account

    return _commit(store, work, write)


@dataclass(frozen=True)
class Columns:
    """What a stage made of many records at once.

    Attributes:
        record_ids: Ids of the records that came in, as an Arrow column.
        tables: A table for each of the work's record types; the main one has one row for each
            record that came in, by the same id.
        counts: Further counters, for the manifest.
    """

    record_ids: pa.ChunkedArray
    tables: tuple[pa.Table, ...]
    counts: Mapping[str, int]


def run_columns(store: Storage, work: Work, make: Callable[[], Columns]) -> Manifest:
    """Runs a shard to its manifest as `run` does, but for a stage that works on whole columns.

    Args:
        store: Where the outputs go.
        work: The shard, and what its result depends on.
        make: Reads what comes in and works on it; not called if the shard is done.

    Raises:
        ContractError: If a record came back twice, unasked for, or not at all.
    """

    def write(tables: Mapping[type[Record], TableWriter]) -> _Account:
        made = make()
        account = _Account(work, ())
        record_id = next(iter(work.record_types[0].model_fields))
        account.enter_columns(made.record_ids, made.tables[0].column(record_id))
        account.check()
        account.counts.update(made.counts)
        for kind, table in zip(work.record_types, made.tables, strict=True):
            tables[kind].add_columns(table)
        return account

    return _commit(store, work, write)


def _commit(
    store: Storage, work: Work, write: Callable[[Mapping[type[Record], TableWriter]], "_Account"]
) -> Manifest:
    """Writes the tables of a shard and then its manifest, unless it is done already."""
    done = read_manifest(store, work.stage, work.night, work.shard)
    if done and done.fingerprint == work.fingerprint:
        logger.info("%s %s/%s: done already", work.stage, work.night, work.shard)
        return done
    started = time.monotonic()
    with _open_tables(work) as tables:
        account = write(tables)
        outputs = [
            _write(store, f"{work.base_key}.{kind.__name__.lower()}", tables[kind])
            for kind in work.record_types
        ]
        if account.reasons:
            base_key = f"rejects/{work.stage}/{work.night}/{work.shard}"
            outputs.append(_write(store, base_key, tables[Rejection]))
    done = read_manifest(store, work.stage, work.night, work.shard)
    if done and done.fingerprint == work.fingerprint:
        logger.info("%s %s/%s: another attempt was first", work.stage, work.night, work.shard)
        return done
    manifest = Manifest(
        stage=work.stage,
        night=work.night,
        shard=work.shard,
        fingerprint=work.fingerprint,
        inputs=work.inputs,
        config_sha256=work.config_sha256,
        model_revision=work.model_revision,
        n_in=account.n_in,
        n_done=account.n_in - account.reasons.total(),
        n_rejected=account.reasons.total(),
        counts=dict(sorted(account.counts.items())),
        rejected_by_reason=dict(sorted(account.reasons.items())),
        seconds=round(time.monotonic() - started, 3),
        outputs=tuple(outputs),
    )
    store.write(f"{work.base_key}.json", manifest.model_dump_json(indent=1).encode())
    replaced = {output.key for output in done.outputs} if done else set()
    for key in replaced - {output.key for output in outputs}:
        store.delete(key)  # of the manifest that was replaced
    logger.info("%s %s/%s: %d in", work.stage, work.night, work.shard, manifest.n_in)
    return manifest


class _Account:
    """Which records of a shard are still due, and what is counted of those that came back."""

    def __init__(self, work: Work, record_ids: Iterable[str]) -> None:
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self._work = work
        self._due = Counter(record_ids)
        self.n_in = self._due.total()
        self._n_out = 0
        self._told = time.monotonic()

    def enter(self, result: Done | Rejection) -> None:
        self._n_out += 1
        if isinstance(result, Rejection):
            self._due[result.rejected_id] -= 1
            self.reasons[result.reason] += 1
            logger.info("rejected %s: %s: %s", result.rejected_id, result.reason, result.detail)
        else:
            self._due[result.record_id] -= 1
            self.counts.update(result.counts)
        if time.monotonic() - self._told > _TELL_AFTER_S:
            self._told = time.monotonic()
            logger.info("%s: %d of %d", self._work.base_key, self._n_out, self.n_in)

    def enter_columns(self, came_in: pa.ChunkedArray, came_out: pa.ChunkedArray) -> None:
        """Takes all ids at once; only if they differ are they looked at one by one."""
        self.n_in, self._n_out = len(came_in), len(came_out)
        if not came_in.equals(came_out):
            self._due.update(came_in.to_pylist())
            self._due.subtract(came_out.to_pylist())

    def check(self) -> None:
        """Raises ContractError if a record came back twice, unasked for, or not at all."""
        lost, extra = list((+self._due).elements()), list((-self._due).elements())
        if lost or extra:
            raise ContractError(
                f"{self._work.base_key}: {self.n_in} records came in, {self._n_out} came out; "
                f"lost: {lost[:5]}, unasked for or twice: {extra[:5]}; nothing was committed"
            )


@contextmanager
def _open_tables(work: Work) -> Iterator[dict[type[Record], TableWriter]]:
    """A writer for each table of the work, over files that are gone afterwards."""
    kinds: tuple[type[Record], ...] = (*work.record_types, Rejection)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield {
            kind: stack.enter_context(closing(TableWriter(folder / kind.__name__, kind)))
            for kind in kinds
        }


def _write(store: Storage, base_key: str, table: TableWriter) -> Output:
    table.close()
    digest = sha256_of(table.path)
    key = f"{base_key}.{digest[:16]}.parquet"
    with table.path.open("rb") as file:
        store.write(key, file)
    size_bytes = table.path.stat().st_size
    return Output(key=key, sha256=digest, size_bytes=size_bytes, rows=table.rows)
