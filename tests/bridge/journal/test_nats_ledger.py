"""What is written, and on which conditions, about where messages stand."""

from __future__ import annotations

from bridge.journal.correlation import Track, correlate
from bridge.journal.nats.broker import EXPECTED, Draft, Stored
from bridge.journal.nats.ledger import GroupLedger, View, encode_track
from bridge.journal.nats.subjects import Names
from bridge.model import Status, StatusChange
from tests.bridge.events import ACCOUNT, status

NAMES = Names(stream="bridge", partitions=1)
TRACK = Track(
    name="whatsapp/a",
    channel="whatsapp",
    account=ACCOUNT,
    message_id="a",
    standing={"": Status.DELIVERED},
)
SUBJECT = NAMES.track(TRACK.name)


def ledger(change: StatusChange, *, known: bool) -> GroupLedger:
    """Return a ledger that saw the message delivered, in the stream's fifth message."""
    claim = Stored(subject=NAMES.key(change.key), sequence=7, data=b"")
    view: View = {
        claim.subject: claim if known else None,
        SUBJECT: Stored(subject=SUBJECT, sequence=5, data=encode_track(TRACK)),
    }
    return GroupLedger(NAMES, view)


def test_an_event_that_moves_nothing_says_so_only_while_it_is_true():
    """A late status is published on condition that nobody moved the message on meanwhile."""
    late = status(Status.SENT, "a")
    seen = ledger(late, known=False)
    published = correlate(late, seen)
    seen.accept()
    assert published is not None
    change, _ = published
    assert isinstance(change, StatusChange)
    assert (change.advanced, change.current) == (False, Status.DELIVERED)
    assert list(seen.changes()) == [Draft(SUBJECT, encode_track(TRACK), {EXPECTED: "5"})]


def test_a_duplicate_writes_nothing():
    """What is known already is no reason to write where its message stands."""
    late = status(Status.SENT, "a")
    seen = ledger(late, known=True)
    assert correlate(late, seen) is None
    seen.accept()
    assert list(seen.changes()) == []
