# ruff: noqa: S101 - this is a suite: asserting is what it does
"""What every adapter must do, as tests: subclass `AdapterContract` and say how to make one.

Each test's docstring is the sentence that it proves. Bodies are what `parse` reads; how they
come into an authentic callback is the author's part.
"""

from __future__ import annotations

import json
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge.adapter import Adapter, Callback, Parsed, Verified
from bridge.errors import NotAuthentic
from bridge.model import JsonValue, Unrecognized
from bridge.model.codec import decode, encode
from bridge.testing.bodies import (
    arrays_in,
    disturbed,
    json_objects,
    json_values,
    lengthened,
    marked,
)

RECEIVED_AT: Final = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
"""When the callbacks of the suite arrive."""

_NAME: Final = "contract"
_OK: Final = range(200, 300)

# How long an example takes says nothing here; a suite is inherited by several classes.
_law = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)


def _payload(body: JsonValue) -> bytes:
    """Write a body in ASCII: JSON can hold what UTF-8 cannot, half a character say."""
    return json.dumps(body).encode()


_any_bytes: Final = st.binary(max_size=200) | json_values.map(_payload)
_any_text: Final = st.text(st.characters(max_codepoint=0x2FFF), max_size=80) | st.sampled_from(
    ["", "=", "sha256=", "\udcff", "\ud800", "0" * 64, "é", "A" * 5000]
)


