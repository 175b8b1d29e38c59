"""The journal that `bridge serve` keeps, and embedders too: a file, and no server to install.

An append is one item of the writer's next group commit and returns when that is on disk. The newest
entries are also in memory, so that a subscriber who keeps up reads nothing from disk; one who lags
reads on a connection of its own, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import apsw
import attrs
import orjson

from bridge.errors import JournalError
from bridge.journal.dialect import Dialect, Row
from bridge.journal.ephemeral import EphemeralCursor
from bridge.journal.erasure import Subject
from bridge.journal.ledger import Record
from bridge.journal.overlay import digest
from bridge.journal.protocol import Appended, Cursor, Entry, Health, Start
from bridge.journal.sql import SqlJournal
from bridge.journal.sqlite import entries
from bridge.journal.sqlite.backup import copy
from bridge.journal.sqlite.cursor import SubscriberCursor
from bridge.journal.sqlite.files import Files
from bridge.journal.sqlite.ledger import forget_records
from bridge.journal.sqlite.retention import used_size
from bridge.journal.sqlite.schema import lacking
from bridge.journal.sqlite.store import Store
from bridge.journal.sqlite.writer import FULL, Erase, Learn, Sweep
from bridge.journal.states import State
from bridge.model import Unrecognized
from bridge.settings import JournalSettings

T = TypeVar("T")

_OVERWRITES_WITHIN: Final = 30.0  # seconds
_PAUSE: Final = 0.05  # seconds
_DIALECT: Final = Dialect(
    cursors=(
        "(SELECT name AS subscriber, max(position, ifnull("
        "(SELECT value FROM json_each(:progress) WHERE key = name), 0)) AS position "
        "FROM subscribers)"
    ),
    serves="true",
    forget="DELETE FROM subscribers WHERE name = :subscriber",
    copied=("lane",),
    notes=("dead",),
    reparsed="mended",
    among="IN (SELECT value FROM json_each(:positions))",
    holds="instr(event, {})",
    records=(
        "SELECT position, track FROM tracks WHERE position > :after AND track IS NOT NULL "
        "ORDER BY position LIMIT :page"
    ),
    before_records=0,
    no_lane="NULL",
    # Left to itself, SQLite goes over everything that the subscriber holds, as that is in order.
    by_lane="INDEXED BY held_by_lane",
)


@attrs.define(eq=False, slots=False, on_setattr=attrs.setters.NO_OP)
class SqliteJournal(Store, SqlJournal):
    """Keeps events in one SQLite file; what `append` returned for survives power loss.

    Events and keys are kept for `keep` seconds, and longer while a subscriber is not done with
    them, up to `absolute_limit`. Over `max_size` bytes (0: no limit) the oldest events that
    everyone is done with go early, their keys stay; where nothing can go, `append` raises.
    Below `min_free_space` bytes on the disk, the journal is not ready.

    `busy_timeout` is how long another program may lock the file before appends fail,
    `check_for` how many seconds opening may spend on checking a large file, and
    `max_waiting` how many events may queue for the disk. `max_group` bounds one commit,
    `tail` how many of the newest events stay in memory, and `keys_in_memory` how many of the
    newest keys wait there before they are merged into the file's index of keys. What entries tell
    of users' windows is not in the records of the users for `windows_over` entries at most.
    `clock` and `vfs` are for tests.

    `set_aside` names the damaged file, if one was found on opening and set aside.
    """

    durable = True
    _dialect = _DIALECT

    @classmethod
    def from_settings(cls, settings: JournalSettings, **_local: object) -> Self:
        """See `JournalClass.from_settings`."""
        return cls(
            settings.path,
            keep=settings.keep,
            max_size=settings.max_size,
            absolute_limit=settings.absolute_limit,
            min_free_space=settings.min_free_space,
        )

    @property
    def location(self) -> str:
        """See `Journal.location`."""
        return f"sqlite in {self._path}"

    # --- opening and closing ---------------------------------------------------------------

    def backup(self, target: Path) -> None:
        """See `FileJournal.backup`."""
        files = Files(self._path)
        if not files.database.exists():
            raise JournalError(f"{self._path} does not exist")
        if not files.is_open_here:
            files.check_kind()
        with ExitStack() as connections:
            copy(self._connect(files, connections), target, check="integrity_check")

    async def __aenter__(self) -> Self:
        """Open; a damaged file is set aside, which the log and `health` say."""
        self._where = self._path.absolute()
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what is queued, and close; readers that still wait get a `JournalError`."""
        self._cursors.by_name.clear()
        await self._end()

    # --- subscribers -----------------------------------------------------------------------

    async def subscribe(self, name: str, *, start: Start = Start.END) -> Cursor:
        """See `Journal.subscribe`."""
        cursors = self._cursors
        cursor = cursors.by_name.get(name)
        if cursor is None:
            position = await self.writing(_join, name, self._begin(start))
            # Somebody else may have asked for the same name meanwhile.
            cursor = cursors.by_name.setdefault(
                name, SubscriberCursor(self, cursors, name, position)
            )
        cursor.rewind(await self.reading(_held_beyond, name, cursor.position))
        return cursor

    async def follow(self, *, start: Start | int = Start.END) -> Cursor:
        """See `Journal.follow`."""
        self.running()
        return EphemeralCursor(self._begin(start), self._cursors.tail.next_after)

    def _begin(self, start: Start | int) -> int:
        self.running()
        if isinstance(start, int):
            return start
        return self._cursors.tail.last if start is Start.END else 0

    async def forget(self, name: str) -> bool:
        """See `Journal.forget`."""
        self._cursors.forget(name)
        return await super().forget(name)

    async def find(self, key: str) -> Entry | None:
        """See `Journal.find`."""
        name = digest(key)
        position = self.running().indexes.keys.position(name)
        newest = None if position is None else self._cursors.tail.at(position)
        if newest is not None and not isinstance(newest.event, Unrecognized):
            return newest  # as in the file, where only what is not recognized gets a mark
        return await self.reading(entries.find, name, position)

    async def record(self, name: str) -> Record | None:
        """See `Journal.record`."""
        return await self.looked_up(digest(name))

    async def learn(self, digests: Sequence[bytes]) -> None:
        """See `Journal.learn`."""
        done: asyncio.Future[Appended] = self._loop.create_future()
        self.running().put(Learn(done=done, digests=digests))
        await done

    async def write_state(self, state: State) -> None:
        """See `Journal.write_state`; a journal over `max_size` takes none."""
        if self._max_size and await self.reading(used_size) > self._max_size:
            raise JournalError(FULL.format(self._max_size))
        await super().write_state(state)

    # --- statements ------------------------------------------------------------------------

    async def _rows(
        self, statement: str, make: Callable[[Row], T], **values: object
    ) -> tuple[T, ...]:
        return await self.reading(_rows, statement, make, self._bound(statement, values))

    async def _change(self, *statements: str, **values: object) -> int:
        values = self._bound(statements[0], values)
        return await self.writing(_change, statements, values)

    def _bound(self, statement: str, values: Mapping[str, object]) -> dict[str, object]:
        """Return values as SQLite takes them, and how far subscribers are where it is asked."""
        if ":progress" in statement:  # which may not have been written yet
            values = {**values, "progress": self._cursors.positions()}
        return {
            name: orjson.dumps(value).decode() if isinstance(value, list | dict) else value
            for name, value in values.items()
        }

    def _now(self) -> float:
        return self._clock()

    # --- keeping house -------------------------------------------------------------------

    async def purge(self, subject: str) -> int:
        """See `Journal.purge`."""
        await self._chore(self.running().write_windows)  # each tells of somebody
        return await super().purge(subject)

    async def _erase_waiting(self, whom: Subject) -> int:
        done: asyncio.Future[int] = self._loop.create_future()
        self.running().put(Erase(done=done, subject=whom))
        return await done

    async def _forget_records(self, marks: Sequence[int]) -> None:
        writer = self.running()
        await self.writing(forget_records, writer.indexes, writer.records, marks)

    async def _overwrite(self) -> None:
        """Leave nothing of what was erased in the file or in its WAL, once nobody reads there."""
        self._cursors.tail.clear()
        until = self._loop.time() + _OVERWRITES_WITHIN
        while not await self._chore(self._truncate_wal):
            if self._loop.time() > until:
                raise JournalError(
                    "what was erased is still in the journal's log, since something reads it, such "
                    "as a backup: purge again when that has ended"
                )
            await asyncio.sleep(_PAUSE)

    def _truncate_wal(self, connection: apsw.Connection) -> bool:
        """Return whether the log is empty; where somebody reads, appends do not wait for that."""
        connection.set_busy_timeout(0)
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            return False
        finally:
            connection.set_busy_timeout(int(self._busy_timeout * 1000))
        return True

    @property
    def commits(self) -> int:
        """How many transactions have been committed since the journal was opened."""
        return self.running().commits

    def checkpoint_soon(self) -> None:
        """Copy the write-ahead log into the database now, rather than when it has grown."""
        self.running().checkpoint_due.set()

    async def retain(self) -> None:
        """Go over the journal now, deleting what need not be kept, and return when done."""
        writer = self.running()
        sweep = Sweep(self._loop.create_future())
        writer.put(sweep)
        await sweep.done

    async def health(self) -> Health:
        """See `Journal.health`; after a failure a rehearsal tells whether the disk is back."""
        size = free = None
        try:
            free = shutil.disk_usage(self._where.parent).free
            if (trouble := await self._trouble_now()) is not None:
                return self._health(trouble)
            writer = self.running()
            if (gone := await self.reading(lacking)) is not None:
                return self._health(gone)
            size = await self.reading(used_size)
            if writer.fault is not None:
                await self._chore(writer.rehearse)
            if self._max_size and size > self._max_size:
                await self._chore(writer.sweep_soon)  # a subscriber may have made room
                return self._health(FULL.format(self._max_size), size, free)
        except JournalError as error:
            return self._health(str(error), size, free)
        except OSError as error:
            return self._health(f"the disk cannot be asked: {error.strerror}")
        if free < self._min_free_space:
            return self._health(f"only {free} bytes are free on the disk", size, free)
        return self._health(None, size, free)

    def _health(
        self, trouble: str | None, size: int | None = None, free: int | None = None
    ) -> Health:
        aside: Sequence[Path] = ()
        try:
            if self._opened is not None:
                aside = self._opened.files.aside()
        except OSError as error:  # for example where no file descriptor is left
            trouble = trouble or f"the journal's folder cannot be listed: {error.strerror}"
        names = ", ".join(path.name for path in aside)
        return Health(
            ready=trouble is None,
            reason=trouble or (f"set aside, and not moved away since: {names}" if aside else None),
            set_aside=len(aside),
            losses=self.losses,
            deaths=self.deaths.count,
            size=size,
            free=free,
        )


def _rows(
    connection: apsw.Connection,
    statement: str,
    make: Callable[[Row], T],
    values: Mapping[str, Any],
) -> tuple[T, ...]:
    return tuple(make(row) for row in connection.execute(statement.replace("$.", ""), values))


def _change(
    connection: apsw.Connection, statements: Sequence[str], values: Mapping[str, Any]
) -> int:
    counts = []
    for statement in statements:
        connection.execute(statement.replace("$.", ""), values)
        counts.append(connection.changes())
    return counts[0]


def _join(connection: apsw.Connection, name: str, position: int) -> int:
    """Remember a subscriber, at this position if it is new; return where it is."""
    connection.execute("INSERT OR IGNORE INTO subscribers VALUES (?, ?)", (name, position))
    return int(connection.execute("SELECT position FROM subscribers WHERE name = ?", (name,)).get)


def _held_beyond(connection: apsw.Connection, name: str, position: int) -> Sequence[int]:
    return [
        held
        for (held,) in connection.execute(
            "SELECT position FROM held WHERE subscriber = ? AND position > ?", (name, position)
        )
    ]
