"""Thousands of damaged files: each is read or refused; none crashes, hangs or is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.stack.settings import REPO

N_FILES = int(os.environ.get("LAE_FUZZ_FILES", "2000"))
#: A file of at most 64 x 64 px takes milliseconds; a decoder that hangs takes for ever.
DEADLINE_S = 240


@pytest.mark.timeout(DEADLINE_S + 60)
def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    """In a process of its own: a crash of GDAL must be seen, not end the tests."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_rasters", str(tmp_path), str(N_FILES)],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    counts = dict(line.split(": ") for line in done.stdout.splitlines())
    read, refused = int(counts["read"]), int(counts["refused"])
    assert read + refused == N_FILES
    # Both happen: a fuzzer whose files are all sound, or all refused at once, shows nothing.
    assert min(read, refused) > N_FILES / 20, counts
