"""The recipe for exactly once into a database holds whenever the process is killed."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from bridge import SqliteJournal
from bridge.journal.protocol import Start
from bridge.testing import sample
from tests.bridge.journal.postgres_servers import PostgresServer

ROOT = Path(__file__).parent.parent
EVENTS = 80
PATIENCE = 120

# Once it has counted some events it kills itself: before the next is counted, before the bridge
# knows of the last, or a moment later.
WORKER = """
import asyncio, inspect, os, signal, sys, threading
sys.path.insert(0, {examples!r})
import exactly_once
from bridge import Bridge, Message, SqliteJournal
from bridge.settings import DeliverySettings

count = exactly_once.{make}({where!r})
bridge = Bridge(journal=SqliteJournal({journal!r}))
enough, moment, done = int(sys.argv[1]), sys.argv[2], 0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

async def counting(event):
    global done
    if moment == "before the next" and done >= enough:
        die()
    await (count(event) if inspect.iscoroutinefunction(count) else asyncio.to_thread(count, event))
    done += 1
    if moment == "before it is known" and done >= enough:
        die()
    if moment == "later" and done == enough:
        threading.Timer(0.002, die).start()

bridge.on(Message, name="counter", policy=DeliverySettings(first_delay=0.01))(counting)

async def run():
    async with bridge:
        print("running", flush=True)
        await asyncio.Event().wait()

asyncio.run(run())
"""


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    """Give how the example is made, where the database is, and how to ask it."""
    if request.param == "sqlite":
        path = str(tmp_path / "shop.db")

        def ask(statement: str) -> list[tuple]:
            with closing(sqlite3.connect(path)) as connection:
                return connection.execute(statement).fetchall()

        yield "into_sqlite", path, ask
        return
    with PostgresServer() as server:

        def ask_postgres(statement: str) -> list[tuple]:
            with psycopg.connect(server.dsn) as connection:
                return connection.execute(statement).fetchall()

        yield "into_postgres", server.dsn, ask_postgres


def counted(ask: Callable[[str], list[tuple]]) -> dict[str, int]:
    try:
        return dict(ask("SELECT conversation, messages FROM spoken"))
    except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
        return {}  # the first process has not come so far


@pytest.mark.slow
def test_each_event_counts_once(database, tmp_path):
    """After kills at any moment each message has been counted, and none of them twice."""
    make, where, ask = database
    journal = tmp_path / "journal.db"
    phones = [f"+1650555{number:04}" for number in range(10)]
    events = [
        sample("incs/whatsapp-text", text=str(number), phone=phones[number % 10])
        for number in range(EVENTS)
    ]

    async def fill() -> None:
        async with SqliteJournal(journal) as opened:
            await opened.subscribe("counter", start=Start.BEGINNING)
            await opened.append(events)

    asyncio.run(fill())
    script = tmp_path / "worker.py"
    script.write_text(
        WORKER.format(examples=str(ROOT / "examples"), make=make, where=where, journal=str(journal))
    )
    chance = random.Random(18)
    kills = 0
    until = time.monotonic() + PATIENCE
    while sum(counted(ask).values()) < EVENTS:
        moment = chance.choice(["before the next", "before it is known", "later"])
        # Each may begin with all that the last ones counted, if none of that was known when they
        # were killed: so each lives longer.
        enough = chance.randint(10, 20) + 5 * kills
        command = [sys.executable, str(script), str(enough), moment]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE)
        while sum(counted(ask).values()) < EVENTS and worker.poll() is None:
            assert time.monotonic() < until
            with suppress(subprocess.TimeoutExpired):
                worker.wait(0.05)
        kills += worker.poll() == -signal.SIGKILL
        worker.kill()
        worker.communicate()
    assert kills >= 2
    expected = Counter(event.conversation.id for event in events)
    assert counted(ask) == expected
    assert len(ask("SELECT key FROM taken")) == EVENTS
