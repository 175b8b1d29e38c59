"""The contract between bridge and adapters."""

import inspect
from datetime import UTC, datetime

import attrs
import pytest
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy

from bridge.adapter import (
    ACKNOWLEDGED,
    Adapter,
    Callback,
    NewMessage,
    NewStatusChange,
    Parsed,
    Place,
    Response,
    Sample,
    SampleSource,
    Scope,
    SignedRequest,
    Verified,
    new_message,
    new_scope,
    new_status_change,
)
from bridge.adapter.payload import read_object
from bridge.model import (
    Conversation,
    ConversationKind,
    Direction,
    Message,
    Origin,
    Party,
    Role,
    Status,
    StatusChange,
    Text,
    Unrecognized,
)

NOW = datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC)
SCOPE = Scope(
    source="incs",
    channel="whatsapp",
    account="30058",
    business_phone="+6281519236680",
    received_at=NOW,
)


class Postbox:
    """The least that is an adapter."""

    methods = frozenset({"POST"})

    def verify(self, callback, /):
        return Verified(payload=callback.body, received_at=callback.received_at, callback=callback)

    def parse(self, verified, /):
        scope = Scope(source="postbox", channel="post", received_at=verified.received_at)
        return Parsed(events=(scope.unrecognized(read_object(verified.payload), "a letter"),))


class PostboxWithSamples(Postbox):
    def samples(self):
        return (Sample(name="letter", title="A letter", body={}),)

    def freshen(self, body, nonce, now):
        return body

    def authenticate(self, body):
        return SignedRequest(body=body)


def test_an_adapter_is_known_by_what_it_can():
    """Whatever has the methods is an adapter, without any base class."""
    assert isinstance(Postbox(), Adapter)
    assert not isinstance(object(), Adapter)


def test_samples_are_optional():
    """An adapter may bring samples, and need not."""
    assert isinstance(PostboxWithSamples(), SampleSource)
    assert not isinstance(Postbox(), SampleSource)


def test_from_callback_to_events():
    """What `verify` returns is what `parse` takes, and its events carry the callback's time."""
    adapter = Postbox()
    callback = Callback(body=b'{"dear":"reader"}', received_at=NOW)
    (event,) = adapter.parse(adapter.verify(callback)).events
    assert event.raw == {"dear": "reader"}
    assert event.occurred_at == event.received_at == NOW


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Hub-Signature-256": "sha256=00"},
        [("X-Hub-Signature-256", "sha256=00")],
        CIMultiDict({"X-Hub-Signature-256": "sha256=00"}),
    ],
)
def test_headers_ignore_case(headers):
    """A header is found in whatever case it was sent."""
    callback = Callback(body=b"", received_at=NOW, headers=headers)
    assert callback.headers["x-hub-signature-256"] == "sha256=00"


def test_headers_and_query_may_repeat_a_name():
    """Every value of a repeated name is there, in its order."""
    pairs = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "192.0.2.2")]
    callback = Callback(body=b"", received_at=NOW, headers=pairs, query=pairs)
    assert callback.headers.getall("x-forwarded-for") == ["192.0.2.1", "192.0.2.2"]
    assert callback.query.getall("X-Forwarded-For") == ["192.0.2.1", "192.0.2.2"]


def test_query_minds_case():
    """A query's names are taken as they are."""
    callback = Callback(body=b"", received_at=NOW, query={"hub.mode": "subscribe"})
    assert "Hub.Mode" not in callback.query


def test_the_servers_own_headers_and_query_are_not_copied():
    """What the server holds already is taken as it is, since it comes with every request."""
    headers = CIMultiDictProxy(CIMultiDict())
    query = MultiDictProxy(MultiDict())
    callback = Callback(body=b"", received_at=NOW, headers=headers, query=query)
    assert callback.headers is headers
    assert callback.query is query


def test_defaults_of_a_callback():
    """A callback needs a body and a time, and is a POST to the adapter's own path then."""
    callback = Callback(body=b"", received_at=NOW)
    assert (callback.method, callback.tail, callback.client) == ("POST", "", None)
    assert not callback.headers
    assert not callback.query


def test_no_repr_shows_what_came_in():
    """Neither body, path, headers nor query are shown: each may hold secrets or a user's words."""
    callback = Callback(
        body=b"hunter2",
        received_at=NOW,
        tail="hunter2",
        headers={"a": "hunter2"},
        query={"a": "hunter2"},
    )
    verified = Verified(payload=b"hunter2", received_at=NOW, callback=callback)
    outgoing = SignedRequest(body=b"hunter2", tail="hunter2", headers={"a": "hunter2"})
    sample = Sample(name="a", title="b", body={"a": "hunter2"})
    for value in (callback, verified, outgoing, sample):
        assert "hunter2" not in repr(value)


