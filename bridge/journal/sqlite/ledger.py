"""What correlation remembers, as SQLite keeps it.

A ledger lives for one group commit. It reads through to the tables and collects what is new,
so that an append that fails by itself can be undone without touching the others of its group,
and that a message whose statuses come together is written once.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, TypeAlias

import apsw

from bridge.journal.correlation import Track, tells_of
from bridge.journal.sqlite.key_index import KeyIndex

_DIGEST_SIZE: Final = 16

_TrackRow: TypeAlias = tuple[bytes | None, bytes | None]


def digest(name: str) -> bytes:
    """Return what stands for a key or a name in an index: short, and no personal data."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_SIZE).digest()


class GroupLedger:
    """The `Ledger` of one group commit.

    `expected` are the keys of the group's events, looked up together because that costs a tenth
    of looking them up one by one. After each append either `accept` or `undo` what it claimed;
    `write_tracks` at the end.
    """

    def __init__(
        self, connection: apsw.Connection, keys: KeyIndex, expected: Iterable[str]
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._looked_up = {key: digest(key) for key in expected}
        self._known = keys.among(self._looked_up.values())
        self._claimed: dict[str, bytes] = {}
        self._tracks: dict[bytes, Track | bytes] = {}
        self._changed: dict[bytes, Track | bytes] = {}

    def claim(self, key: str) -> bool:
        """See `Ledger.claim`."""
        if key in self._claimed:
            return False
        name = self._looked_up.get(key)
        if name is None:
            name = self._looked_up[key] = digest(key)
            self._known |= self._keys.among([name])
        if name in self._known:
            return False
        self._claimed[key] = name
        return True

    def track(self, name: str) -> Track | None:
        """See `Ledger.track`."""
        found = self._find(digest(name))
        if isinstance(found, bytes):
            found = self._find(found)
        return found if isinstance(found, Track) else None

    def _find(self, name: bytes) -> Track | bytes | None:
        found = self._changed.get(name) or self._tracks.get(name)
        if found is not None:
            return found
        row: _TrackRow | None = self._connection.execute(
            "SELECT tied_to, track FROM tracks WHERE name = ?", (name,)
        ).fetchone()
        if row is None:
            return None
        tied_to, track = row
        return Track.decode(track) if track is not None else tied_to

    def save(self, track: Track) -> None:
        """See `Ledger.save`."""
        self._changed[digest(track.name)] = track

    def tie(self, name: str, to: Track) -> None:
        """See `Ledger.tie`."""
        self._changed[digest(name)] = digest(to.name)

    def accept(self) -> dict[str, bytes]:
        """Keep what the append claimed and changed; return its claims and their digests."""
        claims = self._claimed
        self._known.update(claims.values())
        self._tracks.update(self._changed)
        self.undo()
        return claims

    def undo(self) -> None:
        """Forget what the append claimed and changed."""
        self._claimed = {}
        self._changed = {}

    def write_tracks(self, now: int) -> None:
        """Write what the group changed; what was touched last is forgotten last."""
        if self._tracks:
            self._connection.executemany(
                "REPLACE INTO tracks (name, at, tied_to, track) VALUES (?, ?, ?, ?)",
                [
                    (name, now, value, None)
                    if isinstance(value, bytes)
                    else (name, now, None, value.encode())
                    for name, value in self._tracks.items()
                ],
            )


def forget_tracks(connection: apsw.Connection, subject: str, after: int, limit: int) -> int | None:
    """Forget the tracks that tell of a subject, looking at `limit` of them.

    Return where to go on, or None after the last.
    """
    found: Iterable[tuple[int, bytes | None]] = connection.execute(
        "SELECT id, track FROM tracks WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    )
    rows = list(found)
    connection.executemany(
        "DELETE FROM tracks WHERE id = ?",
        [
            (row,)
            for row, track in rows
            if track is not None and tells_of(Track.decode(track), subject)
        ],
    )
    return rows[-1][0] if rows else None
