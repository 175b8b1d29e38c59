"""A PostgreSQL server whose disk is full, or that has no connection to give."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import psycopg
import pytest

from bridge.adapter.signing import Secret
from bridge.errors import ConfigurationError, JournalError
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.schema import check
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Appended, Start
from bridge.model import Message
from bridge.testing.sample_events import read
from tests.bridge.events import message
from tests.bridge.journal.postgres_servers import PostgresServer

FULL_DISK = Path(__file__).with_name("full_disk.c")
ROWS = 40  # far more than there is room for in the files as they are


@attrs.frozen
class Fullness:
    """Whether the server's disk is full."""

    flag: Path

    def begin(self, words: str) -> None:
        """Let no file grow with these words in its path."""
        self.flag.write_text(words)

    def end(self) -> None:
        """Let there be room."""
        self.flag.unlink()


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fullness]:
    """Return what can take the room from a server that is started now."""
    # The server may be another user, and to pytest's own folders it has no way.
    with TemporaryDirectory(prefix="bridge-full-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        library = folder / "full_disk.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, FULL_DISK, "-ldl"], check=True)
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("FULL_DISK", str(folder / "flag"))
        yield Fullness(folder / "flag")


@pytest.fixture
def server(full: Fullness) -> Iterator[PostgresServer]:
    with PostgresServer(synced=True) as server:
        yield server


def journal_on(server: PostgresServer, patience: float = 2) -> PostgresJournal:
    return PostgresJournal(PostgresSettings(dsn=Secret(server.dsn), patience=patience, poll=0.05))


def large(name: str) -> Message:
    return message(name, raw={"text": secrets.token_hex(50_000)})  # nothing compresses it much


async def test_the_disk_is_full(server: PostgresServer, full: Fullness) -> None:
    """Without room, an append is refused and says why; what was acknowledged is kept, once."""
    kept: list[str] = []
    async with journal_on(server) as journal:
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        await journal.append([large("m0")])
        full.begin("/base/")
        with pytest.raises(JournalError, match="No space left on device") as told:
            for n in range(1, ROWS):
                await journal.append([large(f"m{n}")])
                kept.append(f"m{n}")
        refused = f"m{len(kept) + 1}"
        appending = asyncio.create_task(journal.append([large(refused)]))
        await asyncio.sleep(0)
        full.end()
        assert await appending == Appended(published=1, duplicates=0)
        entries = await read(cursor, len(kept) + 2)
        assert (await journal.health()).ready
    assert "53100" in str(told.value)
    ids = [entry.event.message_id for entry in entries if isinstance(entry.event, Message)]
    assert ids == ["m0", *kept, refused]


async def test_the_log_has_no_room(server: PostgresServer, full: Fullness) -> None:
    """Where the write-ahead log has no room, the server stops; with room, all goes on."""
    async with journal_on(server) as journal:
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        await journal.append([message("a")])
        full.begin("/pg_wal/")
        with pytest.raises(JournalError, match="PostgreSQL"):
            for n in range(10):
                await journal.append([large(f"m{n}")])
                with suppress(RuntimeError):  # the server stops
                    server.sql("SELECT pg_switch_wal()")
        assert not (await journal.health()).ready
        full.end()
        server.restart()
        assert await journal.append([message("b")]) == Appended(published=1, duplicates=0)
        assert (await journal.append([message("a")])).duplicates == 1
        assert [entry.event.key for entry in await read(cursor, 1)] == [message("a").key]


async def start(journal: PostgresJournal) -> str:
    """Append what is known; return why it does not start, if so."""
    try:
        async with journal:
            assert (await journal.append([message("a")])).duplicates == 1
    except JournalError as error:
        return str(error)
    return ""


async def test_no_connection_is_free() -> None:
    """With `max_connections` in use, a bridge goes on with those that it has, and starts no other.

    What needs one more waits for it, up to `patience`.
    """
    with PostgresServer() as server, ExitStack() as others:
        async with journal_on(server, patience=5) as journal:
            await journal.append([message("a")])
            cursor = await journal.subscribe("crm", start=Start.BEGINNING)
            taken: list[psycopg.Connection[object]] = []
            with pytest.raises(psycopg.OperationalError, match="too many clients"):
                while True:
                    taken.append(others.enter_context(psycopg.connect(server.dsn)))
            assert (await journal.append([message("b")])).published == 1
            asked = asyncio.gather(*(journal.subscribers() for _ in range(8)))
            assert len(await read(cursor, 2)) == 2
            assert (await journal.health()).ready
            assert [len(each) for each in await asked] == [1] * 8
            second = journal_on(server)
            with pytest.raises(ConfigurationError, match="too many clients"):
                await asyncio.to_thread(check, second.settings)
            assert "too many clients" in await start(second)
            for each in taken[:3]:
                each.close()
            while why := await start(second):  # the server frees them a bit later
                assert "too many clients" in why


async def test_a_wrong_password(postgres: PostgresServer) -> None:
    """A password that the server refuses is said to be wrong, and is not shown."""
    postgres.sql("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'sesame'")
    postgres.ask_for_password("guarded")
    dsn = postgres.dsn.replace("user=postgres", "user=guarded")
    for password in ("open-wide", "sesame"):
        settings = PostgresSettings(dsn=Secret(f"{dsn} password={password}"), schema="guarded")
        journal = PostgresJournal(settings)
        if password == "sesame":
            async with journal:
                assert (await journal.append([message("a")])).published == 1
            continue
        with pytest.raises(ConfigurationError, match="password authentication failed") as told:
            await asyncio.to_thread(check, journal.settings)
        assert password not in str(told.value)
        with pytest.raises(JournalError, match="password authentication failed"):
            async with journal:
                pass
