"""What a stage answers for: what became of each record that came in, and the files it wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import model_validator

from lae_tasks.contracts import SCHEMA_VERSION, Record


class Rejection(Record):
    """A record that a stage could not use, and why.

    Attributes:
        rejected_id: Id of the record; the raw key where ingest could not make a scene of it.
        reason: A short phrase to count by, such as `unreadable`.
        detail: What a person needs to know to mend it.
        etag: The version of the raw object; None beyond ingest.
    """

    rejected_id: str
    stage: str
    reason: str
    detail: str
    etag: str | None = None


class Output(Record):
    """A file that a stage wrote."""

    key: str
    sha256: str
    size_bytes: int
    rows: int


class Manifest(Record):
    """The commit marker of a shard of a stage, written last.

    Attributes:
        fingerprint: Digest of the inputs, the stage's config and its models. If a manifest with
            the same fingerprint is there, the shard is done.
        inputs: Digests of what came in, such as the sha256 of the table before. By them a night
            is known to be whole: each stage worked on what the stage before it says now.
        n_in: Records that came in; `n_done + n_rejected` must equal it.
        counts: Further counters of the stage, such as `empty_tiles`.
    """

    stage: str
    night: str
    shard: str
    schema_version: Literal[7] = SCHEMA_VERSION
    fingerprint: str
    inputs: tuple[str, ...]
    config_sha256: str
    model_revision: str | None
    n_in: int
    n_done: int
    n_rejected: int
    counts: dict[str, int]
    rejected_by_reason: dict[str, int]
    seconds: float
    outputs: tuple[Output, ...]

    @property
    def tables(self) -> tuple[Output, ...]:
        """What the stage made; without the Rejections."""
        return tuple(output for output in self.outputs if not output.key.startswith("rejects/"))

    @model_validator(mode="after")
    def _all_accounted_for(self) -> "Manifest":
        if self.n_in != self.n_done + self.n_rejected:
            raise ValueError(
                f"{self.stage}/{self.night}/{self.shard}: {self.n_in} records came in, "
                f"{self.n_done} done + {self.n_rejected} rejected"
            )
        return self


@dataclass(frozen=True)
class Done:
    """What a stage made of one record that came in: any number of records of its output types."""

    record_id: str
    outputs: Sequence[Record] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Counted:
    """What a stage counts beside its records, such as the cost of a reply that it rejects."""

    counts: Mapping[str, int]
