"""The contract between bridge and adapters."""

import inspect
import re
from datetime import UTC, datetime

import attrs
import pytest
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy

from bridge.adapter import (
    ACKNOWLEDGED,
    Adapter,
    Callback,
    Parsed,
    Response,
    Sample,
    SampleSource,
    Scope,
    SignedRequest,
    Verified,
    build,
)
from bridge.adapter.body import read_object
from bridge.errors import Unreadable
from bridge.model import (
    CONTENT_CLASSES,
    EVENT_CLASSES,
    Conversation,
    ConversationKind,
    Notice,
    Party,
    Role,
    Unrecognized,
)

NOW = datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC)
BODY = {"message": {"messages": [{"id": 1}, {"id": 2}, 3]}, "channel_id": 30058}
SCOPE = Scope(
    source="incs",
    channel="whatsapp",
    account="30058",
    business=Party(phone="+6281519236680", role=Role.BUSINESS),
    received_at=NOW,
    body=BODY,
)


class Postbox:
    """The least that is an adapter."""

    methods = frozenset({"POST"})

    def verify(self, callback, /):
        return Verified(payload=callback.body, received_at=callback.received_at, callback=callback)

    def parse(self, verified, /):
        scope = Scope(
            source="postbox",
            channel="post",
            received_at=verified.received_at,
            body=read_object(verified.payload),
        )
        return Parsed(events=(scope.unrecognized(Unreadable("", "a letter")),))


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
    "cls", [Callback, Verified, Response, Parsed, Scope, Sample, SignedRequest]
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


def test_the_business_of_a_scope():
    """Unless its number is known, the business is a party of which nothing else is known."""
    scope = Scope(source="postbox", channel="post", received_at=NOW, body={})
    assert scope.business == Party(role=Role.BUSINESS)


def test_scope_conversation():
    """A conversation is named by channel, account and user, with the provider's number beside."""
    assert SCOPE.conversation("+6281519140327", "42") == Conversation(
        id="whatsapp:30058:+6281519140327", kind=ConversationKind.DIRECT, provider_id="42"
    )


def test_scope_notice():
    """What has no event of its own is a notice, named by what tells it apart."""
    told = {"display_phone_number": "15550783881"}
    assert SCOPE.notice("phone_number_name_update", told, "7") == Notice(
        key="notice/whatsapp/7",
        source="incs",
        channel="whatsapp",
        account="30058",
        occurred_at=NOW,
        received_at=NOW,
        raw=told,
        topic="phone_number_name_update",
        details=told,
    )


def test_scope_unrecognized():
    """What cannot be read keeps the body around it, without its neighbours.

    It is named by that and, since nothing in it tells a time, by the hour of its receipt.
    The digest is what `printf '{"channel_id":30058,"message":{"messages":[3]}}' | sha256sum` says.
    """
    digest = "5d74ee2de06718b56ae595d5712d99d6dc06c238fb1d2edada965f570783bb91"
    assert SCOPE.unrecognized(Unreadable("id", "missing"), "message", "messages", 2) == (
        Unrecognized(
            key=f"unrecognized/whatsapp/{digest}/2025-06-08T20",
            source="incs",
            channel="whatsapp",
            account="30058",
            occurred_at=NOW,
            received_at=NOW,
            raw={"message": {"messages": [3]}, "channel_id": 30058},
            reason="missing",
            path="message.messages[2].id",
        )
    )
    assert SCOPE.unrecognized(Unreadable("", "no event")).path is None


@pytest.mark.parametrize("cls", [*EVENT_CLASSES, *CONTENT_CLASSES, Party, Conversation, Scope])
def test_each_class_is_built_by_its_name(cls):
    """An adapter finds the function of each event and content under the class's own name."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
    function = getattr(build, name)
    assert inspect.signature(function).parameters.keys() == inspect.signature(cls).parameters.keys()
    values = dict.fromkeys(inspect.signature(cls).parameters)
    values |= {name: () for name in ("options", "cards") if name in values}  # lists are taken too
    assert function(**values) == cls(**values)
