"""What growth does: of the journal, the subscribers, the bodies, the conversations, the backlog."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from adapters.whatsapp import WhatsApp, WhatsAppSettings
from benchmarks.bodies import texts
from benchmarks.load import Contender, Faulty, Result, put_load, running
from benchmarks.report import Table
from bridge.adapter import Verified
from bridge.journal.sqlite import SqliteJournal
from bridge.signing import Secret

_TOGETHER = 1000
_PATIENCE = 600.0  # seconds


def measure(directory: Path, *, short: bool, rows: int | None) -> Table:
    """Measure each growth against its own beginning."""
    seconds = 1 if short else 4
    sizes = [rows] if rows else [50_000] if short else [1_000_000]
    lines: list[list[str]] = []
    empty = _try(
        lines, directory, Contender(title="empty", journal="sqlite"), "empty journal", seconds
    )
    for size in sizes:
        filled = directory / f"journal-{size}.db"
        try:
            _fill(filled, size)
            contender = Contender(title=f"{size:,} events", journal="sqlite", filled=filled)
            _try(
                lines, directory, contender, f"{size:,} events in the journal", seconds, empty=empty
            )
            lines.append(_catch_up(directory, filled, size))
        finally:
            for name in directory.glob(f"{filled.name}*"):
                name.unlink(missing_ok=True)
    for subscribers in (10,) if short else (10, 100):
        title = f"{subscribers} subscribers"
        contender = Contender(title=title, journal="sqlite", subscribers=subscribers)
        _try(lines, directory, contender, title, seconds, empty=empty)
    contender = Contender(title="batches", journal="sqlite")
    for items in (10, 100) if short else (10, 100, 1000):
        _try(
            lines,
            directory,
            contender,
            f"bodies of {items:,} messages",
            seconds,
            empty=empty,
            items=items,
        )
    for users in (100, 100_000):
        title = f"{users:,} conversations"
        _try(lines, directory, contender, title, seconds, empty=empty, users=users)
    return Table(
        name="growth",
        title="Growth",
        note="Each against the empty journal with one subscriber; messages, not requests.",
        headings=(
            "what",
            "messages per second",
            "x empty",
            "p50 ms",
            "p99 ms",
            "MiB",
            "started in s",
        ),
        rows=lines,
    )


def _try(
    lines: list[list[str]],
    directory: Path,
    contender: Contender,
    title: str,
    seconds: int,
    *,
    empty: Result | None = None,
    items: int = 1,
    users: int = 5000,
) -> Result | None:
    try:
        with running(contender, directory) as server:
            connections = 64 if items < 100 else 8
            found = put_load(
                server, seconds=seconds, items=items, users=users, connections=connections
            )
            started = server.started_in
    except Faulty as fault:
        lines.append([title, f"no figure: {fault}"] + [""] * 5)
        return None
    ratio = f"{found.rate * items / empty.rate:.2f}" if empty is not None else ""
    lines.append(
        [
            title,
            f"{found.rate * items:,.0f}",
            ratio,
            f"{found.p50:.2f}",
            f"{found.p99:.2f}",
            f"{found.memory:.0f}",
            f"{started:.2f}",
        ]
    )
    return found


def _fill(path: Path, size: int) -> None:
    """Make a journal that holds so many messages, as the adapter reads them."""
    adapter = _adapter()
    now = datetime.now(UTC)

    async def fill() -> None:
        async with SqliteJournal(path) as journal:
            for body in islice(texts(_TOGETHER), size // _TOGETHER):
                await journal.append(adapter.parse(Verified(payload=body, received_at=now)).events)

    asyncio.run(fill())


def _catch_up(directory: Path, filled: Path, size: int) -> list[str]:
    """Measure how fast a new subscriber gets everything, against parsing the same alone."""
    adapter = _adapter()
    now = datetime.now(UTC)
    bodies = [Verified(payload=body, received_at=now) for body in islice(texts(), 10_000)]
    began = time.perf_counter()
    for body in bodies:
        adapter.parse(body)
    parsing = len(bodies) / (time.perf_counter() - began)
    contender = Contender(title="catch-up", journal="sqlite", filled=filled, start="beginning")
    try:
        with running(contender, directory) as server:
            began = time.perf_counter()
            already = server.handled()[0]
            while server.handled()[0] < size:
                if time.perf_counter() - began > _PATIENCE:
                    raise Faulty(f"{size - server.handled()[0]} events are missing")  # noqa: TRY301
                time.sleep(0.005)
            rate = (size - already) / (time.perf_counter() - began)
            memory = server.memory()
    except Faulty as fault:
        return [f"catch-up of {size:,} events", f"no figure: {fault}"] + [""] * 5
    title = f"catch-up of {size:,} events (x parsing alone)"
    return [title, f"{rate:,.0f}", f"{rate / parsing:.2f}", "", "", f"{memory:.0f}", ""]


def _adapter() -> WhatsApp:
    return WhatsApp("whatsapp", WhatsAppSettings(app_secrets=(Secret("unused"),)))
