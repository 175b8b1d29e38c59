"""Which events keep in order with each other, and whom an event is about."""

from __future__ import annotations

import attrs
import pytest

from bridge.journal.erasure import concerns
from bridge.journal.lanes import lane_of
from bridge.model import (
    ConsentChange,
    Conversation,
    Event,
    Party,
    ReplyTo,
    TemplateAspect,
    TemplateChange,
    Typing,
)
from tests.bridge.events import NOON, message, notice, status, unrecognized

ANNE = Party(phone="+16505551234", user_id="US.1")
COMMON = {
    "source": "test",
    "channel": "whatsapp",
    "occurred_at": NOON,
    "received_at": NOON,
    "raw": {},
}
TALK = Conversation(id="whatsapp:30058:+16505551234")
TYPING = Typing(key="typing/1", party=ANNE, conversation=TALK, **COMMON)
CONSENT = ConsentChange(key="consent/1", party=ANNE, granted=True, **COMMON)
TEMPLATE = TemplateChange(key="t/1", template_id="7", aspect=TemplateAspect.STATUS, **COMMON)


@pytest.mark.parametrize(
    ("event", "lane"),
    [
        (message(), "whatsapp:30058:+16505551234"),
        (TYPING, "whatsapp:30058:+16505551234"),
        (attrs.evolve(CONSENT, conversation=TALK), "whatsapp:30058:+16505551234"),
        (CONSENT, "consent/1"),
        (status(), "whatsapp::message:wamid.1"),
        (attrs.evolve(status(), conversation=TALK), "whatsapp:30058:+16505551234"),
        (TEMPLATE, "whatsapp::template:7"),
        (notice(), "whatsapp:30058:notice:quality"),
        (unrecognized(), "unrecognized/whatsapp/1"),
    ],
)
def test_lane(event: Event, lane: str) -> None:
    """What belongs to one conversation shares its lane; the rest keeps in order by subject."""
    assert lane_of(event) == lane


@pytest.mark.parametrize(
    ("event", "subject", "expected"),
    [
        (message(), "+16505551234", True),
        (message(), "16505551234", True),
        (message(), "+1650555123", False),
        (message(reply_to=ReplyTo(sender=ANNE)), "US.1", True),
        (status(), "+16505551234", False),
        (attrs.evolve(status(), recipient=ANNE), "US.1", True),
        (attrs.evolve(status(), conversation=TALK), "+16505551234", True),
        (TYPING, "US.1", True),
        (CONSENT, "+16505551234", True),
        (unrecognized(raw=[{"a": {"from": "16505551234"}}]), "+16505551234", True),
        (unrecognized(raw=[{"a": {"from": 16505551234}}]), "+16505551234", True),
        (unrecognized(raw=[{"a": {"from": "+16505551234"}}]), "16505551234", True),
        (attrs.evolve(status(), conversation=TALK), "16505551234", True),
        (unrecognized(raw=[{"a": None, "text": "call 16505551234"}]), "+16505551234", False),
        (notice(raw={"user_id": "US.1"}), "US.1", True),
    ],
)
def test_concerns(event: Event, subject: str, expected: bool) -> None:
    """An event is about its parties, and one without parties about whomever it carries."""
    assert concerns(event, subject) is expected
