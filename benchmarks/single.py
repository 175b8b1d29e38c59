"""What the bridge adds for a single caller, who shares a commit with nobody."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import attrs

from benchmarks.contenders import Server
from benchmarks.disk import Syncs, measure_syncs
from benchmarks.figures import Faulty, Figure, Measure, Measured
from benchmarks.load import Load, Result, put_load
from benchmarks.progress import Tell, telling
from benchmarks.report import Table, without_figure
from benchmarks.turns import Extent, Turns, take_turns

BARE, BRIDGE = "bare aiohttp and uvloop", "bridge, SQLite, 1 subscriber"
_HEADINGS = ("what", "p50 ms", "p99 ms", "p99.9 ms", "per second", "CPU µs per request")

_Kind: TypeAlias = Callable[[Syncs], tuple[float, ...]]


@attrs.frozen
class Seen:
    """What one caller saw of a server, and of the disk at that time."""

    result: Result
    syncs: Syncs


def measure(
    *,
    bare: Server | Faulty,
    bridge: Server | Faulty,
    directory: Path,
    extent: Extent,
    tell: Tell,
) -> Table:
    """Measure the two in turns, and the disk in between."""
    load = Load(connections=1)
    tasks = {
        BARE: partial(_look, bare, directory, load),
        BRIDGE: partial(_look, bridge, directory, load),
    }
    turns = take_turns(tasks, extent.turns, telling(tell, "a single caller"))
    return lay_out(turns, extent)


def lay_out(turns: Turns[Seen], extent: Extent) -> Table:
    """Return the table of what a single caller saw of either server."""
    added = turns.compare(BRIDGE, BARE, lambda one, base: one.result.p50 - base.result.p50)
    return Table(
        name="single",
        title="A single caller",
        note=(
            f"One connection over HTTP; the disk is asked before each server, in {extent}. "
            "What the bridge adds is the difference of the two medians. An fdatasync costs more "
            "where the file grows; a write-ahead log grows at first, and rewrites once it has "
            "started over."
        ),
        headings=_HEADINGS,
        rows=[
            _row(turns, BARE),
            _row(turns, BRIDGE),
            _line("added by the bridge", added),
            _line("fdatasync after 4 KB, the file grows", _took(turns, _appended)),
            _line("fdatasync after 4 KB, rewriting", _took(turns, _rewritten)),
        ],
        figures={
            Measure.ADDED_TO_FDATASYNC: _added(turns, _appended),
            Measure.ADDED_TO_REWRITING: _added(turns, _rewritten),
        },
    )


def _look(server: Server | Faulty, directory: Path, load: Load) -> Seen:
    syncs = measure_syncs(directory)
    return Seen(put_load(server, load), syncs)


def _appended(syncs: Syncs) -> tuple[float, ...]:
    return syncs.appended


def _rewritten(syncs: Syncs) -> tuple[float, ...]:
    return syncs.rewritten


def _added(turns: Turns[Seen], kind: _Kind) -> Measured:
    """Return the added latency in multiples of what the disk took in the same turn."""

    def in_syncs(bridge: Seen, bare: Seen) -> float:
        sync = statistics.median(kind(bridge.syncs) + kind(bare.syncs))
        return (bridge.result.p50 - bare.result.p50) / sync

    return turns.compare(BRIDGE, BARE, in_syncs)


def _took(turns: Turns[Seen], kind: _Kind) -> Measured:
    return turns.compare(
        BRIDGE,
        BARE,
        lambda bridge, bare: statistics.median(kind(bridge.syncs) + kind(bare.syncs)),
    )


def _row(turns: Turns[Seen], name: str) -> list[str]:
    if name in turns.faults:
        return without_figure((name,), turns.faults[name], len(_HEADINGS))

    def median(value: Callable[[Result], float]) -> float:
        return statistics.median(value(seen.result) for seen in turns.results[name])

    return [
        name,
        f"{median(lambda one: one.p50):.3f}",
        f"{median(lambda one: one.p99):.3f}",
        f"{median(lambda one: one.p999):.3f}",
        f"{median(lambda one: one.rate):,.0f}",
        f"{median(lambda one: one.cpu):.0f}",
    ]


def _line(name: str, measured: Measured) -> list[str]:
    if not isinstance(measured, Figure):
        return without_figure((name,), measured.why, len(_HEADINGS))
    return [name, f"{measured.median:.3f}", "", "", "", ""]
