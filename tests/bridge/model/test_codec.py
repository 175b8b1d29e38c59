"""Our own JSON: the words, their order, and the way back."""

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import CodecError
from bridge.model import (
    CONTENT_CLASSES,
    EVENT_CLASSES,
    CallPermission,
    Choice,
    ChoiceSource,
    ConsentChange,
    ContactCard,
    ContactPhone,
    Contacts,
    Conversation,
    ConversationKind,
    Deletion,
    Direction,
    Edit,
    Form,
    Forwarded,
    Location,
    Media,
    MediaKind,
    Message,
    Notice,
    Order,
    OrderItem,
    Origin,
    Party,
    Pricing,
    ProviderError,
    Reaction,
    Role,
    Status,
    StatusChange,
    System,
    SystemKind,
    Template,
    TemplateAspect,
    TemplateChange,
    TemplateParameter,
    Text,
    Thumbnail,
    Typing,
    Unrecognized,
    Unsupported,
)
from bridge.model.codec import decode, encode, encode_brief, from_dict, to_dict
from tests.bridge.strategies import events, few, instances, json_values, untimed

OCCURRED = datetime(2025, 6, 8, 20, 59, 43, tzinfo=UTC)
RECEIVED = datetime(2025, 6, 8, 20, 59, 44, 123_456, tzinfo=UTC)
COMMON = {
    "key": "k",
    "source": "incs",
    "channel": "whatsapp",
    "occurred_at": OCCURRED,
    "received_at": RECEIVED,
}
COMMON_JSON = (
    '"key":"k","source":"incs","channel":"whatsapp",'
    '"occurred_at":"2025-06-08T20:59:43Z","received_at":"2025-06-08T20:59:44.123456Z"'
)


def message(content):
    return Message(
        key="message/whatsapp/wamid.1",
        source="incs",
        channel="whatsapp",
        account="30058",
        occurred_at=OCCURRED,
        received_at=RECEIVED,
        message_id="wamid.1",
        direction=Direction.INBOUND,
        origin=Origin.USER,
        conversation=Conversation(id="whatsapp:30058:+6281519140327"),
        sender=Party(phone="+6281519140327", name="Kerry"),
        recipient=Party(role=Role.BUSINESS),
        content=content,
        raw={"event": "new_message"},
    )


def as_json(content):
    """The JSON of a message's content, as it stands in the event."""
    text = encode(message(content)).decode()
    return text.partition('"content":')[2].partition(',"forwarded"')[0]


# --- the words and their order -----------------------------------------------------------


def test_message():
    """A message is written in the model's order, `kind` first and `raw` last."""
    assert encode(message(Text(text="héllo"))).decode() == (
        '{"kind":"message","key":"message/whatsapp/wamid.1","source":"incs","channel":"whatsapp",'
        '"account":"30058","occurred_at":"2025-06-08T20:59:43Z",'
        '"received_at":"2025-06-08T20:59:44.123456Z","message_id":"wamid.1","aliases":[],'
        '"direction":"inbound","origin":"user",'
        '"conversation":{"id":"whatsapp:30058:+6281519140327","kind":"direct"},'
        '"sender":{"phone":"+6281519140327","name":"Kerry","role":"user"},'
        '"recipient":{"role":"business"},'
        '"content":{"kind":"text","text":"héllo"},"forwarded":"no","owned":true,'
        '"raw":{"event":"new_message"}}'
    )


