"""End to end over HTTP: the bridge beside bare aiohttp and pywa's servers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import attrs

from benchmarks import single
from benchmarks.contenders import Contender, Server, Servers, all_running
from benchmarks.figures import Faulty, Figure, Measure, Measured, Missing
from benchmarks.load import Load, Result, put_load, told_of_generator
from benchmarks.progress import Tell, telling
from benchmarks.report import Table, told, without_figure
from benchmarks.turns import Extent, Turns, take_turns

BARE = Contender(title="bare aiohttp and uvloop", program=("benchmarks.servers", "bare"))
DURABLE = Contender(title="bridge, SQLite, 1 subscriber", journal="sqlite")
_ONE_COMMIT = Contender(
    title="bridge, SQLite, one commit per event",
    program=("benchmarks.one_commit", "serve"),
    journal="sqlite",
)


def _peer(title: str, name: str) -> Contender:
    return Contender(title=title, program=("benchmarks.servers", name))


_STARLETTE = _peer("pywa on Starlette", "pywa-starlette")
_FASTAPI = _peer("pywa on FastAPI", "pywa-fastapi")
_FLASK = _peer("pywa on Flask and waitress", "pywa-flask")
# What is compared stands together: the nearer in time, the less a disturbance tells them apart.
_CONTENDERS = (
    _peer("bare aiohttp, signature checked", "bare-signed"),
    BARE,
    DURABLE,
    _STARLETTE,
    _ONE_COMMIT,
    _FASTAPI,
    _FLASK,
    Contender(title="bridge, memory, 1 subscriber", journal="memory"),
    Contender(title="bridge, SQLite, 10 subscribers", journal="sqlite", subscribers=10),
    _peer("pywa on Starlette, unsigned", "pywa-starlette-unsigned"),
    _peer("pywa on FastAPI, unsigned", "pywa-fastapi-unsigned"),
    _peer("pywa on Flask and waitress, unsigned", "pywa-flask-unsigned"),
)
_HEADINGS = (
    "server",
    "connections",
    "per second",
    "x bare",
    "x bare, CPU",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "CPU µs per request",
    "MiB",
    "events handled",
    "caught up after s",
)
_SHARE = 0.7
_TOLERANCE = 0.05
WHOLE, PACED = "as fast as it answers", "paced"


def measure(directory: Path, extent: Extent, tell: Tell) -> list[Table]:
    """Measure every contender in turns; a ratio is to the bare server of the same turn."""
    tell("starting the servers")
    with all_running(_CONTENDERS, directory) as servers:
        many = _in_turns(servers, Load(), extent, tell)
        pair = {contender: servers[contender] for contender in (BARE, DURABLE)}
        more = _in_turns(pair, Load(connections=256), extent, tell)
        paced = _at_its_share(servers[DURABLE], extent, tell)
        one = single.measure(
            bare=servers[BARE],
            bridge=servers[DURABLE],
            directory=directory,
            extent=extent,
            tell=tell,
        )
    return [lay_out(many=many, more=more, paced=paced, extent=extent), one]


def lay_out(
    *, many: Turns[Result], more: Turns[Result], paced: Turns[Result], extent: Extent
) -> Table:
    """Return the table of what 64 connections brought, more of them, and a share of the capacity.

    It has no ratio for a server with a fault, nor to one.
    """
    try:
        peer = _fastest_peer(many)
        to_peer = _throughput(many, DURABLE.title, peer)
    except Faulty as fault:
        peer, to_peer = "not known", Missing(str(fault))
    bare = [*many.results[BARE.title], *more.results[BARE.title]]
    return Table(
        name="serving",
        title="End to end over HTTP",
        note=(
            "The server has one core and the load (wrk) another. Each ratio is to the bare server "
            "in the same turn, by throughput and by processor time per request, in the median of "
            f"{extent}. Every body is another message, and its signature is right. "
            "No figure stands where a request failed or an event went missing; requests that wrk "
            "cuts off at its end, at most one per connection, do not count as answered. wrk's "
            "percentiles include what a stalled connection would have asked meanwhile. "
            "pywa answers before it handles, and keeps nothing; "
            f"of its servers that check signatures, the fastest was: {peer}. "
            f"{told_of_generator(BARE.title, bare)}"
        ),
        headings=_HEADINGS,
        rows=[
            *(_row(many, title, 64) for title in many.results),
            *(_row(more, title, 256) for title in more.results),
            _paced_row(paced),
        ],
        figures={
            Measure.DURABLE_TO_BARE: _throughput(many, DURABLE.title, BARE.title),
            Measure.DURABLE_TO_BARE_AT_256: _throughput(more, DURABLE.title, BARE.title),
            Measure.DURABLE_TO_PYWA: to_peer,
            Measure.DURABLE_TO_ONE_COMMIT: _throughput(many, DURABLE.title, _ONE_COMMIT.title),
            Measure.P99_AT_70_PERCENT: _paced_p99(paced),
        },
        bars=_bars(many),
        axis="requests per second, as a share of bare aiohttp (more is better)",
    )


def _in_turns(servers: Servers, load: Load, extent: Extent, tell: Tell) -> Turns[Result]:
    tasks = {each.title: partial(put_load, server, load) for each, server in servers.items()}
    step = telling(tell, f"{load.connections} connections")
    return take_turns(tasks, extent.turns, step, warm_up=extent.warm_up)


def _throughput(turns: Turns[Result], title: str, base: str) -> Measured:
    return turns.ratio(title, base, lambda result: result.rate)


def _fastest_peer(turns: Turns[Result]) -> str:
    """Return which of pywa's servers that check signatures answers most.

    Raises `Faulty` where it might be one that could not be measured.
    """
    rates = {}
    for peer in (_STARLETTE, _FASTAPI, _FLASK):
        found = turns.figure(peer.title, lambda result: result.rate)
        if isinstance(found, Missing):
            raise Faulty(f"which is the fastest is not known: {found.why}")
        rates[peer.title] = found.median
    return max(rates, key=rates.__getitem__)


def _bars(turns: Turns[Result]) -> list[tuple[str, float]]:
    ratios = {title: _throughput(turns, title, BARE.title) for title in turns.results}
    return [(title, found.median) for title, found in ratios.items() if isinstance(found, Figure)]


def _row(turns: Turns[Result], title: str, connections: int) -> list[str]:
    names = (title, str(connections))
    if title in turns.faults:
        return without_figure(names, turns.faults[title], len(_HEADINGS))
    by_cpu = turns.compare(title, BARE.title, lambda one, bare: bare.cpu / one.cpu)
    ratios = (told(_throughput(turns, title, BARE.title)), told(by_cpu))
    return [*names, *_cells(turns.results[title], ratios)]


def _cells(found: Sequence[Result], ratios: tuple[str, str]) -> list[str]:
    def median(value: Callable[[Result], float]) -> float:
        return statistics.median(map(value, found))

    return [
        f"{median(lambda one: one.rate):,.0f}",
        *ratios,
        f"{median(lambda one: one.p50):.2f}",
        f"{median(lambda one: one.p99):.2f}",
        f"{median(lambda one: one.p999):.2f}",
        f"{median(lambda one: one.cpu):.0f}",
        f"{median(lambda one: one.memory):.0f}",
        f"{sum(one.events for one in found):,}",
        f"{median(lambda one: one.catch_up):.2f}",
    ]


# --- at a share of its capacity --------------------------------------------------------------


def _at_its_share(server: Server | Faulty, extent: Extent, tell: Tell) -> Turns[Result]:
    """Find the capacity, and at once load the server with its share of that, turn by turn."""
    load = Load(seconds=2)
    capacity = 0.0

    def whole() -> Result:
        nonlocal capacity
        found = put_load(server, load)
        capacity = found.asked
        return found

    def paced() -> Result:
        if not capacity:
            raise Faulty("its capacity is not known")
        return put_load(server, attrs.evolve(load, rate=capacity * _SHARE))

    step = telling(tell, f"at {_SHARE:.0%} of its capacity")
    return take_turns({WHOLE: whole, PACED: paced}, extent.turns, step)


def _paced_p99(turns: Turns[Result]) -> Measured:
    """Return the latency, unless the load was not what it should have been."""
    achieved = turns.compare(PACED, WHOLE, lambda paced, whole: paced.asked / whole.asked)
    if isinstance(achieved, Missing):
        return achieved
    if abs(achieved.median / _SHARE - 1) > _TOLERANCE:
        return Missing(f"the load was {achieved.median:.0%} of the capacity")
    return turns.figure(PACED, lambda result: result.p99)


def _paced_row(turns: Turns[Result]) -> list[str]:
    names = (f"{DURABLE.title}, at {_SHARE:.0%} of its capacity", "64")
    measured = _paced_p99(turns)
    if isinstance(measured, Missing):
        return without_figure(names, measured.why, len(_HEADINGS))
    return [*names, *_cells(turns.results[PACED], ("", ""))]
