"""What a journal in PostgreSQL lets go of, and whether it is well."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import psycopg

from bridge.errors import JournalError
from bridge.journal.postgres.database import Away, Database, told
from bridge.journal.postgres.ledger import HEAD_IS_EMPTY
from bridge.journal.postgres.schema import LACKS, refuse_lacks, wanted
from bridge.journal.protocol import Health

_LOG: Final = logging.getLogger("bridge.journal")

_WINDOW: Final = 4000  # positions that a step looks at
_ANSWERS_WITHIN: Final = 3.0

# A step over the oldest entries. Up to the limit one stays for whoever waits for it: the subscriber
# that is furthest behind, those that hold it, and its dead letters.
_SWEEP: Final = """
WITH few AS (
    SELECT position, extract(epoch FROM now()) - at AS age, (
        position <= (SELECT coalesce(min(position), 9223372036854775807) FROM $.cursors)
        AND NOT EXISTS (SELECT FROM $.held WHERE held.position = entries.position)
        AND NOT EXISTS (SELECT FROM $.dead WHERE dead.position = entries.position)
    ) AS is_done FROM $.entries WHERE position > :after ORDER BY position LIMIT :step
), gone AS (
    DELETE FROM $.entries USING few WHERE entries.position = few.position
    AND age > :keep AND (is_done OR age > :limit) RETURNING is_done
)
SELECT max(position), bool_or(age > :keep), (SELECT count(*) FROM gone WHERE NOT is_done),
    set_config('synchronous_commit', 'off', true)
FROM few
"""
_AFTERWARDS: Final = (
    "DELETE FROM $.held WHERE NOT EXISTS (SELECT FROM $.entries WHERE position = held.position)",
    "DELETE FROM $.dead WHERE NOT EXISTS (SELECT FROM $.entries WHERE position = dead.position)",
    # What transactions have taken is known by the position once that is beyond it. A crash that
    # loses the position loses this too, which comes after it in the log.
    """
    DELETE FROM $.done USING $.cursors WHERE done.subscriber = cursors.subscriber
    AND done.partition = cursors.partition AND done.position <= cursors.position AND NOT EXISTS (
        SELECT FROM $.held WHERE held.subscriber = done.subscriber AND held.position = done.position
    )
    """,
    """
    DELETE FROM $.records
    WHERE position < coalesce((SELECT min(position) FROM $.entries), 9223372036854775807)
    """,
    "DELETE FROM $.states WHERE expires_at < extract(epoch FROM now())",
)
_BEYOND: Final = "UPDATE $.head SET last = :known + :far WHERE last < :known RETURNING last"
_FAR: Final = 1 << 20  # positions; other processes may know of more than this one
# What an append does, with nothing to append.
_TRY: Final = """
SELECT $.keep(NULL, '{}', '{}', '', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
    '{}', '{}')
"""


# --- retention -------------------------------------------------------------------------------


async def sweep(database: Database, keep: float, absolute_limit: float) -> None:
    """Delete what is older than `keep` and done with, and all beyond `absolute_limit`."""
    overdue, upto, is_old = 0, 0, True
    while is_old:
        step = {"after": upto, "step": _WINDOW, "keep": keep, "limit": absolute_limit}
        ((upto, is_old, waited_for, _),) = await database.rows(_SWEEP, step)
        overdue += waited_for
        await asyncio.sleep(0)
    if overdue:
        _LOG.warning(
            "past the absolute limit of %d s and deleted: %d entries that somebody had yet to "
            "take, or had as dead letters",
            absolute_limit,
            overdue,
        )
    for statement in _AFTERWARDS:
        await database.change(statement)


# --- what the server has lost ----------------------------------------------------------------


async def go_beyond(database: Database, known: int) -> None:
    """Let positions begin beyond what is known, where the server is behind that.

    It has lost what it had committed. If positions came twice, then subscribers, who are beyond
    them, would not be given what comes.
    """
    if await database.rows(_BEYOND, {"known": known, "far": _FAR}):
        _LOG.critical(
            "PostgreSQL has lost the last of what it had committed: it was restored from a backup, "
            "or a standby without all of it was promoted; what comes from now on is kept"
        )


# --- upkeep ----------------------------------------------------------------------------------


async def vacuum(database: Database) -> None:
    """Free the space of what was erased, so that it is overwritten."""
    try:
        async with await database.connect() as connection:
            tables = ", ".join(
                f"$.{name}" for name in ("entries", "records", "queues", "held", "states")
            )
            await connection.execute(database.qualified(f"VACUUM {tables}"))
    except psycopg.Error as error:
        _LOG.warning("what was erased stays on the server's disk until a VACUUM: %s", told(error))


async def health(database: Database) -> Health:
    """Try whether the server would take an append, and all else that is needed."""
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN + 1):
            try:
                await _try(database)
            except Away:  # as where an idle connection was closed: the next one is new
                await _try(database)
    except TimeoutError:
        return Health(ready=False, reason="PostgreSQL does not answer")
    except JournalError as error:
        return Health(ready=False, reason=str(error))
    return Health(ready=True)


async def _try(database: Database) -> None:
    """Raise `JournalError` where an append, or the rest, would fail; undo what was tried."""
    async with database.transaction(_ANSWERS_WITHIN) as connection:
        lacks = await database.execute(connection, LACKS, wanted(database.schema))
        tried = await database.execute(connection, _TRY)
        refuse_lacks(await lacks.fetchall(), database.schema, connection.info.user)
        if await tried.fetchone() == (None,):
            raise JournalError(HEAD_IS_EMPTY)
        raise psycopg.Rollback
