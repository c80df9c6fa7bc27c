"""Runs a stage over a shard exactly once: fingerprint, account, write, commit.

A stage yields a `Done` or a `Rejection` for every record that came in. The runner checks that
each one is accounted for, writes the tables, and last of all the manifest: if it is there with
the same fingerprint, the shard is done and a rerun skips it. Tables are named by their content and
hold no times and no hosts, so a late attempt does no harm, and until a shard that runs again has
its new manifest, the old one is valid. A killed attempt may leave tables that no manifest names;
they count for nothing.

    runs/<stage>/<night>/<shard>.<contract>.<sha256>.parquet  the stage's tables
    rejects/<stage>/<night>/<shard>.<sha256>.parquet          every Rejection, with its reason
    runs/<stage>/<night>/<shard>.json                         the manifest
"""

import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from lae_tasks.contracts import (
    SCHEMA_VERSION,
    Done,
    Manifest,
    Output,
    Record,
    Rejection,
    first_problem,
)
from lae_tasks.errors import ContractError
from lae_tasks.storage import MissingObjectError, Storage
from lae_tasks.tables import encode, remedy

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


def run(
    store: Storage, work: Work, record_ids: Sequence[str], results: Iterable[Done | Rejection]
) -> Manifest:
    """Runs a shard to its manifest, or skips it if it is done already.

    Args:
        store: Where the outputs go.
        work: The shard, and what its result depends on.
        record_ids: Ids of the records that come in.
        results: What the stage makes of them, lazily: nothing runs if the shard is done.

    Raises:
        ContractError: If a record came back twice, unasked for, or not at all.
    """
    done = read_manifest(store, work.stage, work.night, work.shard)
    if done and done.fingerprint == work.fingerprint:
        logger.info("%s %s/%s: done already", work.stage, work.night, work.shard)
        return done
    started = time.monotonic()
    tables: dict[type[Record], list[Record]] = {kind: [] for kind in work.record_types}
    rejections: list[Rejection] = []
    counts: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    told = started
    for result in results:
        if time.monotonic() - told > _TELL_AFTER_S:
            told = time.monotonic()
            logger.info("%s: %d of %d", work.base_key, seen.total(), len(record_ids))
        if isinstance(result, Rejection):
            rejections.append(result)
            seen[result.rejected_id] += 1
            logger.info("rejected %s: %s: %s", result.rejected_id, result.reason, result.detail)
        else:
            seen[result.record_id] += 1
            counts.update(result.counts)
            for record in result.outputs:
                tables[type(record)].append(record)
    _check_accounted_for(work, record_ids, seen)
    outputs = [
        _write(store, f"{work.base_key}.{kind.__name__.lower()}", rows, kind)
        for kind, rows in tables.items()
    ]
    if rejections:
        base_key = f"rejects/{work.stage}/{work.night}/{work.shard}"
        outputs.append(_write(store, base_key, rejections, Rejection))
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
        n_in=len(record_ids),
        n_done=len(record_ids) - len(rejections),
        n_rejected=len(rejections),
        counts=dict(sorted(counts.items())),
        rejected_by_reason=dict(sorted(Counter(r.reason for r in rejections).items())),
        seconds=round(time.monotonic() - started, 3),
        outputs=tuple(outputs),
    )
    store.write(f"{work.base_key}.json", manifest.model_dump_json(indent=1).encode())
    replaced = {output.key for output in done.outputs} if done else set()
    for key in replaced - {output.key for output in outputs}:
        store.delete(key)  # of the manifest that was replaced
    logger.info("%s %s/%s: %d in", work.stage, work.night, work.shard, manifest.n_in)
    return manifest


def _write(store: Storage, base_key: str, rows: Sequence[Record], kind: type[Record]) -> Output:
    data = encode(rows, kind)
    digest = hashlib.sha256(data).hexdigest()
    key = f"{base_key}.{digest[:16]}.parquet"
    store.write(key, data)
    return Output(key=key, sha256=digest, size_bytes=len(data), rows=len(rows))


def _check_accounted_for(work: Work, record_ids: Sequence[str], seen: Counter[str]) -> None:
    expected = Counter(record_ids)
    if seen != expected:
        lost, extra = list((expected - seen).elements()), list((seen - expected).elements())
        raise ContractError(
            f"{work.base_key}: {len(record_ids)} records came in, {seen.total()} came out; "
            f"lost: {lost[:5]}, unasked for or twice: {extra[:5]}; nothing was committed"
        )
