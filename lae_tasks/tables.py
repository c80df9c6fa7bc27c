"""Contracts to Parquet and back, a few rows at a time. The same records give the same bytes."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from lae_tasks.contracts import Output, Record, first_problem
from lae_tasks.errors import ContractError, TransientError
from lae_tasks.schema import arrow_schema
from lae_tasks.storage import MissingObjectError, Storage

R = TypeVar("R", bound=Record)

_ROWS_AT_ONCE = 1000
"""Rows of a row group: so many are in memory at a time, however long the table is."""


class TableWriter:
    """Writes a table to a local file while its records come.

    Attributes:
        path: The file; whole once the writer is closed.
        rows: The records so far.
    """

    def __init__(self, path: Path, record_type: type[Record]) -> None:
        self.path = path
        self.rows = 0
        self._schema = arrow_schema(record_type)
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[Record] = []

    def add(self, record: Record) -> None:
        """Takes the next record."""
        self.rows += 1
        self._waiting.append(record)
        if len(self._waiting) == _ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        """Writes what is left; nothing happens if the writer is closed already."""
        if self._waiting:
            self._flush()
        self._file.close()

    def _flush(self) -> None:
        rows = [record.model_dump(mode="json") for record in self._waiting]
        self._waiting.clear()
        self._file.write_table(pa.Table.from_pylist(rows, schema=self._schema))


def iter_records(path: Path, record_type: type[R], place: str) -> Iterator[R]:
    """The records of a Parquet file, read as they are asked for.

    Args:
        path: The file.
        record_type: The contract that the table must follow.
        place: Where it came from, for messages.

    Raises:
        ContractError: If the file is no Parquet, or of another contract or version.
    """
    expected = arrow_schema(record_type)
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(expected, check_metadata=False):
                raise ContractError(
                    f"{place}: not a table of {record_type.__name__} (schema_version "
                    f"{expected.metadata[b'lae.schema_version'].decode()}); its columns are "
                    f"{', '.join(file.schema_arrow.names)}; run that stage again"
                )
            # Neither threads nor a Python file: together they can abort the process when it ends
            # (https://github.com/apache/arrow/issues/34314).
            for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
                for row in batch.to_pylist():
                    yield record_type.model_validate(row)
    except pa.ArrowInvalid as error:
        raise ContractError(f"{place}: not a Parquet file: {error}") from error
    except ValidationError as error:
        raise ContractError(
            f"{place}: a row breaks its contract: {first_problem(error)}"
        ) from error


def iter_table(store: Storage, output: Output, record_type: type[R]) -> Iterator[R]:
    """The records of a table that a manifest names, read as they are asked for.

    Before the first one comes, the whole table is fetched and compared with its digest.

    Raises:
        TransientError: If it is not there: its manifest was replaced since it was read.
        ContractError: If the file was damaged, or follows another contract.
    """
    place = f"{store.uri}/{output.key}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        try:
            store.download(output.key, path)
        except MissingObjectError as error:
            raise TransientError(
                f"{place}: was replaced while it was read; if nothing runs, somebody removed it: "
                + remedy(output.key)
            ) from error
        if sha256_of(path) != output.sha256:
            raise ContractError(
                f"{place}: its sha256 is not the one in its manifest: {remedy(output.key)}"
            )
        yield from iter_records(path, record_type, place)


def read_table(store: Storage, output: Output, record_type: type[R]) -> list[R]:
    """All records of a table that a manifest names; raises what `iter_table` does."""
    return list(iter_table(store, output, record_type))


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content, without holding it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remedy(key: str) -> str:
    """What to do about a damaged file of a shard: a table, its rejections or its manifest."""
    _, stage, night, name = key.split("/")
    # What people decided, and which scenes a night took in, no rerun brings back.
    if stage in ("ingest", "review", "collect"):
        return "restore it from a backup"
    manifest = f"runs/{stage}/{night}/{name.split('.')[0]}.json"
    return f"delete {manifest}, and let night {night} run to its end before anything is published"