@pytest.mark.parametrize(
    ("event", "own"),
    [
        (
            StatusChange(
                **COMMON,
                raw=[],
                message_id="wamid.1",
                aliases=("260400000076",),
                status=Status.FAILED,
                provider_status="failed",
                error=ProviderError(code="131049", title="not delivered"),
                recipient=Party(user_id="US.1"),
                pricing=Pricing(billable=False, model="PMP", conversation_expires_at=OCCURRED),
                correlation="order-1",
                resolved=False,
                advanced=True,
                current=Status.FAILED,
            ),
            (
                '"message_id":"wamid.1","aliases":["260400000076"],"status":"failed",'
                '"provider_status":"failed","error":{"code":"131049","title":"not delivered"},'
                '"recipient":{"user_id":"US.1","role":"user"},'
                '"pricing":{"billable":false,"model":"PMP",'
                '"conversation_expires_at":"2025-06-08T20:59:43Z"},"correlation":"order-1",'
                '"resolved":false,"advanced":true,"current":"failed","raw":[]'
            ),
        ),
        (
            TemplateChange(
                **COMMON,
                raw={},
                template_id="1689556908129832",
                template_name="otp",
                language="en_US",
                aspect=TemplateAspect.STATUS,
                value="REJECTED",
                reason="SCAM",
                details={"rejection_info": None},
            ),
            (
                '"template_id":"1689556908129832","template_name":"otp","language":"en_US",'
                '"aspect":"status","value":"REJECTED","reason":"SCAM",'
                '"details":{"rejection_info":null},"raw":{}'
            ),
        ),
        (
            ConsentChange(**COMMON, raw=1, party=Party(name="Kerry"), granted=False, scope="x"),
            '"party":{"name":"Kerry","role":"user"},"granted":false,"scope":"x","raw":1',
        ),
        (
            Typing(
                **COMMON,
                raw="r",
                party=Party(username="kerry"),
                conversation=Conversation(id="c", provider_id="42"),
            ),
            (
                '"party":{"username":"kerry","role":"user"},'
                '"conversation":{"id":"c","kind":"direct","provider_id":"42"},"raw":"r"'
            ),
        ),
        (
            Notice(**COMMON, raw=None, topic="account_alerts", details=["x"]),
            '"topic":"account_alerts","details":["x"],"raw":null',
        ),
        (
            Unrecognized(**COMMON, raw={"a": None}, reason="unknown event", path="event"),
            '"reason":"unknown event","path":"event","raw":{"a":null}',
        ),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_events(event, own):
    """Every event is written with its own words after the common ones; nulls are left out."""
    assert encode(event).decode() == f'{{"kind":"{event.kind}",{COMMON_JSON},{own}}}'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (Text(text=""), '{"kind":"text","text":""}'),
        (
            Media(
                media=MediaKind.VOICE,
                mime_type="audio/ogg; codecs=opus",
                size=1024,
                duration=1.5,
                animated=False,
                thumbnail=Thumbnail(url="https://x.org/t", width=1),
            ),
            (
                '{"kind":"media","media":"voice","mime_type":"audio/ogg; codecs=opus","size":1024,'
                '"duration":1.5,"animated":false,"thumbnail":{"url":"https://x.org/t","width":1}}'
            ),
        ),
        (
            Location(latitude=-6.2, longitude=0.0, name="Jakarta"),
            '{"kind":"location","latitude":-6.2,"longitude":0.0,"name":"Jakarta"}',
        ),
        (
            Contacts(contacts=(ContactCard(name="A", phones=(ContactPhone(phone="+1 555"),)),)),
            (
                '{"kind":"contacts","contacts":[{"name":"A","phones":[{"phone":"+1 555"}],'
                '"emails":[],"addresses":[],"urls":[]}]}'
            ),
        ),
        (
            Choice(source=ChoiceSource.SUGGESTION, id="yes", title="Yes", card=0),
            '{"kind":"choice","source":"suggestion","id":"yes","title":"Yes","card":0}',
        ),
        (
            Form(name="flow", data={"flow_token": "unused", "age": None}),
            '{"kind":"form","name":"flow","data":{"flow_token":"unused","age":null}}',
        ),
        (Reaction(message_id="wamid.2"), '{"kind":"reaction","message_id":"wamid.2"}'),
        (
            Order(items=(OrderItem(product_id="p", quantity=2, price=Decimal("19.90")),)),
            '{"kind":"order","items":[{"product_id":"p","quantity":2,"price":"19.90"}]}',
        ),
        (
            Template(
                name="otp", parameters=(TemplateParameter(component="body", value="1", index=0),)
            ),
            (
                '{"kind":"template","name":"otp",'
                '"parameters":[{"component":"body","value":"1","index":0}]}'
            ),
        ),
        (
            Edit(message_id="wamid.2", content=Text(text="new")),
            '{"kind":"edit","message_id":"wamid.2","content":{"kind":"text","text":"new"}}',
        ),
        (Deletion(message_id="wamid.2"), '{"kind":"deletion","message_id":"wamid.2"}'),
        (
            System(change=SystemKind.USER_ID, previous="US.1", current="US.2"),
            '{"kind":"system","change":"user_id","previous":"US.1","current":"US.2"}',
        ),
        (
            CallPermission(granted=True, expires_at=OCCURRED),
            '{"kind":"call_permission","granted":true,"expires_at":"2025-06-08T20:59:43Z"}',
        ),
        (
            Unsupported(provider_type="poll_creation", error=ProviderError(code="131051")),
            '{"kind":"unsupported","provider_type":"poll_creation","error":{"code":"131051"}}',
        ),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_contents(content, expected):
    """Every content is written with its kind first and its nulls left out."""
    assert as_json(content) == expected


def test_to_dict():
    """An event as plain values holds nothing but what JSON has."""
    event = Unrecognized(**COMMON, raw=[1.5, None], reason="unknown event")
    assert to_dict(event) == {
        "kind": "unrecognized",
        "key": "k",
        "source": "incs",
        "channel": "whatsapp",
        "occurred_at": "2025-06-08T20:59:43Z",
        "received_at": "2025-06-08T20:59:44.123456Z",
        "reason": "unknown event",
        "raw": [1.5, None],
    }


def test_times_in_other_zones():
    """A time in another zone is written and read as the same instant in UTC."""
    jakarta = timezone(timedelta(hours=7))
    event = attrs.evolve(
        Notice(**COMMON, raw=None, topic="t"),
        occurred_at=datetime(2025, 6, 9, 3, 59, 43, tzinfo=jakarta),
    )
    assert b'"occurred_at":"2025-06-08T20:59:43Z"' in encode(event)
    assert decode(encode(event)).occurred_at == OCCURRED


# --- there and back ----------------------------------------------------------------------


@pytest.mark.parametrize("cls", EVENT_CLASSES, ids=lambda cls: cls.kind)
@untimed
@given(data=st.data())
def test_every_event_round_trips(cls, data):
    """`decode(encode(event)) == event`, and of the same class, for every event there can be."""
    event = data.draw(instances(cls))
    result = decode(encode(event))
    assert result == event
    assert type(result) is cls
    assert repr(result) == repr(event)  # a word is a member again, though it equals its string


@pytest.mark.parametrize("cls", CONTENT_CLASSES, ids=lambda cls: cls.kind)
@few
@given(data=st.data())
def test_every_content_round_trips(cls, data):
    """`decode(encode(event)) == event` for a message of every content there can be."""
    event = message(data.draw(instances(cls)))
    result = decode(encode(event))
    assert result == event
    assert type(result.content) is cls
    assert repr(result) == repr(event)


@untimed
@given(events)
def test_plain_values_round_trip(event):
    """`from_dict(to_dict(event)) == event`, and both sides are the JSON that `encode` writes."""
    plain = to_dict(event)
    assert from_dict(plain) == event
    assert orjson.loads(encode(event)) == plain


@untimed
@given(events)
def test_the_brief_form_tells_the_same_in_less(event):
    """What a journal keeps of an event is read back as the event, and takes no more room."""
    brief = encode_brief(event)

    assert decode(brief) == event
    assert encode(decode(brief)) == encode(event)
    assert len(brief) <= len(encode(event))


def test_what_a_journal_leaves_out_is_meant_for_ever():
    """Fields that journals leave out are read as these values, whatever the model says later."""
    told = decode(
        b'{"kind":"message","key":"k","source":"incs","channel":"whatsapp",'
        b'"occurred_at":"2025-06-08T20:59:43Z","received_at":"2025-06-08T20:59:44Z",'
        b'"message_id":"m","direction":"inbound","origin":"user","conversation":{"id":"c"},'
        b'"sender":{"phone":"+16505551234"},"recipient":{"role":"business"},'
        b'"content":{"kind":"text","text":"Hi"},"raw":null}'
    )

    assert (told.aliases, told.forwarded, told.owned) == ((), Forwarded.NO, True)
    assert told.conversation.kind is ConversationKind.DIRECT
    assert told.sender.role is Role.USER
    change = decode(
        b'{"kind":"status_change","key":"k","source":"incs","channel":"whatsapp",'
        b'"occurred_at":"2025-06-08T20:59:43Z","received_at":"2025-06-08T20:59:44Z",'
        b'"message_id":"m","status":"read","provider_status":"read","raw":null}'
    )
    assert (change.aliases, change.resolved) == ((), True)


@untimed
@given(events)
def test_json_is_one_line_in_order(event):
    """An event is one line; `kind` stands first, `raw` last, and no null at the top but `raw`."""
    line = encode(event)
    plain = json.loads(line)
    assert b"\n" not in line
    assert next(iter(plain)) == "kind"
    assert list(plain)[-1] == "raw"
    assert all(value is not None for name, value in plain.items() if name != "raw")


def test_unknown_names_are_ignored():
    """An event of a later version, with a field that we do not know, can still be read."""
    event = Notice(**COMMON, raw=None, topic="t")
    assert from_dict({**to_dict(event), "mood": "merry"}) == event


def test_explicit_nulls_are_read():
    """A null where a field may be missing is the same as the field missing."""
    event = Notice(**COMMON, raw=None, topic="t")
    assert from_dict({**to_dict(event), "account": None, "details": None}) == event


def test_whole_numbers_are_read_as_degrees():
    """A number written without a fraction by another JSON writer is a number all the same."""
    plain = to_dict(message(Location(latitude=6.0, longitude=106.5)))
    plain["content"]["latitude"] = 6
    content = from_dict(plain).content
    assert content == Location(latitude=6.0, longitude=106.5)
    assert type(content.latitude) is float


# --- what is refused ---------------------------------------------------------------------


@untimed
@given(st.binary() | st.text() | json_values.map(orjson.dumps))
def test_garbage(data):
    """What is no event raises `CodecError` and nothing else."""
    with pytest.raises(CodecError):
        decode(data)


@untimed
@given(events.map(to_dict), st.data())
def test_damaged_events(plain, data):
    """An event with any one field replaced is read, or raises `CodecError` and nothing else."""
    name = data.draw(st.sampled_from(sorted(plain)))
    damaged = {**plain, name: data.draw(json_values)}
    try:
        event = from_dict(damaged)
    except CodecError:
        return
    assert decode(encode(event)) == event


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "telegram"}, "no event has this kind @ event"),
        ({"kind": ["message"]}, "no event has this kind @ event"),
        ({"key": 5}, "expected a string @ event.key"),
        ({"account": 30058}, "expected a string @ event.account"),
        ({"occurred_at": "2025-06-08T20:59:43"}, "expected a time in RFC 3339 @ event.occurred_at"),
        ({"occurred_at": "yesterday"}, "expected a time in RFC 3339 @ event.occurred_at"),
        ({"occurred_at": 1749416383}, "expected a time in RFC 3339 @ event.occurred_at"),
        (
            {"occurred_at": "0001-01-01T00:00:00+07:00"},
            "expected a time in RFC 3339 @ event.occurred_at",
        ),
        ({"direction": "sideways"}, "expected one of inbound, outbound @ event.direction"),
        ({"direction": 1}, "expected one of inbound, outbound @ event.direction"),
        ({"aliases": "wamid"}, "expected an array @ event.aliases"),
        ({"aliases": ["a", 5]}, "expected a string @ event.aliases[1]"),
        ({"sender": "hunter2"}, "expected an object @ event.sender"),
        ({"sender": {"phone": 5}}, "expected a string @ event.sender.phone"),
        ({"conversation": {}}, "missing @ event.conversation.id"),
        ({"content": "hunter2"}, "expected an object @ event.content"),
        ({"content": {}}, "no content has this kind @ event.content"),
        ({"content": {"kind": "text"}}, "missing @ event.content.text"),
        (
            {
                "content": {
                    "kind": "edit",
                    "message_id": "1",
                    "content": {"kind": "text", "text": 1},
                }
            },
            "expected a string @ event.content.content.text",
        ),
        (
            {"content": {"kind": "location", "latitude": "6", "longitude": True}},
            (
                "expected a number @ event.content.latitude; "
                "expected a number @ event.content.longitude"
            ),
        ),
        (
            {"content": {"kind": "location", "latitude": 10**400, "longitude": float("nan")}},
            (
                "expected a number @ event.content.latitude; "
                "expected a number @ event.content.longitude"
            ),
        ),
        (
            {"content": {"kind": "order", "items": [{"quantity": 1.5, "price": 19.9}]}},
            (
                "expected a whole number @ event.content.items[0].quantity; "
                "expected a decimal number in a string @ event.content.items[0].price"
            ),
        ),
        (
            {"content": {"kind": "order", "items": [{"price": "hunter2"}]}},
            "expected a decimal number in a string @ event.content.items[0].price",
        ),
        (
            {"content": {"kind": "call_permission", "granted": "true"}},
            "expected true or false @ event.content.granted",
        ),
        ({"content": {"kind": "form", "data": []}}, "expected an object @ event.content.data"),
    ],
)
def test_codec_error_says_what_is_wrong_where(changes, expected):
    """The error names the field and what would fit there, and quotes nothing."""
    plain = {**to_dict(message(Text(text="hello"))), **changes}
    with pytest.raises(CodecError) as caught:
        from_dict(plain)
    assert str(caught.value) == f"not an event: {expected}"
    assert caught.value.__suppress_context__


