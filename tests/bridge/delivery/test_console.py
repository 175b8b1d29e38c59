"""The console shows each event as one readable, harmless and discreet line."""

import io
import re
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import model
from bridge.delivery.console import Console
from bridge.model import (
    CallPermission,
    Carousel,
    Choice,
    ChoiceSource,
    ConsentChange,
    ContactCard,
    Contacts,
    Conversation,
    ConversationKind,
    Deletion,
    Direction,
    Edit,
    Event,
    Form,
    Forwarded,
    Location,
    Media,
    MediaKind,
    Menu,
    Message,
    Native,
    Notice,
    Option,
    Order,
    OrderItem,
    Origin,
    Party,
    ProviderError,
    Reaction,
    Receipt,
    Referral,
    ReplyTo,
    Role,
    Status,
    StatusChange,
    System,
    SystemKind,
    Template,
    TemplateAspect,
    TemplateChange,
    Text,
    Typing,
    Unrecognized,
    Unsupported,
)

AT = datetime(2025, 8, 25, 8, 11, 0, tzinfo=UTC)
COMMON = {
    "key": "k",
    "source": "incs",
    "channel": "whatsapp",
    "account": "30058",
    "occurred_at": AT,
    "received_at": AT,
    "raw": None,
}
USER = Party(phone="+85268415026", name="Lessie")
TALK = Conversation(id="whatsapp:30058:+85268415026")


def message(content, **changes):
    fields = {
        "message_id": "wamid.A",
        "direction": Direction.INBOUND,
        "origin": Origin.USER,
        "conversation": TALK,
        "sender": USER,
        "recipient": Party(role=Role.BUSINESS),
        "content": content,
    }
    return Message(**COMMON | fields | changes)


def status(**changes):
    fields = {
        "message_id": "wamid.A",
        "status": Status.DELIVERED,
        "provider_status": "delivered",
        "recipient": USER,
    }
    return StatusChange(**COMMON | fields | changes)


def shown(event, **options):
    stream = io.StringIO()
    Console(stream=stream, **options)(event)
    return stream.getvalue()


def details(event, **options):
    """Return what a line says between its place and its key."""
    before = "2025-08-25 08:11:00Z  " + f"{event.kind:<15}  " + "whatsapp 30058  "
    line = shown(event, **options)
    assert line.startswith(before)
    return line.removeprefix(before).removesuffix("  k\n")


def test_a_line_reads_time_kind_place_party_content_and_key():
    """The whole line of a message: every column in its place, the phone and text masked."""
    event = message(Text(text="hello"), key="message/whatsapp/wamid.A")
    assert shown(event) == (
        "2025-08-25 08:11:00Z  message          whatsapp 30058  "
        "← +****26 text (5 characters)  message/whatsapp/wamid.A\n"
    )


def test_personal_data_is_shown_where_asked_for():
    """With `show_personal_data` the phone, the name and the text stand there in full."""
    assert details(message(Text(text="hello")), show_personal_data=True) == (
        '← +85268415026 "Lessie" text "hello"'
    )


