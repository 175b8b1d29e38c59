"""What it costs to make an event durable: the journal alone, without HTTP and subscribers.

Beside it stand the same journal with every append in a commit of its own, and the journal in
memory: all on the same disk, in one run, in turns.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.appending import Appended, append_for, fill, prepare
from benchmarks.figures import Measure
from benchmarks.progress import Tell, telling
from benchmarks.report import Table, told
from benchmarks.turns import Extent, Turns, take_turns
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Journal
from bridge.journal.sqlite import SqliteJournal

_CALLERS = (1, 16, 64)
_MOST = 64
_SECONDS = 0.4  # short, as a disk that others share changes its mind from second to second
_ROWS = 20_000  # enough for the write-ahead log to have started over, as it has in service
_GROUPED = "SQLite"
_SINGLE = "SQLite, one commit each"
_MEMORY = "memory"


def measure(directory: Path, extent: Extent, tell: Tell) -> Table:
    """Measure the journals with more and more callers."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="journal-") as folder:
        found = _in_turns(Path(folder), extent, tell)
    rows = []
    for callers, turns in found.items():
        for name, appended in turns.results.items():
            ratio = turns.ratio(name, _SINGLE, lambda one: one.rate)
            rows.append(
                [
                    name,
                    str(callers),
                    f"{statistics.median(one.rate for one in appended):,.0f}",
                    told(ratio),
                    f"{statistics.median(one.p50 for one in appended):.2f}",
                    f"{statistics.median(one.p99 for one in appended):.2f}",
                ]
            )
    return Table(
        name="journal",
        title="The journal alone",
        note=(
            f"Callers append one event each, wait, and append the next; after {_ROWS:,} rows, "
            f"in {extent}."
        ),
        headings=("journal", "callers", "per second", "x one commit each", "p50 ms", "p99 ms"),
        rows=rows,
        figures={
            Measure.APPEND_TO_ONE_COMMIT: found[_MOST].ratio(
                _GROUPED, _SINGLE, lambda one: one.rate
            )
        },
    )


def _in_turns(folder: Path, extent: Extent, tell: Tell) -> dict[int, Turns[Appended]]:
    journals: dict[str, Journal] = {
        _GROUPED: SqliteJournal(folder / "group.db"),
        _SINGLE: SqliteJournal(folder / "single.db", max_group=1),
        _MEMORY: MemoryJournal(max_events=1_000_000),
    }
    with asyncio.Runner() as runner:

        def appending(journal: Journal, callers: int) -> Callable[[], Appended]:
            return lambda: runner.run(append_for(journal, callers, _SECONDS, prepare(_SECONDS)))

        opened = AsyncExitStack()
        try:
            for journal in journals.values():
                runner.run(opened.enter_async_context(journal))
                runner.run(fill(journal, _ROWS))
            gc.freeze()
            return {
                callers: take_turns(
                    {name: appending(journal, callers) for name, journal in journals.items()},
                    extent.turns,
                    telling(tell, f"{callers} callers"),
                )
                for callers in _CALLERS
            }
        finally:
            gc.unfreeze()
            runner.run(opened.aclose())
