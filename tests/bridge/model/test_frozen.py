"""Frozen classes that are quick to create are frozen all the same."""

from __future__ import annotations

from typing import final

import attrs
import pytest

from bridge.model.frozen import builder, builder_from, quick_init


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


@attrs.frozen(kw_only=True)
class Map:
    country: str
    scale: int


def test_what_two_classes_share_is_copied():
    """A field of both classes is taken from the object, and everything else from the keywords."""
    new_place_on = builder_from(Map, Place)
    place = new_place_on(Map(country="ID", scale=10_000), name="Jakarta")
    assert place == Place(name="Jakarta", country="ID")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        place.name = "Surabaya"
    with pytest.raises(TypeError, match="name"):
        new_place_on(Map(country="ID", scale=10_000))
    with pytest.raises(TypeError, match="country"):
        new_place_on(Map(country="ID", scale=10_000), name="Jakarta", country="MY")


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