@pytest.mark.parametrize(
    ("content", "masked", "plain"),
    [
        (
            Media(
                media=MediaKind.IMAGE,
                mime_type="image/jpeg",
                size=2048,
                filename="a.jpg",
                caption="me",
            ),
            "image image/jpeg 2048 bytes (5 characters) (2 characters)",
            'image image/jpeg 2048 bytes "a.jpg" "me"',
        ),
        (Media(media=MediaKind.STICKER), "sticker", "sticker"),
        (
            Location(latitude=-6.2, longitude=106.8, name="Monas"),
            "location (5 characters)",
            'location -6.2,106.8 "Monas"',
        ),
        (
            Contacts(contacts=(ContactCard(name="Al"), ContactCard())),
            "2 contacts (2 characters)",
            '2 contacts "Al"',
        ),
        (
            Choice(source=ChoiceSource.BUTTON, id="yes", title="1111"),
            "choice button (4 characters)",
            'choice button "1111"',
        ),
        (
            Choice(source=ChoiceSource.ACTION, id="go"),
            "choice action (2 characters)",
            'choice action "go"',
        ),
        (Form(name="flow", data={"a": 1}), "form (4 characters) 1 answer", 'form "flow" 1 answer'),
        (Form(response="[]"), "form 0 answers", "form 0 answers"),
        (Reaction(message_id="m", emoji="👍"), "reaction (1 character)", 'reaction "👍"'),
        (Reaction(message_id="m"), "reaction taken back", "reaction taken back"),
        (
            Order(items=(OrderItem(price=Decimal("1.50")), OrderItem()), text="fast"),
            "order 2 items (4 characters)",
            'order 2 items "fast"',
        ),
        (Template(name="promo", language="en"), "template promo en", "template promo en"),
        (
            Menu("What next?", options=[Option("track", "Track"), Option("agent", "Talk")]),
            "menu (10 characters) 2 options",
            'menu "What next?" 2 options',
        ),
        (
            Carousel([Menu("One", options=[Option("1", "Buy")])]),
            "carousel 1 card",
            "carousel 1 card",
        ),
        (Native({"type": "flow"}), "native", "native"),
        (Receipt(message_id="m"), "receipt", "receipt"),
        (Receipt(message_id="m", typing=True), "receipt, typing", "receipt, typing"),
        (
            Edit(message_id="m", content=Text(text="new")),
            "edit: text (3 characters)",
            'edit: text "new"',
        ),
        (Deletion(message_id="m"), "deletion", "deletion"),
        (
            System(change=SystemKind.NUMBER, body="now +85268415026"),
            "system number (16 characters)",
            'system number "now +85268415026"',
        ),
        (CallPermission(granted=False), "call permission refused", "call permission refused"),
        (
            CallPermission(granted=True, permanent=True),
            "call permission granted for good",
            "call permission granted for good",
        ),
        (
            Unsupported(provider_type="poll", error=ProviderError(code="131051")),
            "unsupported poll 131051",
            "unsupported poll 131051",
        ),
        (Unsupported(), "unsupported", "unsupported"),
    ],
)
def test_every_content_has_its_summary(content, masked, plain):
    """Each kind of content is summed up, with what the user wrote masked unless asked for."""
    assert details(message(content)) == f"← +****26 {masked}"
    assert details(message(content), show_personal_data=True) == (
        f'← +85268415026 "Lessie" {plain}'
    )


def test_an_outbound_message_names_its_recipient():
    """The arrow and the party turn around with the direction."""
    event = message(
        Text(text="hi"),
        direction=Direction.OUTBOUND,
        sender=Party(user_id="incs_1", role=Role.AGENT),
        recipient=USER,
    )
    assert details(event) == "→ +****26 text (2 characters)"


def test_what_surrounds_a_message_is_told():
    """Group, reply, forwarding and advertisement are each a word in the line."""
    event = message(
        Text(text="hi"),
        conversation=Conversation(id="g", kind=ConversationKind.GROUP),
        reply_to=ReplyTo(message_id="m"),
        forwarded=Forwarded.OFTEN,
        referral=Referral(source_id="1"),
    )
    assert details(event) == (
        "← +****26 in a group text (2 characters) in reply forwarded from an advertisement"
    )


@pytest.mark.parametrize(
    ("party", "name"),
    [
        (Party(), "somebody"),
        (Party(user_id="ID.13491208655302"), "****02"),
        (Party(user_id="incs_1", role=Role.AGENT), "incs_1"),
    ],
)
def test_a_party_without_a_phone_goes_by_its_id(party, name):
    """A user's id is masked like a phone, an agent's is not."""
    assert details(message(Deletion(message_id="m"), sender=party)) == f"← {name} deletion"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (status(), "→ +****26 delivered"),
        (status(advanced=True, current=Status.DELIVERED), "→ +****26 delivered"),
        (status(advanced=False, current=Status.READ), "→ +****26 delivered (now read)"),
        (
            status(advanced=False, current=Status.DELIVERED),
            "→ +****26 delivered (known already)",
        ),
        (
            status(
                status=Status.FAILED,
                recipient=None,
                error=ProviderError(code="131026", title="cannot reach +85268415026"),
            ),
            "→ failed 131026 cannot reach +****26",
        ),
        (
            status(status=Status.UNKNOWN, provider_status="warning", recipient=None),
            "→ unknown warning",
        ),
        (
            TemplateChange(
                **COMMON,
                template_id="1",
                template_name="promo",
                aspect=TemplateAspect.CATEGORY,
                value="MARKETING",
                previous="UTILITY",
                reason="content",
            ),
            "promo category: MARKETING was UTILITY because content",
        ),
        (
            TemplateChange(**COMMON, template_id="1", aspect=TemplateAspect.COMPONENTS),
            "1 components: changed",
        ),
        (
            ConsentChange(**COMMON, party=USER, granted=False, scope="marketing"),
            "← +****26 opted out of marketing",
        ),
        (ConsentChange(**COMMON, party=USER, granted=True), "← +****26 opted in"),
        (Typing(**COMMON, party=USER, conversation=TALK), "← +****26 is typing"),
        (Notice(**COMMON, topic="account_alerts"), "account_alerts"),
        (Notice(**COMMON, stale=True, topic="account_alerts"), "account_alerts (stale)"),
        (Event(**COMMON), ""),
        (
            Unrecognized(**COMMON, reason="text expected", path="message.messages[0].text"),
            "text expected at message.messages[0].text",
        ),
    ],
)
def test_every_other_event_has_its_summary(event, expected):
    """Each kind of event says what it is about; a provider's words hide phones."""
    assert details(event) == expected


