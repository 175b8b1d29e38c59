"""What it costs that a journal looks at its files: `python -m benchmarks.looking [PAIRS]`.

Appends and callbacks as in `benchmarks.cost`, in pairs: once as they are, and once without the
looks of each commit whether the files that are open are those on disk. The file is in memory where
the system has a place for that, so that what is left is processor time.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from benchmarks.cost import append, receive
from bridge.journal.sqlite.watch import Watch

PAIRS = 20
USERS = 5000
IN_MEMORY = Path("/dev/shm")

Measured: TypeAlias = Callable[[str, int], Awaitable[float]]


@contextmanager
def without_looks() -> Iterator[None]:
    """Let no commit look at the files."""
    lost, cut_short = Watch.lost, Watch.cut_short
    Watch.lost = Watch.cut_short = _find_nothing  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        Watch.lost, Watch.cut_short = lost, cut_short  # type: ignore[method-assign]


def _find_nothing(*_: object) -> None:
    pass


def spent(measure: Measured) -> float:
    """Return the microseconds of processor time that each takes with a new file."""
    where = IN_MEMORY if IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        return asyncio.run(measure(f"{folder}/journal.db", USERS))  # type: ignore[arg-type]


def main(pairs: int) -> None:
    """Print each pair's ratio in the middle, and what half of them lie between."""
    for measure in (append, receive):
        looking, without = [], []
        for _ in range(pairs):
            for looks in random.sample((True, False), 2):
                if looks:
                    looking.append(spent(measure))
                else:
                    with without_looks():
                        without.append(spent(measure))
        ratios = [one / other for one, other in zip(looking, without, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{measure.__name__}: {statistics.median(looking):.1f} µs,"
            f" {statistics.median(without):.1f} without looking;"
            f" {middle:.3f} times as long (half of {pairs} pairs: {low:.3f} to {high:.3f})"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else PAIRS)
