"""Throughput while five inspectors are open in browsers, beside none."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import attrs

from benchmarks.contenders import ADMIN_TOKEN, Server, pinned, running
from benchmarks.figures import Faulty, Figure, Measure, Measured
from benchmarks.load import Load, Result, put_load
from benchmarks.progress import Tell, telling
from benchmarks.report import Table, without_figure
from benchmarks.serving import DURABLE
from benchmarks.turns import Extent, Turns, take_turns

NONE, FIVE = "no inspector open", "five inspectors open"
_INSPECTORS = 5
_HEADERS = ("Accept: text/event-stream", f"Authorization: Bearer {ADMIN_TOKEN}")
_FOLLOWED = "/events/follow?limit=20&masked=true"  # as the page asks
_LOAD = Load(seconds=3)  # each is told something about once a second
_HEADINGS = ("what", "per second", "x none", "CPU µs per request", "x none, CPU")


def measure(directory: Path, extent: Extent, tell: Tell) -> Table:
    """Load a durable bridge with the operators' listener, with and without people who look on."""
    contender = attrs.evolve(DURABLE, admin=True)
    with running(contender, directory) as server:
        tasks = {
            NONE: partial(put_load, server, _LOAD),
            FIVE: partial(_watched, server, directory),
        }
        told = telling(tell, "watching")
        return lay_out(take_turns(tasks, extent.turns, told, warm_up=extent.warm_up), extent)


def lay_out(turns: Turns[Result], extent: Extent) -> Table:
    """Return the table of what people who look on cost."""
    return Table(
        name="watching",
        title="Looking on",
        note=(
            f"Over HTTP, {_LOAD.connections} connections, {_LOAD.seconds} seconds each, with and "
            f"without right after one another, in {extent}. An inspector follows the newest "
            "events as the page does."
        ),
        headings=_HEADINGS,
        rows=[_row(turns, NONE), _row(turns, FIVE)],
        figures={Measure.WATCHED_TO_ALONE: turns.ratio(FIVE, NONE, lambda each: each.rate)},
    )


def _row(turns: Turns[Result], name: str) -> list[str]:
    if name in turns.faults:
        return without_figure((name,), turns.faults[name], len(_HEADINGS))
    results = turns.results[name]
    return [
        name,
        f"{statistics.median(each.rate for each in results):,.0f}",
        _told(turns.ratio(name, NONE, lambda each: each.rate)),
        f"{statistics.median(each.cpu for each in results):.0f}",
        _told(turns.ratio(name, NONE, lambda each: each.cpu)),
    ]


def _told(ratio: Measured) -> str:
    """Return a ratio in thousandths, since three hundredths are asked about."""
    return f"{ratio.median:.3f}" if isinstance(ratio, Figure) else "no figure"


def _watched(server: Server | Faulty, directory: Path) -> Result:
    if isinstance(server, Faulty):
        raise server
    with _watching(server, directory):
        return put_load(server, _LOAD)


@contextmanager
def _watching(server: Server, directory: Path) -> Iterator[None]:
    """Follow events as so many browsers do. Raises `Faulty` where one of them is told nothing."""
    url = f"http://127.0.0.1:{server.admin_port}{_FOLLOWED}"
    headers = [word for header in _HEADERS for word in ("--header", header)]
    asking = [*pinned(1), "curl", "--silent", "--no-buffer", *headers, url]
    outputs = [directory / f"inspector-{number}" for number in range(_INSPECTORS)]
    followers = [subprocess.Popen([*asking, "--output", output]) for output in outputs]
    try:
        yield
    finally:
        for each in followers:
            each.terminate()
            each.wait()
    told = [b"event: entry" in output.read_bytes() for output in outputs if output.exists()]
    for output in outputs:
        output.unlink(missing_ok=True)
    if told != [True] * _INSPECTORS:
        raise Faulty("an inspector was told nothing")
