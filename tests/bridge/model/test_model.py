"""The model: a closed set of frozen values."""

from enum import StrEnum
from typing import get_args

import attrs
import pytest

from bridge import model
from bridge.model import (
    CONTENT_CLASSES,
    EVENT_CLASSES,
    Content,
    Conversation,
    ConversationKind,
    Event,
    Media,
    MediaKind,
    Party,
    Role,
)

CLASSES = [cls for cls in vars(model).values() if isinstance(cls, type) and attrs.has(cls)]
WRITTEN_BY_HAND = {
    "Option": ["id", "title"],
    "Menu": ["text"],
    "Carousel": ["cards"],
    "Native": ["body"],
}
COMMON = ["key", "source", "channel", "account", "occurred_at", "received_at", "raw"]


def names(cls):
    return [field.name for field in attrs.fields(cls)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_values_are_slotted_and_keyword_only(cls):
    """Every class of the model is slotted, and made by keyword only but for what people write."""
    assert "__slots__" in vars(cls)
    assert not any("__dict__" in vars(base) for base in cls.__mro__)
    positional = [field.name for field in attrs.fields(cls) if not field.kw_only]
    assert positional == WRITTEN_BY_HAND.get(cls.__name__, [])


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_values_are_frozen(cls):
    """No field of any class can be set on an instance."""
    instance = cls.__new__(cls)
    for field in attrs.fields(cls):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(instance, field.name, None)


@pytest.mark.parametrize("cls", [*EVENT_CLASSES, *CONTENT_CLASSES], ids=lambda cls: cls.__name__)
def test_kinds_are_final(cls):
    """A type checker refuses a subclass of any event or content."""
    assert cls.__final__


def test_event_classes_are_complete():
    """`EVENT_CLASSES` holds every subclass of `Event`, and nothing is below those."""
    defined = {cls for cls in CLASSES if issubclass(cls, Event) and cls is not Event}
    assert set(EVENT_CLASSES) == defined
    assert all(cls.__bases__[0] is Event for cls in EVENT_CLASSES)


def test_content_classes_are_complete():
    """`CONTENT_CLASSES` holds every member of `Content`, in the same order."""
    assert get_args(Content) == CONTENT_CLASSES


def test_kinds_of_events():
    """Every event has the documented `kind`."""
    assert [cls.kind for cls in EVENT_CLASSES] == [
        "message",
        "status_change",
        "template_change",
        "consent_change",
        "typing",
        "notice",
        "unrecognized",
    ]


def test_kinds_of_content():
    """Every content has the documented `kind`."""
    assert [cls.kind for cls in CONTENT_CLASSES] == [
        "text",
        "media",
        "location",
        "contacts",
        "choice",
        "form",
        "reaction",
        "order",
        "template",
        "menu",
        "carousel",
        "native",
        "receipt",
        "edit",
        "deletion",
        "system",
        "call_permission",
        "unsupported",
    ]


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (
            "message",
            (
                "message_id aliases direction origin conversation sender recipient content "
                "reply_to forwarded referral product"
            ),
        ),
        (
            "status_change",
            (
                "message_id aliases status provider_status error recipient conversation pricing "
                "correlation resolved advanced current"
            ),
        ),
        (
            "template_change",
            "template_id template_name language aspect value previous reason effective_at details",
        ),
        ("consent_change", "party granted scope conversation"),
        ("typing", "party conversation"),
        ("notice", "topic details"),
        ("unrecognized", "reason path"),
    ],
)
def test_fields_of_events(kind, own):
    """Every event has the common fields, then the documented ones of its own."""
    (cls,) = (cls for cls in EVENT_CLASSES if cls.kind == kind)
    assert names(cls) == COMMON + own.split()


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("text", "text"),
        (
            "media",
            (
                "media url media_id mime_type sha256 size filename caption width height duration "
                "animated thumbnail"
            ),
        ),
        ("location", "latitude longitude name address url"),
        ("contacts", "contacts"),
        ("choice", "source id title description card suggestion template"),
        ("form", "name body data response"),
        ("reaction", "message_id emoji"),
        ("order", "catalog_id text items"),
        ("template", "template_id name language category body parameters"),
        ("edit", "message_id content"),
        ("deletion", "message_id"),
        ("system", "change body previous current"),
        ("call_permission", "granted permanent expires_at"),
        ("unsupported", "provider_type error"),
    ],
)
def test_fields_of_content(kind, own):
    """Every content has exactly the documented fields."""
    (cls,) = (cls for cls in CONTENT_CLASSES if cls.kind == kind)
    assert names(cls) == own.split()


def test_a_phone_is_never_required():
    """A party can be made of nothing, and is a user then, without a phone."""
    assert Party() == Party(phone=None, user_id=None, name=None, username=None, role=Role.USER)


def test_a_conversation_is_direct_unless_told():
    """A conversation needs its id only, and has two sides then."""
    assert Conversation(id="whatsapp:1:+6281519140327").kind is ConversationKind.DIRECT


def test_values_are_equal_by_their_fields_and_hashable():
    """Two contents with the same fields are one and the same in a set."""
    same = {Media(media=MediaKind.IMAGE, media_id="1"), Media(media=MediaKind.IMAGE, media_id="1")}
    assert len(same) == 1


@pytest.mark.parametrize(
    "enum",
    [cls for cls in vars(model).values() if isinstance(cls, type) and issubclass(cls, StrEnum)],
    ids=lambda cls: cls.__name__,
)
def test_words_are_lower_case_names(enum):
    """Every word of our JSON is its member's name in lower case."""
    assert [member.value for member in enum] == [member.name.lower() for member in enum]
