"""Contracts to Parquet and back. The same records give the same bytes."""

import hashlib
import io
from collections.abc import Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from lae_tasks.contracts import Output, Record, arrow_schema, first_problem
from lae_tasks.errors import ContractError, TransientError
from lae_tasks.storage import MissingObjectError, Storage

R = TypeVar("R", bound=Record)


def encode(records: Sequence[Record], record_type: type[Record]) -> bytes:
    """Parquet bytes of a table of records, in the order given."""
    rows = [record.model_dump(mode="json") for record in records]
    table = pa.Table.from_pylist(rows, schema=arrow_schema(record_type))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def decode(data: bytes, record_type: type[R], place: str) -> list[R]:
    """The records of a Parquet table.

    Args:
        data: The file's bytes.
        record_type: The contract that the table must follow.
        place: Where it came from, for messages.

    Raises:
        ContractError: If the file is no Parquet, or of another contract or version.
    """
    expected = arrow_schema(record_type)
    try:
        # Neither threads nor a Python file: together they can abort the process when it ends
        # (https://github.com/apache/arrow/issues/34314).
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    except pa.ArrowInvalid as error:
        raise ContractError(f"{place}: not a Parquet file: {error}") from error
    if not table.schema.equals(expected, check_metadata=False):
        raise ContractError(
            f"{place}: not a table of {record_type.__name__} (schema_version "
            f"{expected.metadata[b'lae.schema_version'].decode()}); its columns are "
            f"{', '.join(table.schema.names)}; run that stage again"
        )
    try:
        return [record_type.model_validate(row) for row in table.to_pylist()]
    except ValidationError as error:
        raise ContractError(
            f"{place}: a row breaks its contract: {first_problem(error)}"
        ) from error


def read_table(store: Storage, output: Output, record_type: type[R]) -> list[R]:
    """The records of a table that a manifest names.

    Raises:
        TransientError: If it is not there: its manifest was replaced since it was read.
        ContractError: If the file was damaged, or follows another contract.
    """
    place = f"{store.uri}/{output.key}"
    try:
        data = store.read(output.key)
    except MissingObjectError as error:
        raise TransientError(
            f"{place}: was replaced while it was read; if nothing runs, somebody removed it: "
            + remedy(output.key)
        ) from error
    if hashlib.sha256(data).hexdigest() != output.sha256:
        raise ContractError(
            f"{place}: its sha256 is not the one in its manifest: {remedy(output.key)}"
        )
    return decode(data, record_type, place)


def remedy(key: str) -> str:
    """What to do about a damaged file of a shard: a table, its rejections or its manifest."""
    _, stage, night, name = key.split("/")
    # What people decided, and which scenes a night took in, no rerun brings back.
    if stage in ("ingest", "review", "collect"):
        return "restore it from a backup"
    manifest = f"runs/{stage}/{night}/{name.split('.')[0]}.json"
    return f"delete {manifest}, and let night {night} run to its end before anything is published"
