"""A small LSM index from keys to positions: exact, at the cost of few pages.

Keys are digests, so a plain index is written at random places: a page for each new key, which was
a third of an append's cost. Here the keys of the newest rows are in memory only; the rows are on
disk, so that opening reads their keys back. Once they are many they are merged into the table,
part by part in the order of keys, so that a page takes several of them: each part belongs to the
transaction of a group that is written anyway. They are sorted into parts before, some at each
group.

The writer alone changes the index. Any thread may ask for a `position`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Self, TypeAlias

import apsw
import attrs

_PARTS: Final = 256  # by the first byte of a key
_PACE: Final = 2  # keys merged for each that is new, so that those in memory stay bounded
_SORTING_PACE: Final = 8  # keys sorted into parts for each that is new

_Parts: TypeAlias = list[list[bytes]]


class KeyIndex:
    """The `index` of all keys of a table `of` the file: where the row with each of them is.

    A table has one row of a key. The row may be put in the place of another one at a later
    position, and positions only grow: whoever adds a row gives it one beyond `last`.

    A merge begins when `in_memory` keys wait for it; some two thirds as many come while it runs.
    How far it is stands on disk beside what it wrote, so that a restart goes on with it.

    Call `add`, `merge` and `delete` inside a transaction, and `commit` or `roll_back` after it.
    Raises `apsw.Error` where the keys cannot be read back.
    """

    def __init__(self, connection: apsw.Connection, index: str, *, of: str, in_memory: int) -> None:
        self._connection = connection
        self._index = index
        # SQLite makes an index of those that `IN` names, which takes longer than looking them up.
        self._find_one = f"SELECT key, position FROM {index} WHERE key = ?"  # noqa: S608 - our own words
        self._find = f"SELECT key, position FROM carray(?) CROSS JOIN {index} ON key = value"  # noqa: S608 - our own words
        self._insert = f"REPLACE INTO {index} (key, position) VALUES (?, ?)"  # noqa: S608 - our own words
        self._delete = f"DELETE FROM {index} WHERE key = ?"  # noqa: S608 - our own words
        self._in_memory = in_memory
        self._latest: dict[bytes, int] = {}
        self._merging: dict[bytes, int] = {}
        self._added: dict[bytes, int] = {}
        self._deleted: list[tuple[bytes]] = []
        self._merged_parts = 0  # in this transaction
        # `_part` is the next to be merged; behind the last, nothing is being merged.
        self._merged_up_to, self._merging_up_to, self._part = self._read_progress()
        self.last = self._merging_up_to
        self._read_back(of)
        self._unsorted, self._parts = list(self._merging), _empty()  # of those to be merged

    def _read_progress(self) -> tuple[int, int, int]:
        progress: tuple[int, int, int] | None = self._connection.execute(
            "SELECT position, merging_up_to, part FROM merged WHERE name = ?", (self._index,)
        ).fetchone()
        return progress or (0, 0, _PARTS)

    def _read_back(self, table: str) -> None:
        rows: Iterable[tuple[bytes, int]] = self._connection.execute(
            f"SELECT key, position FROM {table} WHERE position > ? ORDER BY position",  # noqa: S608 - our own words
            (self._merged_up_to,),
        )
        for key, position in rows:
            if position > self._merging_up_to:
                self._latest[key] = self.last = position
            elif key[0] >= self._part:
                self._merging[key] = position

    def position(self, key: bytes) -> int | None:
        """Return where a row is whose key is not in the index's table yet. Safe in any thread.

        A key of that table may be found here too, and no key is ever in neither of them as long
        as this is asked first.
        """
        return self._latest.get(key) or self._merging.get(key)

    def upcoming(self, key: bytes) -> int | None:
        """Return where a row is that `position` finds once its transaction is noted as on disk.

        Safe in any thread.
        """
        return self._added.get(key)

    def positions(self, keys: set[bytes]) -> dict[bytes, int]:
        """Return where the rows of those of these keys are that are known."""
        others = keys.difference(self._latest).difference(self._merging)
        known = {key: self._latest.get(key) or self._merging[key] for key in keys - others}
        if others:
            found = tuple(others)
            rows: Iterable[tuple[bytes, int]] = (
                self._connection.execute(self._find_one, found)
                if len(found) == 1
                else self._connection.execute(self._find, (apsw.carray(found),))
            )
            known.update(rows)
        return known

    def add(self, keys: Sequence[bytes], after: int) -> None:
        """Make the keys of new rows known, which follow each other after a position."""
        added = self._added
        for key in keys:
            after += 1
            added[key] = after

    def merge(self) -> None:
        """If the keys in memory are many, write twice as many into the table as were added."""
        if self._part == _PARTS:
            if len(self._latest) < self._in_memory:
                return
            # In this order: at no moment is a key in neither.
            self._merging, self._merging_up_to = self._latest, self.last
            self._latest, self._part = {}, 0
            self._unsorted, self._parts = list(self._merging), _empty()
        if self._unsorted:
            self._sort(_SORTING_PACE * len(self._added))
            return
        part = self._part
        rows: list[tuple[bytes, int]] = []
        while part < _PARTS and len(rows) <= _PACE * len(self._added):
            keys = sorted(self._parts[part])
            rows += [(key, self._merging[key]) for key in keys if key in self._merging]
            part += 1
        self._connection.executemany(self._insert, rows)
        merged_up_to = self._merging_up_to if part == _PARTS else self._merged_up_to
        self._connection.execute(
            "REPLACE INTO merged (name, position, merging_up_to, part) VALUES (?, ?, ?, ?)",
            (self._index, merged_up_to, self._merging_up_to, part),
        )
        self._merged_parts = part - self._part

    def _sort(self, count: int) -> None:
        """Sort so many keys into parts."""
        parts = self._parts
        for key in self._unsorted[-count:]:
            parts[key[0]].append(key)
        del self._unsorted[-count:]

    def delete(self, keys: Sequence[tuple[bytes]]) -> None:
        """Forget keys; as rows, since a statement that deletes what has them returns them so."""
        self._connection.executemany(self._delete, keys)
        self._deleted += keys

    def commit(self) -> None:
        """Take note that the transaction is on disk."""
        if self._added:
            self._latest.update(self._added)
            self.last = next(reversed(self._added.values()))
            self._added = {}
        if self._merged_parts:
            self._part += self._merged_parts
            self._merged_parts = 0
            if self._part == _PARTS:
                self._merged_up_to = self._merging_up_to
                self._merging, self._parts = {}, []  # now that the table has them
        if self._deleted:
            for (key,) in self._deleted:
                self._latest.pop(key, None)
                self._merging.pop(key, None)
            self._deleted = []

    def roll_back(self) -> None:
        """Take note that nothing of the transaction has happened."""
        self._added, self._deleted, self._merged_parts = {}, [], 0


@attrs.frozen
class Indexes:
    """The indexes of a file: `keys` knows the entries, and `names` the records."""

    keys: KeyIndex
    names: KeyIndex

    @classmethod
    def read(cls, connection: apsw.Connection, *, in_memory: int) -> Self:
        """Read both back. Raises `apsw.Error`."""
        return cls(
            KeyIndex(connection, "keys", of="entries", in_memory=in_memory),
            KeyIndex(connection, "names", of="tracks", in_memory=in_memory),
        )

    def commit(self) -> None:
        """See `KeyIndex.commit`."""
        self.keys.commit()
        self.names.commit()

    def roll_back(self) -> None:
        """See `KeyIndex.roll_back`."""
        self.keys.roll_back()
        self.names.roll_back()


def _empty() -> _Parts:
    return [[] for _ in range(_PARTS)]
