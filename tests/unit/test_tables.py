"""Tables: what was read leaves nothing behind that could end the process badly."""

import subprocess
import sys
from pathlib import Path

from lae_tasks.contracts import Assignment
from lae_tasks.tables import encode

READS = """
import sys
from pathlib import Path
from lae_tasks.contracts import Assignment
from lae_tasks.tables import decode
data = Path(sys.argv[1]).read_bytes()
for _ in range(5):
    assert len(decode(data, Assignment, "here")) == 300
"""


def test_a_process_that_has_read_tables_ends_in_peace(tmp_path: Path) -> None:
    rows = [Assignment(scene_id=str(number), shard="0000") for number in range(300)]
    table = tmp_path / "table.parquet"
    table.write_bytes(encode(rows, Assignment))
    # Arrow's background threads abort one process in three, if they hold a Python object.
    for _ in range(8):
        subprocess.run([sys.executable, "-c", READS, str(table)], check=True, timeout=60)
