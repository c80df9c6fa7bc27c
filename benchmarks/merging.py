"""What merging many category names takes, in time and memory.

    OMP_NUM_THREADS=1 python -m benchmarks.merging [NAMES]

Merges NAMES (20,000) distinct names by vectors of 512 numbers, once drawn around a fifth as many
centres (much merges) and once at random (nothing does: the most work). The text
encoder is not counted. The result is compared with one name after the other, as it is described, on
the first 2,000 names.
"""

import resource
import sys
import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Column, Table

from lae_tasks.naming.merging import merge_names
from lae_tasks.naming.vocabulary import OPEN

THRESHOLD = 0.92
CHECKED = 2000
Vectors = npt.NDArray[np.float32]


def drawn(names: int, centres: int) -> Vectors:
    """Unit vectors (names, 512); around centres, if there are any."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(names, 512)).astype(np.float32)
    if centres:
        of_centres = rng.normal(size=(centres, 512)).astype(np.float32)
        vectors = 0.25 * vectors + of_centres[rng.integers(centres, size=names)]
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def merged(vectors: Vectors) -> dict[str, str]:
    """The category of each name `type 0`, `type 1`, …; their frequencies fall."""
    counts = {f"type {n}": len(vectors) - n for n in range(len(vectors))}

    def embed(names: Sequence[str]) -> Vectors:
        return vectors[[int(name.split()[1]) for name in names]]

    lines = merge_names(counts, OPEN, embed=embed, threshold=THRESHOLD)
    return {line.name: line.canonical for line in lines}


def one_after_the_other(vectors: Vectors) -> dict[str, str]:
    """The same, name by name."""
    chosen: list[int] = []
    found = {}
    for number, vector in enumerate(vectors):
        likeness = vectors[chosen] @ vector
        best = int(likeness.argmax()) if chosen else 0
        joins = bool(chosen) and likeness[best] > THRESHOLD
        found[f"type {number}"] = f"type {chosen[best]}" if joins else f"type {number}"
        if not joins:
            chosen.append(number)
    return found


def main() -> None:
    """Prints a table."""
    names = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    table = Table("names", *(Column(n, justify="right") for n in ("categories", "s", "peak MB")))
    for kind, centres in (("around centres", names // 5), ("at random", 0)):
        vectors = drawn(names, centres)
        few = vectors[:CHECKED]
        if merged(few) != one_after_the_other(few):
            raise SystemExit(f"{kind}: the result is not that of one name after the other")
        start = time.perf_counter()
        found = merged(vectors)
        seconds = time.perf_counter() - start
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        figures = (f"{len(set(found.values())):,}", f"{seconds:.1f}", f"{peak_mb:,.0f}")
        table.add_row(f"{names:,} {kind}", *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
