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
    Event,
)
from bridge.model.kinds import ContentKind, EventKind

PUBLIC = [getattr(model, name) for name in model.__all__]
CLASSES = [cls for cls in PUBLIC if isinstance(cls, type) and attrs.has(cls)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_values_are_frozen(cls):
    """No subscriber can change what another one gets: no field of any class can be set."""
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


def test_kinds_are_complete():
    """`EventKind` and `ContentKind` name the kinds of all events and contents, in their order."""
    assert get_args(EventKind) == tuple(cls.kind for cls in EVENT_CLASSES)
    assert get_args(ContentKind) == tuple(cls.kind for cls in CONTENT_CLASSES)


@pytest.mark.parametrize(
    "enum",
    [cls for cls in PUBLIC if isinstance(cls, type) and issubclass(cls, StrEnum)],
    ids=lambda cls: cls.__name__,
)
def test_words_are_lower_case_names(enum):
    """Every word of our JSON is its member's name in lower case."""
    assert [member.value for member in enum] == [member.name.lower() for member in enum]
