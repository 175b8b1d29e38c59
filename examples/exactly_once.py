"""Exactly once into a database: an event's key and its effect in one transaction.

An event is delivered at least once. A repetition finds its key in the table, and changes nothing.
"""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing

import psycopg

from bridge import Message

NAME = "counter"  # of the subscriber: another one has keys of its own

TABLES = (
    "CREATE TABLE IF NOT EXISTS taken (subscriber TEXT, key TEXT, PRIMARY KEY (subscriber, key))",
    "CREATE TABLE IF NOT EXISTS spoken (conversation TEXT PRIMARY KEY, messages INTEGER NOT NULL)",
)
CLAIM = "INSERT INTO taken (subscriber, key) VALUES ({0}, {0}) ON CONFLICT DO NOTHING"
EFFECT = (
    "INSERT INTO spoken (conversation, messages) VALUES ({0}, 1) "
    "ON CONFLICT (conversation) DO UPDATE SET messages = spoken.messages + 1"
)


def into_sqlite(path: str) -> Callable[[Message], None]:
    """Return a subscriber that counts the messages of each conversation in SQLite."""
    with closing(sqlite3.connect(path)) as connection:
        for table in TABLES:
            connection.execute(table)

    def count(message: Message) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:  # one transaction
            claimed = connection.execute(CLAIM.format("?"), (NAME, message.key)).rowcount
            if claimed:
                connection.execute(EFFECT.format("?"), (message.conversation.id,))

    return count


def into_postgres(dsn: str) -> Callable[[Message], Awaitable[None]]:
    """Return a subscriber that counts the messages of each conversation in PostgreSQL."""
    with psycopg.connect(dsn) as connection:
        for table in TABLES:
            connection.execute(table)

    async def count(message: Message) -> None:
        # One transaction; a program of yours takes the connection from a pool.
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            claim = await connection.execute(CLAIM.format("%s"), (NAME, message.key))
            if claim.rowcount:
                await connection.execute(EFFECT.format("%s"), (message.conversation.id,))

    return count
