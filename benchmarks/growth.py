"""What growth does: of the journal, the subscribers, the bodies, the conversations."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path

import attrs

from benchmarks import backlog
from benchmarks.bodies import texts
from benchmarks.contenders import Contender, Server, all_running, running
from benchmarks.figures import Faulty, Figure, Measure, Measured
from benchmarks.load import Load, Result, introduce, put_load
from benchmarks.progress import Tell, telling
from benchmarks.report import Table, told, without_figure
from benchmarks.turns import Extent, Turns, take_turns
from bridge.adapter import Verified
from bridge.adapter.signing import Secret
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.journal.sqlite import SqliteJournal

_TOGETHER = 1000
_FEW_TURNS = 3  # where nothing is asked of a figure
_EMPTY = Contender(title="no events at first, 1 subscriber", journal="sqlite")
_TEN = Contender(title="10 subscribers", journal="sqlite", subscribers=10)
_HUNDRED = Contender(title="100 subscribers", journal="sqlite", subscribers=100)
_BATCHES = Contender(title="batches", journal="sqlite")
_BATCH_SIZES = (1, 10, 100, 1000)
_USERS = (100, 10_000)
_HEADINGS = (
    "what",
    "messages per second",
    "x one subscriber, empty",
    "p50 ms",
    "p99 ms",
    "MiB",
)


@attrs.frozen
class _Grown:
    """What a load brought, with so many messages in each request."""

    result: Result
    items: int

    @property
    def messages(self) -> float:
        """Messages per second."""
        return self.result.rate * self.items


def measure(directory: Path, extent: Extent, tell: Tell) -> list[Table]:
    """Measure each growth against an empty journal with one subscriber, in the same turn."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="journal-") as folder:
        path, again = Path(folder) / "large.db", Path(folder) / "small.db"
        tell(f"filling a journal with {extent.large:,} events")
        asyncio.run(_fill(path, extent.large))
        asyncio.run(_fill(again, backlog.small_size(extent)))
        filled = Contender(
            title=f"{extent.large:,} events, 1 subscriber", journal="sqlite", path=path
        )
        starts = _starts(directory, filled, extent, tell)
        small = attrs.evolve(filled, path=again)
        had = backlog.measure(directory, filled, small, extent, tell)
        asked = _asked(directory, filled, extent, tell)
    others = _others(directory, extent, tell)
    table = Table(
        name="growth",
        title="Growth",
        note=(
            "Each against one subscriber with a journal that was empty at first, in the same turn; "
            f"messages, not requests; the median of {extent}, or of {_FEW_TURNS} at most where "
            "nothing is asked. Memory is the server's at the end; before conversations are "
            "measured, each has had a message."
        ),
        headings=_HEADINGS,
        rows=[*_rows(asked), *_rows(others)],
        figures={
            Measure.FILLED_TO_EMPTY: _ratio(asked, filled.title),
            Measure.TEN_TO_ONE: _ratio(asked, _TEN.title),
        },
        bars=[
            (f"bridge: {title}", found.median)
            for turns in (asked, others)
            for title in turns.results
            if title != _EMPTY.title and isinstance(found := _ratio(turns, title), Figure)
        ],
        axis="messages per second, as a share of one subscriber with an empty journal",
    )
    return [table, _start_table(starts), backlog.lay_out(had, extent)]


async def _fill(path: Path, size: int) -> None:
    """Make a journal that holds so many messages, as the adapter reads them."""
    adapter = WhatsApp("whatsapp", WhatsAppSettings(app_secrets=(Secret("unused"),)))
    now = datetime.now(UTC)
    async with SqliteJournal(path) as journal:
        for body in islice(texts(_TOGETHER), size // _TOGETHER):
            await journal.append(adapter.parse(Verified(payload=body, received_at=now)).events)


def _starts(directory: Path, filled: Contender, extent: Extent, tell: Tell) -> Turns[float]:
    def start(contender: Contender) -> float:
        with running(contender, directory) as server:
            return server.started_in

    tasks = {each.title: partial(start, each) for each in (_EMPTY, filled)}
    return take_turns(tasks, extent.at_most(_FEW_TURNS).turns, telling(tell, "starting"))


def _asked(directory: Path, filled: Contender, extent: Extent, tell: Tell) -> Turns[_Grown]:
    """Measure what something is asked of."""
    with all_running((_EMPTY, filled, _TEN), directory) as servers:
        tasks = {each.title: _loading(server, Load()) for each, server in servers.items()}
        return take_turns(tasks, extent.turns, tell, warm_up=extent.warm_up)


def _others(directory: Path, extent: Extent, tell: Tell) -> Turns[_Grown]:
    conversations = {
        users: Contender(title=f"{users:,} conversations", journal="sqlite")
        for users in sorted({*_USERS, extent.users})
    }
    contenders = (_EMPTY, _HUNDRED, _BATCHES, *conversations.values())
    with all_running(contenders, directory) as servers:
        faults = {}
        for users, contender in conversations.items():
            tell(f"introducing {users:,} users")
            try:
                introduce(servers[contender], users)
            except Faulty as fault:
                faults[contender.title] = str(fault)
        load = Load()
        tasks = {each.title: _loading(servers[each], load) for each in (_EMPTY, _HUNDRED)}
        for items in _BATCH_SIZES:
            batches = attrs.evolve(load, items=items, connections=64 if items < 100 else 8)
            tasks[f"messages in each body: {items:,}"] = _loading(servers[_BATCHES], batches)
        for users, contender in conversations.items():
            spoken = attrs.evolve(load, users=users)
            tasks[contender.title] = _loading(servers[contender], spoken)
        return take_turns(tasks, extent.at_most(_FEW_TURNS).turns, tell, faults=faults)


def _loading(server: Server | Faulty, load: Load) -> Callable[[], _Grown]:
    return lambda: _Grown(put_load(server, load), load.items)


def _ratio(turns: Turns[_Grown], title: str) -> Measured:
    return turns.ratio(title, _EMPTY.title, lambda grown: grown.messages)


def _rows(turns: Turns[_Grown]) -> list[list[str]]:
    rows = []
    for title, found in turns.results.items():
        if title in turns.faults:
            rows.append(without_figure((title,), turns.faults[title], len(_HEADINGS)))
            continue
        rows.append(
            [
                title,
                f"{statistics.median(grown.messages for grown in found):,.0f}",
                "" if title == _EMPTY.title else told(_ratio(turns, title)),
                f"{statistics.median(grown.result.p50 for grown in found):.2f}",
                f"{statistics.median(grown.result.p99 for grown in found):.2f}",
                f"{found[-1].result.memory:.0f}",
            ]
        )
    return rows


def _start_table(starts: Turns[float]) -> Table:
    headings = ("a journal with", "seconds")
    rows = []
    for title, found in starts.results.items():
        if title in starts.faults:
            rows.append(without_figure((title,), starts.faults[title], len(headings)))
        else:
            rows.append([title, f"{statistics.median(found):.2f}"])
    return Table(
        name="starting",
        title="Starting",
        note="From the command until connections are taken, which includes Python's own start.",
        headings=headings,
        rows=rows,
    )
