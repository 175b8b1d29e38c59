"""What stands in a log, a traceback or a test's output for an event holds no personal data."""

from __future__ import annotations

import types
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
import pytest

from bridge.journal.protocol import Entry, Retry
from bridge.model import CONTENT_CLASSES, EVENT_CLASSES, Conversation, Message, Party, Text
from tests.bridge.events import NOON, message

NAME = "Lessie Laytoya"
PHONE = "+6281519236680"
WAMID = "wamid.HBgNNjI4MTUxOTIzNjY4MBUCABIYFDNBNEE2NTk5QUVFMDM4MTAxNDQ0"  # with the phone inside
PLACE = 52.521918

# Ids, and the words of providers and of programs, which tell what an event is about.
IDS = {"key", "account", "id", "message_id", "aliases", "completes", "path", "reason"}
WORDS = {
    *("source", "domain", "channel", "id_space", "provider_status", "code", "mime_type", "sha256"),
    *("language", "category", "topic", "template_id", "template_name", "source_type", "type"),
    *("media_type", "provider_type", "currency", "model", "current", "role", "origin"),
}


def planted(hint: Any, name: str) -> Any:
    """Return a value of a type with personal data wherever a person's could be."""
    if hint is str:
        if name in WORDS:
            return "word"
        return WAMID if name in IDS else PHONE if name in ("phone", "user_id") else NAME
    if hint is float:
        return PLACE if name in ("latitude", "longitude") else 1.5
    if hint is Decimal:
        return Decimal("4711.42")
    if hint is datetime:
        return NOON
    if hint in (int, bool):
        return 1
    if get_origin(hint) in (Union, types.UnionType):
        choices = [each for each in get_args(hint) if each is not type(None)]
        return planted(choices[0], name)
    if get_origin(hint) is tuple:
        return (planted(get_args(hint)[0], name),)
    if get_origin(hint) is dict or "JsonValue" in str(hint):
        return {"name": NAME, "phone": PHONE}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    if attrs.has(hint):
        return filled(hint)
    return Text(text=NAME)


def filled(cls: type) -> Any:
    hints = get_type_hints(cls)
    return cls(**{each.alias: planted(hints[each.name], each.name) for each in attrs.fields(cls)})


@pytest.mark.parametrize("cls", [*EVENT_CLASSES, *CONTENT_CLASSES], ids=lambda cls: cls.__name__)
def test_no_personal_data_is_shown(cls):
    """Not in the repr nor as a string, however deep it lies: no name, words, phone or place."""
    value = filled(cls)
    for shown in (repr(value), str(value), f"{value}", repr([value])):
        assert cls.__name__ in shown
        for secret in (NAME, "Laytoya", PHONE[1:-2], "52.5219", "4711", WAMID[6:]):
            assert secret not in shown


def test_what_happened_is_shown():
    """The class, the key, the channel and the kind of content tell what it is about."""
    shown = repr(message(WAMID, user=PHONE, text="my secret"))
    for word in ("Message(", "key='message/whatsapp/wamid.****", "channel='whatsapp'"):
        assert word in shown
    assert "content=Text(text='(9 characters)')" in shown
    assert "sender=Party(phone='+****80')" in shown
    assert "occurred_at=2026-11-01T12:00:00+00:00" in shown
    assert "reply_to" not in shown  # it is not set


def test_what_holds_an_event_shows_no_more():
    """Entries, conversations, parties and what a subscriber raised say as little."""
    entry = Entry(position=7, lane="lane", event=message(user=PHONE, text="my secret"))
    held = Retry(tries=1, error=f"ValueError: no account of {PHONE}")
    for value in (entry, held, Party(phone=PHONE, name=NAME), Conversation(id=f"a:b:{PHONE}")):
        assert PHONE not in repr(value)
        assert NAME not in repr(value)
    assert "position=7" in repr(entry)
    assert "no account of +****80" in repr(held)
    assert repr(Retry()).count("None") == 5
    assert Message.__repr__ is not object.__repr__
