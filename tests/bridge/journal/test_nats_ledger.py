"""What is written, and on which conditions, about where messages stand."""

from __future__ import annotations

from bridge.journal.correlation import correlate
from bridge.journal.identity import names_for
from bridge.journal.ledger import Track
from bridge.journal.nats.broker import EXPECTED, Draft, Stored
from bridge.journal.nats.ledger import GroupLedger, View, encode_found
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
        **{NAMES.track(name): None for name in names_for(change)},
        claim.subject: claim if known else None,
        SUBJECT: Stored(subject=SUBJECT, sequence=5, data=encode_found(TRACK)),
    }
    return GroupLedger(NAMES, view, ())


def test_an_event_that_moves_nothing_says_so_only_while_it_is_true():
    """A late status is published on condition that nobody moved the message on meanwhile."""
    late = status(Status.SENT, "a")
    seen = ledger(late, known=False)
    is_new, published = correlate(late, seen)
    seen.accept(published)
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
    seen.accept(())
    assert [draft for draft in seen.changes(None) if draft.subject == SUBJECT] == []