@pytest.mark.parametrize(
    "cls", [Callback, Verified, Response, Parsed, Place, Scope, Sample, SignedRequest]
)
def test_values_are_frozen_and_keyword_only(cls):
    """What passes between bridge and adapters cannot be changed on the way."""
    assert all(field.kw_only for field in attrs.fields(cls))
    instance = cls.__new__(cls)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(instance, attrs.fields(cls)[0].name, None)


def test_the_acknowledgement():
    """A callback without events is acknowledged with an empty 200."""
    assert Parsed() == Parsed(events=(), response=ACKNOWLEDGED, malformed=None)
    assert (ACKNOWLEDGED.status, ACKNOWLEDGED.body) == (200, b"")


@pytest.mark.parametrize("role", [Role.BUSINESS, Role.AGENT])
def test_scope_business(role):
    """The business's side has its phone, and the role that is asked for."""
    assert SCOPE.business(role) == Party(phone="+6281519236680", role=role)


def test_scope_business_by_default():
    """Unless told, the business itself is speaking."""
    assert SCOPE.business().role is Role.BUSINESS


def test_scope_conversation():
    """A conversation is named by channel, account and user, with the provider's number beside."""
    assert SCOPE.conversation("+6281519140327", "42") == Conversation(
        id="whatsapp:30058:+6281519140327", kind=ConversationKind.DIRECT, provider_id="42"
    )


def test_a_scope_is_a_place_and_a_time():
    """A place that is remembered becomes the scope of each callback that comes in there."""
    place = Place(
        source="incs", channel="whatsapp", account="30058", business_phone="+6281519236680"
    )
    assert new_scope(place, received_at=NOW) == SCOPE


def test_a_message_in_a_scope():
    """A message made in a scope has the scope's source, channel, account and time."""
    fields = {
        "key": "message/whatsapp/wamid.A",
        "occurred_at": datetime(2025, 6, 8, 20, 59, 40, tzinfo=UTC),
        "raw": {"id": "wamid.A"},
        "message_id": "wamid.A",
        "direction": Direction.INBOUND,
        "origin": Origin.USER,
        "conversation": Conversation(id="whatsapp:30058:+6281519140327"),
        "sender": Party(phone="+6281519140327"),
        "recipient": Party(phone="+6281519236680", role=Role.BUSINESS),
        "content": Text(text="Hi"),
    }
    assert new_message(SCOPE, **fields) == Message(
        source="incs", channel="whatsapp", account="30058", received_at=NOW, **fields
    )


def test_a_status_in_a_scope():
    """A status made in a scope has the scope's source, channel, account and time."""
    fields = {
        "key": "status/whatsapp/wamid.A/sent",
        "occurred_at": datetime(2025, 6, 8, 20, 59, 40, tzinfo=UTC),
        "raw": {"id": "wamid.A"},
        "message_id": "wamid.A",
        "status": Status.SENT,
        "provider_status": "sent",
    }
    assert new_status_change(SCOPE, **fields) == StatusChange(
        source="incs", channel="whatsapp", account="30058", received_at=NOW, **fields
    )


@pytest.mark.parametrize(
    ("declared", "cls", "set_by_the_journal"),
    [(NewMessage, Message, set()), (NewStatusChange, StatusChange, {"advanced", "current"})],
)
def test_what_a_type_checker_is_told_is_what_the_class_takes(declared, cls, set_by_the_journal):
    """Each field that a scope does not hold is declared, with the default that the class has."""
    told = inspect.signature(declared.__call__).parameters
    taken = inspect.signature(cls).parameters
    elsewhere = {field.name for field in attrs.fields(Scope)} | set_by_the_journal
    assert {name: told[name].default for name in told if name not in ("self", "scope")} == {
        name: taken[name].default for name in taken if name not in elsewhere
    }


def test_scope_unrecognized():
    """What cannot be read becomes an event named by the digest of its body."""
    # printf '{}' | sha256sum
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert SCOPE.unrecognized({}, "no event", "message.messages[2]") == Unrecognized(
        key=f"unrecognized/whatsapp/{digest}",
        source="incs",
        channel="whatsapp",
        account="30058",
        occurred_at=NOW,
        received_at=NOW,
        raw={},
        reason="no event",
        path="message.messages[2]",
    )
