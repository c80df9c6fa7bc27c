"""Tables: read and written by parts, and what was read leaves nothing behind at the end."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lae_tasks.accounts import Output
from lae_tasks.contracts import Assignment, Merge
from lae_tasks.errors import ContractError, TransientError
from lae_tasks.storage import LocalStorage
from lae_tasks.tables import TableWriter, iter_records, read_columns, sha256_of
from tests.unit.test_contracts import write_table

READS = """
import sys
from pathlib import Path
from lae_tasks.accounts import Output
from lae_tasks.contracts import Assignment
from lae_tasks.storage import LocalStorage
from lae_tasks.tables import iter_records, read_columns, sha256_of
path = Path(sys.argv[1])
output = Output(key=path.name, sha256=sha256_of(path), size_bytes=0, rows=300)
for _ in range(5):
    assert len(list(iter_records(path, Assignment, "here"))) == 300
    assert len(read_columns(LocalStorage(path.parent), output, Assignment, ["shard"])) == 300
"""


def assignments(count: int) -> list[Assignment]:
    return [Assignment(scene_id=str(number), shard="0000") for number in range(count)]


def test_a_process_that_has_read_tables_ends_in_peace(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.parquet", assignments(300), Assignment)
    # Arrow's background threads abort one process in three, if they hold a Python object.
    for _ in range(8):
        subprocess.run([sys.executable, "-c", READS, str(table)], check=True, timeout=60)


def test_a_long_table_is_written_and_read_by_parts(tmp_path: Path) -> None:
    rows = assignments(2500)
    table = write_table(tmp_path / "a", rows, Assignment)
    with pq.ParquetFile(table) as file:
        sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sizes == [1000, 1000, 500]
    assert list(iter_records(table, Assignment, "here")) == rows
    again = write_table(tmp_path / "b", rows, Assignment)
    assert again.read_bytes() == table.read_bytes()


def test_a_table_without_rows_is_a_table(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a", [], Assignment)
    assert list(iter_records(table, Assignment, "here")) == []


def test_columns_and_records_may_come_in_turn(tmp_path: Path) -> None:
    rows = assignments(6)
    writer = TableWriter(tmp_path / "a", Assignment)
    writer.add(rows[0])
    repeated = pa.array(["0000"] * 4).dictionary_encode()
    writer.add_columns(pa.table({"shard": repeated, "scene_id": ["1", "2", "3", "4"]}))
    writer.add(rows[5])
    writer.close()
    assert writer.rows == 6
    assert list(iter_records(writer.path, Assignment, "here")) == rows


def test_only_the_columns_that_are_asked_for_are_read(tmp_path: Path) -> None:
    store = LocalStorage(tmp_path)
    table = write_table(tmp_path / "a", assignments(3), Assignment)
    output = Output(key="runs/x/n/a.p", sha256=sha256_of(table), size_bytes=0, rows=3)
    with pytest.raises(TransientError, match="was replaced while it was read"):
        read_columns(store, output, Assignment, ["scene_id"])
    store.write(output.key, table.read_bytes())
    found = read_columns(store, output, Assignment, ["scene_id"])
    assert found.to_pydict() == {"scene_id": ["0", "1", "2"]}
    with pytest.raises(ContractError, match="not a table of Merge"):
        read_columns(store, output, Merge, ["name"])
    store.write(output.key, table.read_bytes() + b" ")
    with pytest.raises(ContractError, match="its sha256 is not"):
        read_columns(store, output, Assignment, ["scene_id"])
