"""Trust domains for a journal whose events have none: the step from format 4 to 5.

An event is moved into the domain that has the name of its adapter, with its key, its lane and
what waits with it. A key or a record goes where the events are that tell of it. Where none is
left, it is copied into every domain of the journal: what was known stays known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import apsw
import attrs
import orjson

from bridge.journal import identity, tracks
from bridge.journal.domains import move_fields
from bridge.journal.ledger import (
    Latest,
    Track,
    User,
    Waiting,
    decode_queue,
    decode_record,
    encode_record,
    encode_waiting,
)
from bridge.journal.overlay import digest, hashed, moved
from bridge.journal.reading import read_event
from bridge.model import Message, StatusChange
from bridge.model.keys import folded

_CHUNK: Final = 500
_MERGED: Final = 256  # all parts of the keys are in the table
_TABLES: Final = """
CREATE TEMP TABLE told (name BLOB, domain TEXT, PRIMARY KEY (name, domain)) WITHOUT ROWID;
CREATE TEMP TABLE domains (domain TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_END: Final = """
DROP TABLE temp.told;
DROP TABLE temp.domains;
DELETE FROM keys;
INSERT OR IGNORE INTO keys (key, position) SELECT key, position FROM entries ORDER BY key;
DELETE FROM merged;
INSERT INTO merged (only, position, merging_up_to, part)
    SELECT 1, max(position), max(position), ? FROM entries HAVING count(*);
"""


def into_domains(connection: apsw.Connection) -> None:
    """Move everything in a file of format 4 into domains; call it in a transaction."""
    connection.execute(_TABLES)
    _move_events(connection)
    _move_queues(connection)
    _move_bare_keys(connection)
    _move_records(connection)
    connection.execute(_END, (_MERGED,))


def _rows(
    connection: apsw.Connection, table: str, columns: str, which: str
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows that a table has now; they may be changed meanwhile, and others added."""
    last = connection.execute(f"SELECT ifnull(max(rowid), 0) FROM {table}").get  # noqa: S608
    after: Any = 0
    while rows := connection.execute(
        f"SELECT rowid, {columns} FROM {table} "  # noqa: S608 - our own words
        f"WHERE rowid > ? AND rowid <= ? AND {which} ORDER BY rowid LIMIT ?",
        (after, last, _CHUNK),
    ).fetchall():
        yield from rows
        after = rows[-1][0]


def _move_events(connection: apsw.Connection) -> None:
    for position, lane, data in _rows(connection, "entries", "lane, event", "event IS NOT NULL"):
        fields = _in_domain(data)
        if fields is None:  # it is no event any more, and of nobody
            continue
        domain = fields["domain"]
        _note(connection, data, position, domain)
        connection.execute(
            "UPDATE entries SET key = ?, lane = ?, event = ? WHERE position = ?",
            (digest(fields["key"]), _within(domain, lane), orjson.dumps(fields), position),
        )
        connection.execute(
            "UPDATE held SET lane = ? WHERE position = ?", (_within(domain, lane), position)
        )


def _within(domain: str, name: str) -> str:
    return name if name.startswith(f"{domain}/") else f"{domain}/{name}"


def _in_domain(data: bytes) -> dict[str, Any] | None:
    """Return the fields of an event that `encode` wrote, in the domain of its adapter."""
    with suppress(orjson.JSONDecodeError):
        fields = orjson.loads(data)
        if type(fields) is dict and {"key", "source"} <= fields.keys():
            move_fields(fields)
            return fields
    return None


def _note(connection: apsw.Connection, data: bytes, position: int, domain: str) -> None:
    """Take note of what an event tells, by the digests that its key and names had."""
    connection.execute("INSERT OR IGNORE INTO domains VALUES (?)", (domain,))
    event = read_event(data, position)
    names = [event.key, *identity.names_of(event)]
    if isinstance(event, Message | StatusChange):
        names += tracks.names_of(event)
    connection.executemany(
        "INSERT OR IGNORE INTO told VALUES (?, ?)", [(hashed(name), domain) for name in names]
    )


def _domains_of(connection: apsw.Connection, name: bytes) -> Sequence[str]:
    """Return the domains that tell of a key or a name, and all of them where none does."""
    told = connection.execute("SELECT domain FROM told WHERE name = ?", (name,)).fetchall()
    rows = told or connection.execute("SELECT domain FROM domains").fetchall()
    return [str(domain) for (domain,) in rows]


def _move_queues(connection: apsw.Connection) -> None:
    """Let what waits go on waiting; adapters that shared a lane get one each."""
    rows: list[tuple[Any, ...]] = connection.execute("SELECT lane, items FROM queues").fetchall()
    connection.execute("DELETE FROM queues")
    for lane, items in rows:
        queues: dict[str, list[Waiting]] = {}
        told = [orjson.dumps(fields) for fields, _, _ in orjson.loads(items)]
        for item, data in zip(decode_queue(lane, items).items, told, strict=True):
            fields = _in_domain(data)
            domain = item.event.source if fields is None else fields["domain"]
            _note(connection, data, 0, domain)
            event = item.event if fields is None else read_event(orjson.dumps(fields), 0)
            keys = tuple(_within(domain, key) for key in item.keys)
            queue = queues.setdefault(domain, [])
            due = item.due if queue or item.due is not None else 0.0  # it waited for another's
            queue.append(attrs.evolve(item, event=event, keys=keys, due=due))
        connection.executemany(
            "INSERT INTO queues (lane, items) VALUES (?, ?)",
            [(_within(domain, lane), encode_waiting(each)) for domain, each in queues.items()],
        )


def _move_bare_keys(connection: apsw.Connection) -> None:
    """Move keys without an event; `lane` may be the key of the event that they lead to."""
    newest = connection.execute("SELECT max(at) FROM entries").get
    for position, key, lane in _rows(connection, "entries", "key, lane", "event IS NULL"):
        of = None if lane is None else bytes.fromhex(lane)
        # Copies come last: positions are in the order of time.
        places = [(position, None)]
        for domain in _domains_of(connection, key if of is None else of):
            place, at = places.pop() if places else (None, newest)
            connection.execute(
                "INSERT INTO entries (position, key, at, lane) VALUES (?1, ?2, ?3, ?4) "
                "ON CONFLICT (position) DO UPDATE SET key = ?2, lane = ?4",
                (
                    place,
                    moved(key, domain),
                    newest if at is None else at,
                    None if of is None else moved(of, domain).hex(),
                ),
            )


def _move_records(connection: apsw.Connection) -> None:
    """Move what is remembered of messages and users, with all names that lead to it."""
    for row, name, at, track in _rows(connection, "tracks", "name, at, track", "true"):
        connection.execute("DELETE FROM tracks WHERE id = ?", (row,))
        if track is None:
            continue  # a name that leads to a record, which tells all of them
        before = decode_record(track)
        if isinstance(before, Latest):
            continue  # younger than this format
        for domain in _domains_of(connection, name):
            record = _moved_record(before, domain)
            own = digest(record.name)
            connection.execute(
                "REPLACE INTO tracks (name, at, track) VALUES (?, ?, ?)",
                (own, at, encode_record(record)),
            )
            connection.executemany(
                "INSERT OR IGNORE INTO tracks (name, at, tied_to) VALUES (?, ?, ?)",
                [(digest(other), at, own) for other in _other_names(record, domain)],
            )


def _moved_record(record: Track | User, domain: str) -> Track | User:
    name = f"{domain}{record.name}"
    if isinstance(record, User):
        conversations = {
            account: f"{domain}/{own}" for account, own in record.conversations.items()
        }
        return attrs.evolve(record, name=name, conversations=conversations)
    where = record.conversation
    return attrs.evolve(
        record,
        name=name,
        conversation=where and attrs.evolve(where, id=f"{domain}/{where.id}"),
        user=record.user and f"{domain}{record.user}",
        observed=tuple(
            attrs.evolve(each, key=each.key and f"{domain}/{each.key}") for each in record.observed
        ),
    )


def _other_names(record: Track | User, domain: str) -> Sequence[str]:
    """Return the names that lead to a record beside its own."""
    if isinstance(record, Track):
        return [f"{domain}/message/{record.id_space or ''}/{each}" for each in record.aliases]
    space = record.name.rpartition("/")[0]
    return [f"{space}/{folded(each)}" for each in record.identities]
