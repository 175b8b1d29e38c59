"""What holds for every body that INCS, or anybody, could send."""

from __future__ import annotations

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.adapter import Verified
from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.model import Unrecognized, codec
from tests.adapters import cases, laws

INCS = Incs(
    "incs",
    IncsSettings(
        insecure=True,
        channels=(Channel(id=30058, kind="whatsapp", business_phone="6281519236680"),),
    ),
)
REAL = [orjson.loads(case.request) for case in cases.load("incs")]
bodies = laws.disturbed(REAL) | st.dictionaries(st.text(max_size=8), laws.json_values)


def parse(payload: bytes):
    return INCS.parse(Verified(payload=payload, received_at=cases.RECEIVED_AT))


@given(bodies)
def test_every_object_gives_events_that_survive_our_own_json(body):
    """Any object gives at least one event, and each is the same after our own JSON."""
    events = parse(laws.payload(body)).events

    assert events
    for event in events:
        assert codec.decode(codec.encode(event)) == event


@given(bodies)
def test_the_same_bytes_give_the_same_keys(body):
    """A retry names the same happenings."""
    payload = laws.payload(body)

    assert [event.key for event in parse(payload).events] == [
        event.key for event in parse(payload).events
    ]


@given(bodies)
def test_what_is_unrecognized_can_be_parsed_again(body):
    """The raw of an unrecognized event is a body that names the same happening once more."""
    for event in parse(laws.payload(body)).events:
        if isinstance(event, Unrecognized):
            again = parse(orjson.dumps(event.raw)).events
            assert event.key in [other.key for other in again]


@given(
    st.binary()
    | st.binary().map(lambda tail: b'{"event": ' + tail)
    | laws.json_values.map(laws.payload)
)
@example(b"")
@example(b'{"event": "\\ud800", "message": 1e400}')
def test_parse_returns_for_any_bytes(payload):
    """Any bytes at all give events, or the place where they stop being a JSON object."""
    parsed = parse(payload)

    assert (parsed.malformed is None) == bool(parsed.events)


@given(bodies, st.text(max_size=5))
def test_any_object_can_be_made_fresh(body, nonce):
    """Making a body fresh returns for any object, the same one for the same nonce."""
    fresh = INCS.freshen(body, nonce, cases.RECEIVED_AT)

    assert fresh == INCS.freshen(body, nonce, cases.RECEIVED_AT)
    assert fresh.keys() == body.keys()
