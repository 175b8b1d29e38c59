"""What people read holds no phone, no text and nothing a terminal acts on."""

import base64
import unicodedata
from datetime import datetime
from hashlib import blake2b

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import model
from bridge.model.masking import (
    mask_phone,
    mask_phones_in,
    mask_text,
    mask_told_in,
    masked,
    neutralise,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello", "hello"),
        ("你好, Grüße", "你好, Grüße"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\u202edcba", r"abc\u202edcba"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\ud800", r"\ud800"),
        ("a\u00a0b", "a\u00a0b"),
    ],
)
def test_what_acts_on_a_terminal_is_written_out(text, shown):
    """Controls, escape sequences, overrides and separators become visible escapes."""
    assert neutralise(text) == shown


def test_joined_emoji_stay_whole():
    """The joiner inside an emoji is part of its spelling and stays."""
    assert neutralise("👩\u200d💻\nok") == "👩\u200d💻\\nok"


@given(st.text(st.characters(exclude_categories=[])))
def test_neutralised_text_is_one_harmless_line(text):
    """Whatever the text, its neutralised form has no control, override or line break."""
    shown = neutralise(text)
    assert len(shown.splitlines()) <= 1
    categories = {unicodedata.category(c) for c in shown if c not in "\u200c\u200d"}
    assert categories.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})


@pytest.mark.parametrize(
    ("phone", "masked"),
    [
        ("+85268415026", "+****26"),
        ("6281519236680", "****80"),
        ("+12345", "+****5"),
        ("", "****"),
    ],
)
def test_a_masked_phone_keeps_its_end(phone, masked):
    """A number keeps its last two digits, a short one its last only."""
    assert mask_phone(phone) == masked


@given(st.from_regex(r"\+?[0-9]{5,15}", fullmatch=True))
def test_a_masked_phone_hides_at_least_three_digits(phone):
    """No number can be read back from its masked form."""
    assert sum(c.isdigit() for c in mask_phone(phone)) <= sum(c.isdigit() for c in phone) - 3


def test_a_masked_text_tells_its_length_only():
    """A text is replaced by the number of its characters."""
    assert mask_text("hello") == "(5 characters)"
    assert mask_text("!") == "(1 character)"


SORTS = ["modern", "bare", "packed"]
# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/text
WAMID = "wamid.HBgLMTY1MDM4Nzk0MzkVAgARGBI3N0EyQTk2NjE5OTlDMDY5OUYA"
HIDDEN = "****" + blake2b(WAMID.removeprefix("wamid.").encode(), digest_size=6).hexdigest()


def wamid(phone: str, sort: str) -> str:
    """Return an id as WhatsApp makes them: the phone's digits, or two in a byte; and a hash."""
    if sort == "packed":
        head = bytes.fromhex(f"801186{phone}f{'0' * (len(phone) % 2 == 0)}")
    else:
        head = b"\x1c\x18" + bytes([len(phone)]) + phone.encode()
    data = head + b"\x15\x02\x00\x12\x18\x14" + b"3EB0C767D097B7C7C0DF\x00"
    text = base64.b64encode(data).decode()
    return f"wamid.{text}" if sort == "modern" else text.replace("+", "-").replace("/", "_")


@given(st.from_regex(r"[1-9][0-9]{7,14}", fullmatch=True), st.sampled_from(SORTS))
def test_no_phone_can_be_read_out_of_a_masked_id(phone, sort):
    """Whichever form a provider's id has its phone in, nothing of it is left; a digest tells it."""
    text = wamid(phone, sort)
    shown = mask_phones_in(f"message/whatsapp/{text}/x")
    assert text.removeprefix("wamid.")[:16] not in shown
    assert shown == mask_phones_in(f"message/whatsapp/{text}/x")
    assert shown != mask_phones_in(f"message/whatsapp/{text.replace('=', '')[:-4]}AAAA/x")


def test_ids_of_an_event_s_json_are_masked():
    """An event's key, its ids and its aliases are masked alike wherever they stand."""
    event = {"key": WAMID, "message_id": WAMID, "aliases": [WAMID], "domain": "acme"}
    hidden = f"wamid.{HIDDEN}"
    assert masked(event | {"reply_to": {"message_id": WAMID}}) == {
        "key": hidden,
        "message_id": hidden,
        "aliases": [hidden],
        "domain": "acme",
        "reply_to": {"message_id": hidden},
    }


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("no route for +85268415026.", "no route for +****26."),
        ("whatsapp:30058:+85268415026", "whatsapp:30058:+****26"),
        ("KeyError: '85268415026'", "KeyError: '****26'"),
        ("30058_6281519140327", "30058_****27"),
        ("+1 (415) 555-0132", "+****32"),
        ("message/rcs/+85268415026/Ms1", "message/rcs/+****26/Ms1"),
        ("message/incs/260400000084", "message/incs/260400000084"),
        ("template/whatsapp/1/status/A/1754466101", "template/whatsapp/1/status/A/1754466101"),
        ("message/whatsapp/wamid.HBgN6281519236680A", "message/whatsapp/wamid.HBgN6281519236680A"),
        ("8080 bytes in 30058", "8080 bytes in 30058"),
        (f"status/whatsapp/{WAMID}/read", f"status/whatsapp/wamid.{HIDDEN}/read"),
        (f"{WAMID}, {WAMID}", f"wamid.{HIDDEN}, wamid.{HIDDEN}"),
        (
            "wamid.FQIAEhgUM0VCMEM3NjdEMDk3QjdDN0MwREY=",
            "wamid.FQIAEhgUM0VCMEM3NjdEMDk3QjdDN0MwREY=",
        ),
        ("trigger-8f3a2b1c-whatsapp-text-0001", "trigger-8f3a2b1c-whatsapp-text-0001"),
        ("notice/whatsapp/" + "3f9a" * 16, "notice/whatsapp/" + "3f9a" * 16),
    ],
)
def test_phones_inside_a_text_are_masked(text, masked):
    """Anything that could be a phone is masked; ids, ports and INCS's message numbers stay."""
    assert mask_phones_in(text) == masked


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            field.name
            for cls in (getattr(model, name) for name in model.__all__)
            if isinstance(cls, type) and attrs.has(cls)
            for field in attrs.fields(attrs.resolve_types(cls))
            if field.type in (datetime, datetime | None)
        }
    ),
)
def test_times_are_shown(name):
    """When something happened, or ends, is nobody's personal data."""
    assert masked({name: "2026-01-31T12:00:00Z"}) == {name: "2026-01-31T12:00:00Z"}


def test_what_an_error_repeats_of_an_event_is_masked():
    """An error that quotes a user's words or name shows neither; its own words stay."""
    event = {
        "kind": "message",
        "sender": {"phone": "+6281519140327", "name": "Ann Lee", "role": "user"},
        "recipient": {"user_id": "shop@rbm.goog", "role": "business"},
        "content": {"kind": "text", "text": "my (old) card"},
        "raw": {"type": "text"},
    }
    error = (
        "KeyError: no 'my (old) card' of Ann Lee, +6281519140327, in text, nor of Ann Leeds, "
        "at shop@rbm.goog"
    )
    assert mask_told_in(error, event) == (
        "KeyError: no '(13 characters)' of (7 characters), +****27, in text, nor of Ann Leeds, "
        "at shop@rbm.goog"
    )
