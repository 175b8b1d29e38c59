"""Which keys are known, and where their entries are: exactly, at the cost of few pages.

Keys are digests, so an index of them is written at random places: a page for each new key, which
was most of what an append cost. Here the keys of the newest entries are only in memory at first,
where they are found; their entries are on disk, so that opening reads them back. Once they are
many they are merged into the table, part by part in the order of keys, so that a page takes
several of them: each part belongs to the transaction of a group that is written anyway.

The writer changes all of this. Anybody may ask for a `position`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import apsw

_PARTS: Final = 256  # by the first byte of a key
_PACE: Final = 2  # keys merged for each that is new, so that those in memory stay bounded
_TOGETHER: Final = 64
# Few statements, so that SQLite has each of them compiled; a lone caller need not wait for the
# longest.
_AMONG: Final = {
    count: f"SELECT key FROM keys WHERE key IN ({', '.join('?' * count)})"  # noqa: S608
    for count in (1, 8, _TOGETHER)
}

_Parts: TypeAlias = list[dict[bytes, int]]


class KnownKeys:
    """The keys of all entries.

    So many as `in_memory` wait before they are merged, and half as many come meanwhile.
    Inside a transaction `add`, `merge` and `delete`; after it, `commit` or `roll_back` says what
    became of it.
    """

    def __init__(self, connection: apsw.Connection, *, in_memory: int) -> None:
        self._connection = connection
        self._in_memory = in_memory
        self._latest: _Parts = _empty()
        self._merging: _Parts = _empty()
        self._part = _PARTS  # the next to be merged; that many: nothing is being merged
        self._count = 0  # of the latest
        self._last = 0
        self._merging_up_to = 0
        self._added: Sequence[tuple[bytes, int]] = ()
        self._deleted: Sequence[tuple[bytes]] = ()
        self._merged = 0  # parts, in this transaction
        self._read_back()

    def _read_back(self) -> None:
        found: Iterable[tuple[bytes, int]] = self._connection.execute(
            "SELECT key, position FROM entries WHERE position > (SELECT position FROM merged)"
        )
        self._keep(found)

    def _keep(self, keys: Iterable[tuple[bytes, int]]) -> None:
        latest = self._latest
        for key, position in keys:
            latest[key[0]][key] = position
            self._count += 1
            self._last = position

    def position(self, key: bytes) -> int | None:
        """Return where an entry that is not in the table yet is. Safe in any thread.

        What is in the table may be found here too, and nothing is ever in neither of them as
        long as this is asked first.
        """
        part = key[0]
        return self._latest[part].get(key) or self._merging[part].get(key)

    def among(self, keys: Iterable[bytes]) -> set[bytes]:
        """Return which of these keys are known."""
        known: set[bytes] = set()
        others: list[bytes] = []
        for key in keys:
            part = key[0]
            if key in self._latest[part] or key in self._merging[part]:
                known.add(key)
            else:
                others.append(key)
        for start in range(0, len(others), _TOGETHER):
            some = others[start : start + _TOGETHER]
            count = next(count for count in _AMONG if count >= len(some))
            unused = (None,) * (count - len(some))
            rows: Iterable[tuple[bytes]] = self._connection.execute(_AMONG[count], (*some, *unused))
            known.update(key for (key,) in rows)
        return known

    def add(self, keys: Sequence[tuple[bytes, int]]) -> None:
        """Make keys known with the positions of their entries, in the order of these."""
        self._added = keys

    def merge(self) -> None:
        """If the keys in memory are many, write twice as many into the table as were added."""
        if self._part == _PARTS:
            if self._count < self._in_memory:
                return
            # In this order: at no moment is a key in neither.
            self._merging, self._merging_up_to = self._latest, self._last
            self._latest, self._count = _empty(), 0
            self._part = 0
        part = self._part
        rows: list[tuple[bytes, int]] = []
        while part < _PARTS and len(rows) <= _PACE * len(self._added):
            rows += sorted(self._merging[part].items())
            part += 1
        # What a crash interrupted may have been merged once already.
        self._connection.executemany(
            "INSERT OR IGNORE INTO keys (key, position) VALUES (?, ?)", rows
        )
        if part == _PARTS:
            self._connection.execute("UPDATE merged SET position = ?", (self._merging_up_to,))
        self._merged = part - self._part

    def delete(self, keys: Sequence[tuple[bytes]]) -> None:
        """Forget keys; as rows, since a statement that deletes their entries returns them so."""
        self._connection.executemany("DELETE FROM keys WHERE key = ?", keys)
        self._deleted = keys

    def commit(self) -> None:
        """Take note that the transaction is on disk."""
        self._keep(self._added)
        self._part += self._merged
        if self._merged and self._part == _PARTS:
            self._merging = _empty()
        for (key,) in self._deleted:
            part = key[0]
            if self._latest[part].pop(key, None) is not None:
                self._count -= 1
            self._merging[part].pop(key, None)
        self.roll_back()

    def roll_back(self) -> None:
        """Take note that nothing of the transaction has happened."""
        self._added, self._deleted, self._merged = (), (), 0


def _empty() -> _Parts:
    return [{} for _ in range(_PARTS)]
