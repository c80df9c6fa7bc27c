"""Contracts to Parquet and back, a few rows at a time. The same records give the same bytes."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from lae_tasks.accounts import Output
from lae_tasks.contracts import Record, first_problem
from lae_tasks.errors import ContractError, TransientError
from lae_tasks.schema import arrow_schema
from lae_tasks.storage import MissingObjectError, Storage

R = TypeVar("R", bound=Record)

_ROWS_AT_ONCE = 1000
"""Rows of a row group: so many are in memory at a time, however long the table is."""

_COLUMNS_AT_ONCE = 50_000
"""Rows of a row group of what comes as columns: a tenth of the records' weight."""


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

    def add_columns(self, table: pa.Table) -> None:
        """Takes many rows at once.

        Args:
            table: Columns of the contract's names, in any order. Where the contract has strings,
                dictionaries of strings will do.

        Raises:
            ContractError: If a column is missing, or lacks a value that the contract asks for.
        """
        if self._waiting:
            self._flush()
        for start in range(0, table.num_rows, _COLUMNS_AT_ONCE):
            part = table.slice(start, _COLUMNS_AT_ONCE)
            try:
                part = part.select(self._schema.names).cast(self._schema)
            except (KeyError, ValueError) as error:  # ArrowInvalid is a ValueError
                name = self._schema.metadata[b"lae.contract"].decode()
                raise ContractError(f"not a table of {name}: {error}") from error
            self._file.write_table(part, row_group_size=_COLUMNS_AT_ONCE)
        self.rows += table.num_rows

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
    try:
        with _opened(path, record_type, place) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
                for row in batch.to_pylist():
                    yield record_type.model_validate(row)
    except ValidationError as error:
        raise ContractError(
            f"{place}: a row breaks its contract: {first_problem(error)}"
        ) from error


@contextmanager
def _opened(
    source: Path | pa.BufferReader, record_type: type[Record], place: str
) -> Iterator[pq.ParquetFile]:
    """A Parquet file that is known to have the contract's columns."""
    expected = arrow_schema(record_type)
    try:
        # Neither threads nor a Python file: together they can abort the process when it ends
        # (https://github.com/apache/arrow/issues/34314).
        with pq.ParquetFile(source, pre_buffer=False) as file:
            if not file.schema_arrow.equals(expected, check_metadata=False):
                raise ContractError(
                    f"{place}: not a table of {record_type.__name__} (schema_version "
                    f"{expected.metadata[b'lae.schema_version'].decode()}); its columns are "
                    f"{', '.join(file.schema_arrow.names)}; run that stage again"
                )
            yield file
    except pa.ArrowInvalid as error:
        raise ContractError(f"{place}: not a Parquet file: {error}") from error


def iter_table(store: Storage, output: Output, record_type: type[R]) -> Iterator[R]:
    """The records of a table that a manifest names, read as they are asked for.

    Before the first one comes, the whole table is fetched and compared with its digest.

    Raises:
        TransientError: If it is not there: its manifest was replaced since it was read.
        ContractError: If the file was damaged, or follows another contract.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        with _replaced_if_missing(store, output):
            store.download(output.key, path)
        _require_digest(store, output, sha256_of(path))
        yield from iter_records(path, record_type, f"{store.uri}/{output.key}")


def read_columns(
    store: Storage, output: Output, record_type: type[Record], columns: Sequence[str]
) -> pa.Table:
    """Some columns of a table that a manifest names; raises what `iter_table` does.

    The file is in memory for so long: it is the table of one shard.
    """
    with _replaced_if_missing(store, output):
        content = store.read(output.key)
    _require_digest(store, output, hashlib.sha256(content).hexdigest())
    place = f"{store.uri}/{output.key}"
    with _opened(pa.BufferReader(content), record_type, place) as file:
        return file.read(list(columns), use_threads=False)


@contextmanager
def _replaced_if_missing(store: Storage, output: Output) -> Iterator[None]:
    try:
        yield
    except MissingObjectError as error:
        raise TransientError(
            f"{store.uri}/{output.key}: was replaced while it was read; if nothing runs, somebody "
            f"removed it: {remedy(output.key)}"
        ) from error


def _require_digest(store: Storage, output: Output, sha256: str) -> None:
    if sha256 != output.sha256:
        raise ContractError(
            f"{store.uri}/{output.key}: its sha256 is not the one in its manifest: "
            + remedy(output.key)
        )


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
