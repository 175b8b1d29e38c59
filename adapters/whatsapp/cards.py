"""The cards beside the items of a value: whose each is, and what they say that nothing else does.

A card belongs to an item by an id that both carry, never by its position: a batch may hold
fewer cards than messages, and the card of a status may stand beside the message of another
user. One card beside one message is its sender's, even where the ids differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from bridge.adapter.payload import identifier, mapping, phone, sequence
from bridge.adapter.reading import JsonObject
from bridge.model import JsonValue, Party
from bridge.model.phones import folded

NAME: Final = "contact"
"""Where a card stands in an event's `raw` if it says more than the event does.

Nothing of Meta's has this name; where an item has it all the same, "_" is added to it.
"""

_CARD_IDS: Final = ("wa_id", "user_id", "parent_user_id")
_TOLD: Final = frozenset({"profile", "identity_key_hash", *_CARD_IDS})
_PROFILE_TOLD: Final = frozenset({"name", "username"})
_NAMED_BY: Final = (
    "from",
    "from_user_id",
    "from_parent_user_id",
    "to",
    "to_user_id",
    "to_parent_user_id",
    "recipient_id",
    "recipient_user_id",
    "recipient_parent_user_id",
    "recipient_participant_id",
    "recipient_participant_user_id",
    "recipient_participant_parent_user_id",
    "wa_id",
    "user_id",
    "parent_user_id",
)


def _spelled(name: JsonValue) -> str | None:
    """Return an id in the form in which two spellings of one number are the same."""
    found = identifier(name)
    number = phone(found)
    return found if number is None else folded(number)


class Cards:
    """The cards of one value. `only_message` says that the value holds one message and no more."""

    __slots__ = ("_by_id", "_cards", "_only", "_used")

    def __init__(self, contacts: JsonValue, *, only_message: bool) -> None:
        self._cards = sequence(contacts)
        objects = [card for card in self._cards if type(card) is dict]
        self._only = objects[0] if only_message and len(objects) == len(self._cards) == 1 else None
        self._used: set[int] = set()
        self._by_id: dict[str, JsonObject] = {}
        for card in objects:
            for name in _CARD_IDS:
                key = _spelled(card.get(name)) if name in card else None
                if key is not None:
                    self._by_id[key] = card

    def of(self, *ids: JsonValue) -> JsonObject:
        """Return the card with one of these ids, or the only one, or an empty one."""
        if not self._cards:
            return {}
        for name in ids:
            key = _spelled(name) if name is not None else None
            card = self._by_id.get(key) if key is not None else None
            if card is not None:
                break
        else:
            card = self._only
        if card is None:
            return {}
        self._used.add(id(card))
        return card

    def nobodys(self) -> list[JsonValue]:
        """Return what belongs to no item that has asked for its card."""
        return [card for card in self._cards if id(card) not in self._used]


def with_card(item: JsonObject, card: JsonObject, user: Party) -> JsonObject:
    """Return an item for `raw`, with the card in it unless the event says all that it does."""
    if not card or _is_told(card, item, user):
        return item
    name = NAME
    while name in item:
        name += "_"
    return {**item, name: card}


def _is_told(card: JsonObject, item: JsonObject, user: Party) -> bool:
    profile = card.get("profile", {})
    if not (card.keys() <= _TOLD and type(profile) is dict and profile.keys() <= _PROFILE_TOLD):
        return False
    said = {
        *(identifier(item.get(name)) for name in _NAMED_BY),
        *(user.user_id, user.parent_user_id, user.name, user.username, user.identity_key_hash),
        user.phone.removeprefix("+") if user.phone is not None else None,
    }
    leaves = (*(value for name, value in card.items() if name != "profile"), *profile.values())
    return all(
        value in ("", None) or (type(value) is str and value.removeprefix("@") in said)
        for value in leaves
    )


def nameless(
    cards: Iterable[JsonValue], value: JsonObject, arrays: Iterable[str]
) -> list[JsonValue]:
    """Return the cards that no item of a value's arrays names."""
    names = {
        _spelled(item.get(name))
        for array in arrays
        for item in _objects_in(value.get(array))
        for name in _NAMED_BY
    }
    return [
        card
        for card in cards
        if not {_spelled(mapping(card).get(name)) for name in _CARD_IDS} - {None} & names
    ]


def without_others(value: JsonObject, item: JsonValue, arrays: Iterable[str]) -> list[JsonValue]:
    """Return the cards of a value that no other item of its arrays names."""
    names = {
        _spelled(other.get(name))
        for array in arrays
        for other in _objects_in(value.get(array))
        if other is not item
        for name in _NAMED_BY
    }
    mine = {_spelled(mapping(item).get(name)) for name in _NAMED_BY}
    return [
        card
        for card in sequence(value.get("contacts"))
        if (ids := {_spelled(mapping(card).get(name)) for name in _CARD_IDS} - {None}) & mine
        or not ids & names
    ]


def _objects_in(value: JsonValue) -> Iterator[Mapping[str, JsonValue]]:
    if type(value) is list:
        for part in value:
            yield from _objects_in(part)
    elif type(value) is dict:
        yield value
        for part in value.values():
            yield from _objects_in(part)
