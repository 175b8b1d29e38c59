"""A journal of several machines beside the one in SQLite: catching up, taking in, delivering."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import attrs
import psycopg

from benchmarks.appending import append_in_processes, fill, journal_at
from benchmarks.backlog import follow
from benchmarks.broker import broker, cluster
from benchmarks.contenders import Contender, all_running, running
from benchmarks.figures import Faulty
from benchmarks.load import Load, put_load
from benchmarks.progress import Tell, telling
from benchmarks.report import Table, told, without_figure
from benchmarks.turns import Extent, T, Turns, take_turns
from bridge.errors import JournalError

_SQLITE = "SQLite"
_POSTGRES = "postgresql:"
_CALLERS = 64
_BACKLOG = 20_000
_FEW_TURNS = 2  # nothing is asked of these figures
_HEADINGS = ("what", "journal", "per second", "x SQLite", "p50 ms", "p99 ms")


@attrs.frozen(kw_only=True)
class Shared:
    """The servers of one kind: each is started by its title and gives an address."""

    name: str
    title: str
    servers: Mapping[str, Callable[[Path], AbstractContextManager[str]]]
    note: str = ""


NATS = Shared(
    name="nats",
    title="NATS JetStream",
    servers={
        "NATS, default sync": partial(broker, sync="2m"),
        "NATS, sync always": partial(broker, sync="always"),
    },
)
POSTGRES = Shared(
    name="postgres",
    title="PostgreSQL",
    servers={"PostgreSQL": cluster},
    note=" With effects, it wrote a row for each in the transaction of its progress.",
)


def measure(shared: Shared, directory: Path, extent: Extent, tell: Tell) -> Table:
    """Measure each in turns with SQLite."""
    extent = extent.at_most(_FEW_TURNS)
    backlog = min(_BACKLOG, extent.large // 10)
    with (
        tempfile.TemporaryDirectory(dir=directory, prefix="journal-") as name,
        ExitStack() as stack,
    ):
        folder = Path(name)
        places = {_SQLITE: str(folder / "journal.db")}
        try:
            for title, start in shared.servers.items():
                places[title] = stack.enter_context(start(folder / title))
            for title, place in places.items():
                tell(f"filling {title}")
                asyncio.run(_fill(place, backlog))
        except (Faulty, JournalError, RuntimeError) as fault:
            rows = [without_figure(("",), str(fault), len(_HEADINGS))]
        else:
            rows = [
                *_catch_up(directory, places, backlog, extent, telling(tell, "catching up")),
                *_take_in(places, extent, telling(tell, "taking in")),
                *_deliver(directory, places, extent, telling(tell, "delivering")),
            ]
    return Table(
        name=shared.name,
        title=shared.title,
        note=(
            f"One server on this machine, with no core of its own; in {extent}, each "
            f"beside SQLite in the same one. Catching up: a new subscriber and {backlog:,} "
            f"events. Taking in: {_CALLERS} callers in each process for {extent.appending} s, the "
            "latencies are those of the process that has the worst. Delivering: over HTTP, 64 "
            "connections, the signature checked, and a subscriber who got every event."
            + shared.note
        ),
        headings=_HEADINGS,
        rows=rows,
    )


def _catch_up(
    directory: Path, places: Mapping[str, str], backlog: int, extent: Extent, tell: Tell
) -> list[list[str]]:
    late = 0

    def catch_up(title: str, place: str) -> float:
        nonlocal late
        late += 1  # who has had the events does not get them again, so somebody else begins
        contender = _contender(title, place, subscriber=f"late{late}-", start="beginning")
        with running(contender, directory) as server:
            return follow(server, backlog).rate

    tasks = {title: partial(catch_up, title, place) for title, place in places.items()}
    found = take_turns(tasks, extent.turns, tell)
    return [_row("catching up", title, found, lambda rate: (rate,)) for title in places]


async def _fill(place: str, backlog: int) -> None:
    async with journal_at(place) as journal:
        await fill(journal, backlog)


def _take_in(places: Mapping[str, str], extent: Extent, tell: Tell) -> list[list[str]]:
    append = partial(append_in_processes, callers=_CALLERS, seconds=extent.appending)
    tasks = {_SQLITE: partial(append, places[_SQLITE], processes=1)}
    for title in (title for title in places if title != _SQLITE):
        tasks[f"{title}, 1 process"] = partial(append, places[title], processes=1)
        tasks[f"{title}, 2 processes"] = partial(append, places[title], processes=2)
    found = take_turns(tasks, extent.turns, tell)
    return [
        _row("taking in", name, found, lambda one: (one.rate, one.p50, one.p99)) for name in tasks
    ]


def _deliver(
    directory: Path, places: Mapping[str, str], extent: Extent, tell: Tell
) -> list[list[str]]:
    contenders = {title: _contender(title, place) for title, place in places.items()}
    for title, place in places.items():
        if place.startswith(_POSTGRES):
            contenders[f"{title}, with effects"] = _with_effects(contenders[title], place)
            tell(f"filling {title} with {extent.large:,} events")
            asyncio.run(_fill(f"{place}#full", extent.large))
            contenders[f"{title}, {extent.large:,} events"] = attrs.evolve(
                contenders[title], settings=f'{contenders[title].settings}\nschema = "full"'
            )
    with all_running(list(contenders.values()), directory) as servers:
        load = Load()
        tasks = {
            title: partial(put_load, servers[contender], load)
            for title, contender in contenders.items()
        }
        found = take_turns(tasks, extent.turns, tell)
    return [
        _row("delivering", title, found, lambda one: (one.rate, one.p50, one.p99))
        for title in contenders
    ]


def _with_effects(contender: Contender, place: str) -> Contender:
    """Return one whose subscriber writes a row with each event, in the same transaction."""
    with psycopg.connect(place) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS effects (key text)")
    return attrs.evolve(
        contender,
        title=f"{contender.title}, with effects",
        settings=f'{contender.settings}\nschema = "with_effects"',
        function="effect",
        options="transaction = true",
    )


def _contender(title: str, place: str, *, subscriber: str = "s", start: str = "end") -> Contender:
    if title == _SQLITE:
        return Contender(
            title=title, journal="sqlite", path=Path(place), subscriber=subscriber, start=start
        )
    engine, settings = "nats", f'[journal.nats]\nservers = ["{place}"]\nsynced = true'
    if place.startswith(_POSTGRES):
        engine, settings = "postgres", f'[journal.postgres]\ndsn = "{place}"'
    return Contender(
        title=title, journal=engine, settings=settings, subscriber=subscriber, start=start
    )


def _row(
    what: str, name: str, turns: Turns[T], figures: Callable[[T], tuple[float, ...]]
) -> list[str]:
    """Lay out a rate and, where there are any, latencies."""
    if name in turns.faults:
        return without_figure((what, name), turns.faults[name], len(_HEADINGS))
    rate, *latencies = (
        statistics.median(column) for column in zip(*map(figures, turns.results[name]), strict=True)
    )
    ratio = turns.ratio(name, _SQLITE, lambda one: figures(one)[0])
    cells = [what, name, f"{rate:,.0f}", told(ratio), *(f"{one:.2f}" for one in latencies)]
    return cells + [""] * (len(_HEADINGS) - len(cells))
