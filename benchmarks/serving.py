"""End to end over HTTP: the bridge beside bare aiohttp and pywa's servers."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.load import Contender, Faulty, Result, put_load, running
from benchmarks.report import Table

BARE = Contender(title="bare aiohttp and uvloop", name="bare")
DURABLE = Contender(title="bridge, SQLite, 1 subscriber", journal="sqlite")
_CONTENDERS = (
    BARE,
    Contender(title="bare aiohttp, signature checked", name="bare-signed"),
    Contender(title="bridge, memory, 1 subscriber", journal="memory"),
    DURABLE,
    Contender(title="bridge, SQLite, 10 subscribers", journal="sqlite", subscribers=10),
    Contender(title="pywa on Starlette", name="pywa-starlette"),
    Contender(title="pywa on Starlette, unsigned", name="pywa-starlette-unsigned"),
    Contender(title="pywa on FastAPI", name="pywa-fastapi"),
    Contender(title="pywa on FastAPI, unsigned", name="pywa-fastapi-unsigned"),
    Contender(title="pywa on Flask and waitress", name="pywa-flask"),
    Contender(title="pywa on Flask and waitress, unsigned", name="pywa-flask-unsigned"),
)
_FEW = (BARE, DURABLE)
_HEADINGS = (
    "server",
    "connections",
    "per second",
    "x bare",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "CPU µs per request",
    "MiB",
    "events handled",
    "caught up after s",
)
_SHARE = 0.7


def measure(directory: Path, *, short: bool) -> Table:
    """Measure every contender in turns; a ratio is to the bare server of the same turn."""
    seconds, turns = (1, 1) if short else (5, 3)
    rows, bars = [], []
    durable: list[Result] = []
    for connections, contenders in ((64, _CONTENDERS), (256, _FEW), (1, _FEW)):
        results: dict[Contender, list[Result]] = {contender: [] for contender in contenders}
        faults: dict[Contender, str] = {}
        for _ in range(turns):
            for contender in contenders:
                if contender not in faults:
                    try:
                        with running(contender, directory) as server:
                            results[contender].append(
                                put_load(server, seconds=seconds, connections=connections)
                            )
                    except Faulty as fault:
                        faults[contender] = str(fault)
        for contender in contenders:
            if contender in faults or BARE in faults:
                why = faults.get(contender, "no ceiling to compare with")
                rows.append([contender.title, str(connections), "no figure: " + why] + [""] * 8)
                continue
            found = results[contender]
            ratio = _ratio(found, results[BARE])
            rows.append(_row(contender.title, connections, found, f"{ratio:.2f}"))
            if connections == 64:
                bars.append((contender.title, ratio))
                if contender is DURABLE:
                    durable = found
    if durable:
        rows.append(_paced(directory, statistics.median(r.rate for r in durable), seconds))
    return Table(
        name="serving",
        title="End to end over HTTP",
        note=(
            "The server has one core and the load (wrk) another. Each ratio is to the bare server "
            "in the same turn, in the median of the turns. Every body is another message, and its "
            "signature is right. No figure stands where a request failed or an event went missing. "
            "pywa answers before it handles, and keeps nothing."
        ),
        headings=_HEADINGS,
        rows=rows,
        bars=bars,
        axis="requests per second, as a share of bare aiohttp (more is better)",
    )


def _ratio(found: list[Result], bare: list[Result]) -> float:
    return statistics.median(one.rate / base.rate for one, base in zip(found, bare, strict=True))


def _row(title: str, connections: int, found: list[Result], ratio: str) -> list[str]:
    def median(name: str) -> float:
        return statistics.median(getattr(result, name) for result in found)

    return [
        title,
        str(connections),
        f"{median('rate'):,.0f}",
        ratio,
        f"{median('p50'):.2f}",
        f"{median('p99'):.2f}",
        f"{median('p999'):.2f}",
        f"{median('cpu'):.0f}",
        f"{median('memory'):.0f}",
        f"{sum(result.events for result in found):,}",
        f"{median('catch_up'):.2f}",
    ]


def _paced(directory: Path, capacity: float, seconds: int) -> list[str]:
    """Measure the durable bridge at a share of its own capacity."""
    title = f"{DURABLE.title}, at {_SHARE:.0%} of its capacity"
    try:
        with running(DURABLE, directory) as server:
            # What the answer itself takes comes on top of the pause, so a first try tells it.
            pause = 64 / (capacity * _SHARE) * 1000
            trial = put_load(server, seconds=1, pause=pause)
            result = put_load(
                server, seconds=max(2, seconds), pause=max(1.0, pause - trial.p50), warm_up=0
            )
    except Faulty as fault:
        return [title, "64", f"no figure: {fault}"] + [""] * 8
    return _row(title, 64, [result], "")
