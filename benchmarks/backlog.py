"""How fast a subscriber gets what is in the journal already, against parsing alone.

It is far behind and catches up, or has had everything and gets it once more.
"""

from __future__ import annotations

import statistics
import sys
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import attrs

from benchmarks.bodies import texts
from benchmarks.contenders import Contender, Server, pinned, running, staying_on
from benchmarks.figures import Faulty, Measure, Measured
from benchmarks.progress import Tell
from benchmarks.report import Table, told, without_figure
from benchmarks.turns import Extent, Turns, take_turns
from bridge.adapter import Verified
from bridge.adapter.signing import Secret
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings

_PARTS = 3
_PARSED = 20_000
_REPLAYED = 20_000
_PATIENCE = 60.0  # seconds without an event before what is missing counts as lost
_PARSING = "parsing alone"
_CATCH_UP = "catching up"
_REPLAY = "`bridge replay`"


@attrs.frozen
class Pace:
    """So many events in so many seconds; the process used that many mebibytes."""

    events: int
    seconds: float
    memory: float = 0.0

    @property
    def rate(self) -> float:
        return self.events / self.seconds


def measure(
    directory: Path, large: Contender, small: Contender, extent: Extent, tell: Tell
) -> Turns[Pace]:
    """Let a new subscriber have all events of a large journal, and replay those of a small one.

    The subscriber gets them in parts: between them the server ends, and nothing but parsing uses
    its core. The next part begins where the last one ended, so that every event is counted.
    """
    behind = attrs.evolve(large, subscriber="late", start="beginning")
    again = attrs.evolve(small, subscriber="again", admin=True)
    in_all = extent.at_most(_PARTS).turns
    delivered = parts = 0

    def catch_up() -> Pace:
        nonlocal delivered, parts
        parts += 1
        with running(behind, directory) as server:
            pace = follow(server, extent.large * parts // in_all - delivered)
        delivered += server.handled()[0]  # it finishes what is under way before it ends
        return pace

    def replay() -> Pace:
        with running(again, directory) as server:
            return _replay(server, small_size(extent))

    tasks = {_CATCH_UP: catch_up, _PARSING: _parse, _REPLAY: replay}
    return take_turns(tasks, in_all, tell)


def small_size(extent: Extent) -> int:
    """Return how many events are replayed."""
    return min(_REPLAYED, extent.large // 10)


def lay_out(turns: Turns[Pace], extent: Extent) -> Table:
    """Return the table, with the figures that something is asked of."""
    headings = ("what", "events per second", "x parsing alone", "events", "take s", "MiB")
    rows = []
    for name, size in ((_PARSING, 0), (_CATCH_UP, extent.large), (_REPLAY, small_size(extent))):
        if name in turns.faults:
            rows.append(without_figure((name,), turns.faults[name], len(headings)))
            continue
        rate = statistics.median(pace.rate for pace in turns.results[name])
        cells = [name, f"{rate:,.0f}", told(_to_parsing(turns, name)) if size else ""]
        if size:
            memory = max(pace.memory for pace in turns.results[name])
            cells += [f"{size:,}", f"{size / rate:.1f}", f"{memory:.0f}"]
        rows.append(cells + [""] * (len(headings) - len(cells)))
    return Table(
        name="backlog",
        title="Catching up and replaying",
        note=(
            f"A new subscriber gets {extent.large:,} events, which come in within an hour at "
            f"{extent.large / 3600:,.0f} per second; another one gets some once more. Each in "
            f"{extent.at_most(_PARTS)}, with parsing between, on the same core."
        ),
        headings=headings,
        rows=rows,
        figures={
            Measure.CATCH_UP_TO_PARSE: _to_parsing(turns, _CATCH_UP),
            Measure.REPLAY_TO_PARSE: _to_parsing(turns, _REPLAY),
        },
    )


def _to_parsing(turns: Turns[Pace], name: str) -> Measured:
    return turns.ratio(name, _PARSING, lambda pace: pace.rate)


def follow(server: Server, expected: int) -> Pace:
    """Return how fast so many events come, from the first on. Raises `Faulty`."""
    first, began = 0, time.perf_counter()
    last, since = 0, began
    while True:
        count, now = server.handled()[0], time.perf_counter()
        if count and not first:
            first, began = count, now
        if first and count >= expected:
            return Pace(count - first, now - began, server.memory())
        if count != last:
            last, since = count, now
        elif now - since > _PATIENCE:
            raise Faulty(f"{expected - count} of {expected} events went missing")
        time.sleep(0.002)


def _replay(server: Server, size: int) -> Pace:
    """Return how fast an operator's command gives a subscriber so many events. Raises `Faulty`."""
    command = (
        *(sys.executable, "-m", "bridge", "replay", "--since", "1d"),
        *("--subscriber", "again0", "--config", str(server.config)),
    )
    with Popen([*pinned(1), *command], cwd=server.folder, stdout=DEVNULL, stderr=PIPE) as process:
        try:
            pace = follow(server, size)
        except Faulty as fault:
            process.kill()
            raise Faulty(f"bridge replay: {fault}") from fault
        _, said = process.communicate()
    if process.returncode:
        raise Faulty(f"bridge replay: {said.decode().strip()}")
    return pace


def _parse() -> Pace:
    """Return how fast bodies of one message become events, on the core that servers have."""
    adapter = WhatsApp("whatsapp", WhatsAppSettings(app_secrets=(Secret("unused"),)))
    now = datetime.now(UTC)
    bodies = [Verified(payload=body, received_at=now) for body in islice(texts(), _PARSED)]
    with staying_on(0):
        began = time.perf_counter()
        for body in bodies:
            adapter.parse(body)
        return Pace(len(bodies), time.perf_counter() - began)