class AdapterContract(ABC):
    """The promises of an adapter; pytest collects subclasses whose name begins with Test.

    `envelope` holds the fields of a body that no event has to tell: each by the names that lead
    to it, joined by dots (`entry.changes.value.messaging_product`).
    """

    envelope: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def make_adapter(self, name: str) -> Adapter:
        """Make an adapter that is configured under this name, with secrets of the suite's own."""

    @abstractmethod
    def bodies(self) -> Sequence[JsonValue]:
        """Return real bodies, as the provider documents them: one of each kind at least."""

    @abstractmethod
    def authentic(self, payload: bytes) -> Callback:
        """Return a callback that the provider would send with this body, whatever it is."""

    @abstractmethod
    def forged(self, payload: bytes) -> Sequence[Callback]:
        """Return callbacks that a stranger might send with this body.

        Leave the proof out, cut it short, repeat it, make it with another secret, take it from
        another body.
        """

    @abstractmethod
    def items(self, body: Any) -> int:  # noqa: ANN401 - any JSON
        """Count what a body tells, whatever it is: each of these must come out as an event.

        Count by the shape alone, and what is broken too; where an item is not even in its
        place, count what can be seen. The suite calls it with JSON objects.
        """

    # --- authenticity --------------------------------------------------------------------

    def test_it_has_the_shape_of_an_adapter(self) -> None:
        """The adapter has what the bridge calls, and names its methods as HTTP does."""
        adapter = self.make_adapter(_NAME)
        assert isinstance(adapter, Adapter)
        assert adapter.methods
        assert all(method.isupper() for method in adapter.methods)

    def test_an_authentic_callback_is_trusted_for_its_payload(self) -> None:
        """`verify` returns the very bytes that were proved, and the time they came."""
        adapter = self.make_adapter(_NAME)
        for body in self.bodies():
            verified = adapter.verify(self.authentic(_payload(body)))
            assert verified.payload == _payload(body)
            assert verified.received_at == RECEIVED_AT

    def test_a_forged_callback_is_refused(self) -> None:
        """`verify` raises `NotAuthentic` for each forgery, and does not quote the body."""
        adapter = self.make_adapter(_NAME)
        for body in self.bodies():
            payload = _payload(body)
            forgeries = self.forged(payload)
            assert forgeries
            for callback in forgeries:
                with pytest.raises(NotAuthentic) as caught:
                    adapter.verify(callback)
                assert payload.decode() not in str(caught.value)

    @_law
    @given(data=st.data())
    def test_verify_refuses_and_does_nothing_else(self, data: st.DataObject) -> None:
        """For every callback, `verify` returns or raises `NotAuthentic`."""
        adapter = self.make_adapter(_NAME)
        model = self.authentic(data.draw(_any_bytes))
        names = st.sampled_from([*model.headers, "X-Other"])
        callback = Callback(
            body=data.draw(_any_bytes | st.just(model.body)),
            received_at=RECEIVED_AT,
            method=data.draw(st.sampled_from(sorted(adapter.methods))),
            tail=data.draw(_any_text | st.just(model.tail)),
            headers=data.draw(st.lists(st.tuples(names, _any_text), max_size=3)),
            query=data.draw(
                st.lists(st.tuples(st.sampled_from([*model.query, "x"]), _any_text), max_size=3)
            ),
        )
        try:
            verified = adapter.verify(callback)
        except NotAuthentic:
            return
        _check_whole(adapter.parse(verified))

    def test_parse_reads_what_verify_returned(self) -> None:
        """A callback means what its trusted bytes mean, and nothing around them adds to it."""
        adapter = self.make_adapter(_NAME)
        for body in self.bodies():
            verified = adapter.verify(self.authentic(_payload(body)))
            assert adapter.parse(verified).events == self._parse(_payload(body)).events

    # --- totality ------------------------------------------------------------------------

    @_law
    @given(_any_bytes)
    @example(b"")
    @example(b"{")
    @example(b"\xff\xfe")
    @example(b'{"a":' + b"[" * 300 + b"]" * 300 + b"}")
    @example(b"[" * 100_000)
    def test_parse_returns_for_any_bytes(self, payload: bytes) -> None:
        """Any bytes at all give events and a reply, or the place where they break as JSON."""
        _check_whole(self._parse(payload))

    @_law
    @given(data=st.data())
    def test_parse_returns_for_any_object(self, data: st.DataObject) -> None:
        """An object is never malformed, even with anything in any place of a real body."""
        parsed = self._parse(_payload(data.draw(self._objects())))
        assert parsed.malformed is None
        _check_whole(parsed)

    def test_real_bodies_are_understood(self) -> None:
        """At least one of the real bodies comes out as something other than `Unrecognized`."""
        events = [event for body in self.bodies() for event in self._parse(_payload(body)).events]
        assert any(not isinstance(event, Unrecognized) for event in events)

    def test_a_long_array_takes_no_more_than_its_share(self) -> None:
        """With three times as many items in an array, parsing takes some three times the calls.

        Also where what stands in the other arrays fits none of the items.
        """
        for body in filter(_is_object, self.bodies()):
            for path in arrays_in(body):
                for fits in (True, False):
                    fewer, more = (
                        _calls(self._parse, _payload(lengthened(body, path, times, fits=fits)))
                        for times in (20, 60)
                    )
                    assert more < 5 * fewer, f"{path}: {fewer} calls for 20, {more} for 60"

    # --- nothing lost --------------------------------------------------------------------

    def test_every_item_of_a_real_body_is_an_event(self) -> None:
        """As many events come out as items are in each of the real bodies, or more."""
        for body in self.bodies():
            assert len(self._parse(_payload(body)).events) >= self.items(body)

    @_law
    @given(data=st.data())
    def test_every_item_of_a_broken_body_is_an_event(self, data: st.DataObject) -> None:
        """Broken bodies count too: it comes out as `Unrecognized`, beside its neighbours."""
        body = data.draw(self._objects())
        assert len(self._parse(_payload(body)).events) >= self.items(body)

    @_law
    @given(data=st.data())
    def test_every_leaf_is_told(self, data: st.DataObject) -> None:
        """Every value of a real body is found in the JSON of some event.

        So does a field that is unknown today, wherever it stands, and a part that is of
        another shape than it should be. Only the fields of the envelope need not be told.
        """
        real = [body for body in self.bodies() if isinstance(body, dict)]
        body, marks = data.draw(marked(real))
        told = b"".join(map(encode, self._parse(_payload(body)).events)).decode()
        lost = {mark: path for mark, path in marks.items() if mark not in told}
        untold = tuple(f"{path}." for path in self.envelope)
        assert not [path for path in lost.values() if not f"{path}.".startswith(untold)]

    def test_a_body_that_nests_too_deep_is_not_lost(self) -> None:
        """A real body with a part too deep for our own JSON is an event all the same, or refused.

        See `bridge.adapter.payload.TooDeep`.
        """
        deep = b',"deep":' + b"[" * 300 + b"]" * 300 + b"}"
        for body in self.bodies():
            if isinstance(body, dict) and self.items(body):
                parsed = self._parse(_payload(body)[:-1] + deep)
                assert parsed.events or parsed.malformed is not None

    @_law
    @given(data=st.data())
    def test_what_is_unrecognized_can_be_parsed_again(self, data: st.DataObject) -> None:
        """The `raw` of an `Unrecognized` is a body that gives the same event once more."""
        for event in self._parse(_payload(data.draw(self._objects()))).events:
            if isinstance(event, Unrecognized) and isinstance(event.raw, dict):
                again = self._parse(_payload(event.raw)).events
                assert event.key in [other.key for other in again]

    # --- events --------------------------------------------------------------------------

    @_law
    @given(data=st.data())
    def test_every_event_survives_our_own_json(self, data: st.DataObject) -> None:
        """An event that is written and read again is equal to what it was."""
        for event in self._parse(_payload(data.draw(self._objects()))).events:
            assert decode(encode(event)) == event

    @_law
    @given(data=st.data())
    def test_the_same_bytes_give_the_same_events(self, data: st.DataObject) -> None:
        """Another adapter of the same settings tells exactly the same: no clock, no chance."""
        payload = _payload(data.draw(self._objects()))
        assert self._parse(payload) == self._parse(payload)

    @_law
    @given(data=st.data())
    def test_a_retry_has_the_same_keys(self, data: st.DataObject) -> None:
        """A body that comes again within the hour gives the same keys.

        So does one that comes a week later, for each event whose time the provider tells.
        """
        payload = _payload(data.draw(self._objects()))
        parsed = self._parse(payload)
        assert _keys(self._parse(payload, RECEIVED_AT + timedelta(minutes=20))) == _keys(parsed)
        later = self._parse(payload, RECEIVED_AT + timedelta(days=7))
        dated = [event.key for event in parsed.events if event.occurred_at != RECEIVED_AT]
        assert set(dated) <= set(_keys(later))

    def test_two_items_of_a_real_body_have_two_keys(self) -> None:
        """The events of one real body all have different keys."""
        for body in self.bodies():
            keys = _keys(self._parse(_payload(body)))
            assert len(set(keys)) == len(keys)

    def test_events_say_where_they_come_from(self) -> None:
        """Each carries the adapter's configured name, and when its callback came."""
        for body in self.bodies():
            for event in self._parse(_payload(body)).events:
                assert event.source == _NAME
                assert event.received_at == RECEIVED_AT
                assert event.occurred_at.utcoffset() == timedelta(0)
                assert event.key
                assert event.channel

    # --- purity --------------------------------------------------------------------------

    def test_nothing_is_read_or_sent(
        self, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """`verify` and `parse` touch no file, socket or process, and neither print nor log."""
        adapter = self.make_adapter(_NAME)
        callbacks = [self.authentic(_payload(body)) for body in self.bodies()]
        for callback in callbacks:  # what is imported or compiled at the first use is no I/O
            adapter.parse(adapter.verify(callback))
        with _watched() as seen:
            for callback in callbacks:
                adapter.parse(adapter.verify(callback))
        assert seen == []
        assert capfd.readouterr() == ("", "")
        assert caplog.records == []

    # --- what the tests are made of ------------------------------------------------------

    def _parse(self, payload: bytes, received_at: datetime = RECEIVED_AT) -> Parsed:
        adapter = self.make_adapter(_NAME)
        return adapter.parse(Verified(payload=payload, received_at=received_at))

    def _objects(self) -> st.SearchStrategy[Any]:
        real = [body for body in self.bodies() if isinstance(body, dict)]
        return disturbed(real) | json_objects if real else json_objects


def _is_object(body: JsonValue) -> bool:
    return isinstance(body, dict)


def _calls(function: Callable[[bytes], object], payload: bytes) -> int:
    """Count the calls that a function makes in this thread."""
    function(payload)  # what is imported or compiled at the first use does not count
    calls = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(payload)
    finally:
        sys.setprofile(before)
    return calls


def _keys(parsed: Parsed) -> list[str]:
    return [event.key for event in parsed.events]


def _check_whole(parsed: Parsed) -> None:
    """Check that a body is either read or malformed, and that what is read is acknowledged."""
    if parsed.malformed is None:
        assert parsed.response.status in _OK
    else:
        assert parsed.events == ()


# --- I/O -----------------------------------------------------------------------------------

# In place of audit hooks, which see more: none can be taken out again, and as long as there is one,
# threads that begin at once under a tracer such as coverage may fail in CPython 3.11.
_IO: Final = frozenset(
    {
        *("io.open", "io.open_code", "time.sleep", "_posixsubprocess.fork_exec"),
        *("_socket.getaddrinfo", "_socket.gethostbyname", "_socket.getnameinfo"),
    }
)
_SYSTEM: Final = ("posix", "nt")
_NO_IO: Final = frozenset({"fspath", "getpid", "urandom"})


def _is_io(function: Any) -> bool:  # noqa: ANN401 - whatever is written in C
    module, name = getattr(function, "__module__", None), function.__name__
    if module in _SYSTEM:
        return name not in _NO_IO
    return f"{module}.{name}" in _IO or isinstance(
        getattr(function, "__self__", None), socket.socket
    )


@contextmanager
def _watched() -> Iterator[list[str]]:
    """Give the names of functions in C that do I/O, as this thread calls them in the block."""
    seen: list[str] = []

    def note(_frame: object, event: str, function: object) -> None:
        if event == "c_call" and _is_io(function):
            seen.append(repr(function))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(before)
