"""Tables: read and written by parts, and what was read leaves nothing behind at the end."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from lae_tasks.contracts import Assignment
from lae_tasks.tables import iter_records
from tests.unit.test_contracts import write_table

READS = """
import sys
from pathlib import Path
from lae_tasks.contracts import Assignment
from lae_tasks.tables import iter_records
for _ in range(5):
    assert len(list(iter_records(Path(sys.argv[1]), Assignment, "here"))) == 300
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
