"""What a journal did not remember of its users, noted once from the events that it has kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from bridge.journal import identity
from bridge.journal.ledger import Record, decode_record
from bridge.journal.overlay import Ids, Overlay, digest
from bridge.model import Event

PAGE: Final = 1000
"""How many events are noted before what has changed is written."""

Read: TypeAlias = Callable[[bytes], tuple[bytes | None, bytes | None] | None]
"""Returns what is stored under the digest of a name: another one's, or a record, or nothing."""


class _Records(Overlay[bytes]):
    def __init__(self, read: Read) -> None:
        super().__init__(Ids(digest), stored_queue=lambda _: None, stored_lane=lambda _: None)
        self._read = read

    def stored_record(self, name: bytes) -> Record | bytes | None:
        """See `Overlay.stored_record`."""
        tied_to, data = self._read(name) or (None, None)
        return tied_to if data is None else decode_record(data)


def note_terms(events: Iterable[Event], read: Read) -> Mapping[bytes, Record]:
    """Return the records that change, by the digests of their names: on what terms to write."""
    records = _Records(read)
    for event in events:
        identity.note_terms(event, records)
        records.accept()
    return {name: found for name, found in records.records.items() if isinstance(found, Record)}
