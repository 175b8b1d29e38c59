"""What a journal did not remember of its users, noted once from the events that it has kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from bridge.journal.identity import heard, name_of, names_of, open_group
from bridge.journal.ledger import Ledger, Record, User, decode_queue, decode_record, encode_record
from bridge.journal.overlay import Ids, Overlay, digest
from bridge.journal.reading import read_event
from bridge.model import Conversation, ConversationKind, Event

_DIRECT: Final = ConversationKind.DIRECT
_PAGE: Final = 1000  # events that are noted before what has changed is written

_Rows: TypeAlias = Callable[[str], Sequence[Sequence[Any]]]
_Read: TypeAlias = Callable[[bytes], Iterable[Sequence[Any]]]
_Write: TypeAlias = Callable[[Mapping[bytes, bytes]], None]


class _Records(Overlay[bytes]):
    def __init__(self, read: _Read) -> None:
        super().__init__(Ids(digest), stored_queue=lambda _: None, stored_lane=lambda _: None)
        self._read = read

    def stored_record(self, name: bytes) -> Record | bytes | None:
        """See `Overlay.stored_record`."""
        for tied_to, data in self._read(name):
            found: Record | bytes | None = tied_to if data is None else decode_record(data)
            return found
        return None


def note_terms_of(event: Event, ledger: Ledger) -> None:
    """Note the terms that an event tells, which was published before they were remembered."""
    conversation: Conversation | None = getattr(event, "conversation", None)
    if conversation is None:
        return
    account, at = event.account or "", event.received_at.timestamp()
    if conversation.kind is not _DIRECT:
        if getattr(event, "reply_until", None) is not None:
            open_group(event, conversation, account, at, ledger)
        return
    own = ledger.find(name_of(conversation.id)[0])
    found = [own, *map(ledger.find, names_of(event))]
    users = [user for user in found if isinstance(user, User)]
    theirs = [user for user in users if user.conversations.get(account) == conversation.id]
    # The conversation may have been joined to another; or the phone is somebody else's by now.
    if not theirs and isinstance(own, User) and own.since <= at:
        theirs = [own]
    if theirs and (now := heard(event, theirs[0], account)) is not theirs[0]:
        ledger.save(now)


def note_terms(rows: _Rows, read: _Read, write: _Write) -> None:
    """Note on what terms to write to users, as the events in the tables tell; the waiting last.

    `rows` returns what a statement gives, `read` the row of a record by the digest of its name
    (another one's, or the record itself), and `write` keeps records under such digests.
    """

    def note(events: Iterable[Event]) -> None:
        records = _Records(read)
        for event in events:
            note_terms_of(event, records)
            records.accept()
        found = records.records.items()
        write({n: encode_record(each) for n, each in found if not isinstance(each, bytes)})

    last = 0
    while page := rows(
        f"SELECT position, event FROM entries WHERE position > {last} AND event IS NOT NULL "  # noqa: S608 - our own number
        f"ORDER BY position LIMIT {_PAGE}"
    ):
        note(read_event(data, position) for position, data in page)
        last = page[-1][0]
    for (items,) in rows("SELECT items FROM queues"):
        note(item.event for item in decode_queue("", items).items)