def test_codec_error_names_missing_fields():
    """The error names what is missing, but not without end."""
    with pytest.raises(CodecError) as caught:
        decode(b'{"kind":"notice"}')
    assert str(caught.value) == (
        "not an event: missing @ event.key; missing @ event.source; missing @ event.channel; "
        "missing @ event.occurred_at; missing @ event.received_at"
    )


@pytest.mark.parametrize(
    "data", [b'{"key": hunter2}', b'{"key": "hunter2\xff"}', "hunter2", b'"hunter2"']
)
def test_codec_error_quotes_nothing(data):
    """What is not JSON is told by its place, since it may be anybody's words."""
    with pytest.raises(CodecError) as caught:
        decode(data)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("depth", [300, 1000])
@pytest.mark.parametrize("bottom", [{"kind": "text", "text": "x"}, 5], ids=["sound", "damaged"])
def test_edits_of_edits_never_exhaust_the_stack(bottom, depth):
    """However deep contents nest, an event comes of them or a `CodecError`, and nothing else."""
    plain = to_dict(message(Text(text="x")))
    for _ in range(depth):
        bottom = {"kind": "edit", "message_id": "1", "content": bottom}
    with contextlib.suppress(CodecError):
        encode(from_dict({**plain, "content": bottom}))


@pytest.mark.parametrize(
    "raw",
    [{"a": {1}}, {1: "a"}, "\ud800", 2**64, object()],
    ids=["set", "name", "surrogate", "integer", "object"],
)
def test_raw_that_is_no_json(raw):
    """An event whose `raw` JSON cannot hold is refused when it is written."""
    with pytest.raises(CodecError, match="does not fit into JSON"):
        encode(Notice(**COMMON, raw=raw, topic="t"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none(value):
    """A number that JSON cannot hold is refused when it is written, and not turned into null."""
    with pytest.raises(CodecError, match="does not fit into JSON"):
        encode(message(Location(latitude=value, longitude=0.0)))


def test_only_events_are_written():
    """What is no event of the closed set is refused."""
    with pytest.raises(CodecError, match="does not fit into JSON"):
        encode(object())
