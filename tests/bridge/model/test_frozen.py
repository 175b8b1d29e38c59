"""Frozen classes that are quick to create are frozen all the same."""

from __future__ import annotations

from typing import final

import attrs
import pytest

from bridge.model import Form, Text
from bridge.model.codec import encode
from bridge.model.frozen import builder, changer, quick_init
from tests.bridge.events import message, notice


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Place:
    name: str
    country: str | None = None


new_place = builder(Place)


@pytest.fixture(params=[Place, new_place], ids=["class", "builder"])
def make(request):
    return request.param


def test_nothing_can_be_changed_afterwards(make):
    """An instance refuses assignment and deletion as soon as anybody has it."""
    place = make(name="Jakarta")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        place.name = "Surabaya"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del place.name


def test_a_changed_copy_is_frozen_too():
    """A copy holds the new values beside the old ones, and the original stays as it is."""
    place = Place(name="Jakarta", country="ID")
    moved = changer(Place, "name")(place, "Surabaya")
    assert (moved, place) == (
        Place(name="Surabaya", country="ID"),
        Place(name="Jakarta", country="ID"),
    )
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        moved.name = "Medan"


@pytest.mark.parametrize(
    "field",
    [
        attrs.field(converter=str),
        attrs.field(validator=attrs.validators.instance_of(str)),
        attrs.field(factory=list),
    ],
)
def test_what_an_assignment_cannot_do_is_refused(field):
    """A class with a converter, a validator or a factory is refused, and not silently broken."""
    cls = attrs.make_class("Broken", {"part": field}, frozen=True, kw_only=True, slots=True)
    with pytest.raises(TypeError, match=r"Broken\.part"):
        quick_init(cls)


def test_arguments_are_those_of_the_class():
    """What a class takes without a name stays so, and what it takes by name alone, too."""

    @final
    @quick_init
    @attrs.frozen(weakref_slot=False)
    class Word:
        letters: str
        language: str = attrs.field(default="en", kw_only=True)

    assert (Word("hello").letters, Word("hello").language) == ("hello", "en")
    with pytest.raises(TypeError, match="positional"):
        Word("hello", "en")
    assert Text("hello") == Text(text="hello")


def test_a_builder_may_leave_converting_to_its_caller():
    """What has a converter has to be given then, and is taken as it is."""

    @final
    @attrs.frozen(kw_only=True, weakref_slot=False)
    class Size:
        letters: int = attrs.field(default="0", converter=int)

    with pytest.raises(TypeError, match="letters"):
        builder(Size)
    assert builder(Size, converted=True)(letters=7) == Size(letters="7")
    with pytest.raises(TypeError, match="letters"):
        builder(Size, converted=True)()


@pytest.mark.parametrize(
    ("event", "read"),
    [
        (message(raw={"a": [{"b": 1}]}), lambda event: event.raw),
        (notice(details={"a": [{"b": 1}]}), lambda event: event.details),
        (message(content=Form(data={"a": [{"b": 1}]})), lambda event: event.content.data),
    ],
)
def test_what_one_reader_does_to_json_no_other_sees(event, read):
    """Whoever changes an event's JSON, at whatever depth, changes a copy of its own."""
    before = encode(event)
    read(event)["a"][0]["b"] = 2
    read(event)["a"].append(3)
    read(event)["c"] = 4
    assert read(event) == {"a": [{"b": 1}]}
    assert encode(event) == before