@pytest.mark.parametrize(
    ("account", "place"),
    [(None, "whatsapp      "), ("+6281519236680", "whatsapp +****80")],
)
def test_an_account_may_be_missing_or_a_phone(account, place):
    """Without an account the channel stands alone; a phone is masked."""
    event = Notice(**COMMON | {"account": account}, topic="t")
    assert shown(event) == f"2025-08-25 08:11:00Z  notice           {place}  t  k\n"


def test_a_long_text_is_cut():
    """A text of thousands of characters does not drown the terminal."""
    line = shown(message(Text(text="x" * 4000)), show_personal_data=True)
    assert f'"{"x" * 200}…"' in line


def test_an_encoding_without_arrows_is_no_failure():
    """A stream that knows ASCII only gets escapes instead of raising."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Console(stream=stream, show_personal_data=True)(message(Text(text="é")))
    assert raw.getvalue().endswith(b'text "\\xe9"  k\n')
    assert b"\\u2190 +85268415026" in raw.getvalue()


def test_a_pipe_gets_no_colours_and_a_terminal_does(monkeypatch):
    """Escape sequences are written to terminals only; trouble is red there."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    failed = status(status=Status.FAILED, provider_status="failed")
    assert "\x1b" not in shown(failed)
    terminal = Terminal()
    Console(stream=terminal)(failed)
    assert "\x1b[31mstatus_change" in terminal.getvalue()
    assert re.sub(r"\x1b\[\d*m", "", terminal.getvalue()) == shown(failed)


def test_standard_output_is_the_default(capsys):
    """Without a stream the console prints to standard output."""
    Console()(Notice(**COMMON, topic="t"))
    assert capsys.readouterr().out.endswith("  t  k\n")


# --- the laws ----------------------------------------------------------------------------

# What users write is Greek here, so that no letter of it can stem from the line's own words.
GREEK = st.text(st.sampled_from("αβγδεζ\n\r\t\x1b\x9b\u202e\u2028"), min_size=1)
PHONE = st.from_regex(r"\+[1-9][0-9]{9,14}", fullmatch=True)
WORD = st.sampled_from(["plain", "a\x1b[2Jb", "x\u2029y", "number +85268415026 is unknown"])
PROVIDERS = {
    ("Template", "name"),
    ("Template", "language"),
    ("TemplateChange", "template_name"),
    ("ProviderError", "title"),
}
USERS = {
    *("text", "caption", "filename", "name", "username", "title", "body", "id", "emoji"),
    *("description", "response", "first_name", "last_name", "address", "headline"),
}


def any_value(cls, name, hint):
    if isinstance(hint, TypeVar):
        return any_value(cls, name, hint.__bound__)
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return st.one_of(*(any_value(cls, name, part) for part in get_args(hint)))
    if hint is NoneType:
        return st.none()
    if origin is tuple:
        return st.lists(any_value(cls, name, get_args(hint)[0]), max_size=2).map(tuple)
    if origin in (dict, list):
        return st.none()
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    if attrs.has(hint):
        return st.deferred(lambda: any_of(hint))
    if name == "channel":
        return st.sampled_from(["whatsapp", "rcs"])
    if hint is str:
        if "phone" in name or name == "account":
            return PHONE
        users = name in USERS and (cls.__name__, name) not in PROVIDERS
        return GREEK if users else WORD
    if hint is datetime:
        return st.datetimes(timezones=st.just(UTC))
    return st.from_type(hint)


def any_of(cls):
    hints = get_type_hints(cls)
    return st.builds(
        cls,
        **{
            field.name: st.none()
            if field.name in ("raw", "details", "data")
            else any_value(cls, field.name, hints[field.name])
            for field in attrs.fields(cls)
        },
    )


EVENTS = st.one_of(*(any_of(cls) for cls in model.EVENT_CLASSES))


@given(EVENTS, st.booleans())
def test_an_event_is_one_harmless_line(event: Event, personal: bool):
    """Whatever an event holds, its line is one, without controls, escapes or overrides."""
    line = shown(event, show_personal_data=personal)
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert not {unicodedata.category(c) for c in line[:-1]} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(EVENTS)
def test_a_masked_line_gives_nobody_away(event: Event):
    """With masking on, no letter that a user wrote and no whole phone appears."""
    line = shown(event)
    assert not re.search("[\u03b1-\u03c9]", line)
    assert not re.search(r"\+\d{8,}", line)
