"""What is written, and on which conditions, about where messages stand."""

from __future__ import annotations

from bridge.journal.correlation import correlate, first_keys, first_names
from bridge.journal.ledger import Track
from bridge.journal.nats.ledger import BEFORE_ITS_EVENT, GroupLedger, View, at, encode_found
from bridge.journal.nats.messages import EXPECTED, Draft, Stored
from bridge.journal.nats.subjects import Names, digest
from bridge.model import Status, StatusChange
from bridge.model.codec import encode
from tests.bridge.events import ACCOUNT, status

NAMES = Names(stream="bridge", partitions=1)
TRACK = Track(
    name="/message/whatsapp/a",
    channel="whatsapp",
    account=ACCOUNT,
    message_id="a",
    standing={"": Status.DELIVERED},
)
SUBJECT = NAMES.tracks + digest(TRACK.name)


def ledger(change: StatusChange, *, known: bool) -> GroupLedger:
    """Return a ledger that saw the message delivered, in the stream's fifth message."""
    names, lanes = first_names(change)
    claim = Stored(subject=NAMES.keys + digest(change.key), sequence=7, data=BEFORE_ITS_EVENT)
    view: View = {
        **{NAMES.keys + digest(key): claim if known else None for key in first_keys(change)},
        **{NAMES.tracks + digest(name): None for name in names},
        **{NAMES.waiting + digest(lane): None for lane in lanes},
        at(8): Stored(subject="bridge.events.0.status_change", sequence=8, data=encode(change)),
        NAMES.keys + digest(f"{change.key}/more/1"): None,
        SUBJECT: Stored(subject=SUBJECT, sequence=5, data=encode_found(TRACK)),
    }
    return GroupLedger(NAMES, view)


def test_an_event_that_moves_nothing_says_so_only_while_it_is_true():
    """A late status is published on condition that nobody moved the message on meanwhile."""
    late = status(Status.SENT, "a")
    seen = ledger(late, known=False)
    is_new, published = correlate(late, seen)
    seen.accept()
    assert is_new
    ((change, _),) = published
    assert isinstance(change, StatusChange)
    assert (change.advanced, change.current) == (False, Status.DELIVERED)
    moved = [draft for draft in seen.changes(None) if draft.subject == SUBJECT]
    assert moved == [Draft(SUBJECT, encode_found(TRACK), {EXPECTED: "5"})]


def test_a_duplicate_writes_nothing():
    """What is known already is no reason to write where its message stands."""
    late = status(Status.SENT, "a")
    seen = ledger(late, known=True)
    assert correlate(late, seen) == (False, ())
    seen.accept()
    assert list(seen.changes(None)) == []
