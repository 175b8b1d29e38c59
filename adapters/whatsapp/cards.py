"""The cards beside the items of a value: whose each is, and what they say that nothing else does.

A card belongs to an item by an id that both carry, never by its position: a batch may hold
fewer cards than messages, and the card of a status may stand beside the message of another
user. One card beside one message is its sender's, even where the ids differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, final

from bridge.adapter.payload import identifier, mapping, phone, several
from bridge.adapter.reading import JsonObject
from bridge.model import JsonValue, Party
from bridge.model.keys import folded

NAME: Final = "contact"
"""Where a card stands in an event's `raw` if it says more than the event does.

Nothing of Meta's has this name; where an item has it all the same, "_" is added to it.
"""

_CARD_IDS: Final = ("wa_id", "user_id", "parent_user_id")
_FIELDS: Final = frozenset({"user_id", "parent_user_id", "identity_key_hash"})  # a Party's too
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
    "participant_recipient_id",
    "recipient_participant_user_id",
    "recipient_participant_parent_user_id",
    "wa_id",
    "user_id",
    "parent_user_id",
)
_NAMES: Final = frozenset(_NAMED_BY)


def _spelled(name: JsonValue) -> str | None:
    """Return an id in the form in which two spellings of one number are the same."""
    found = identifier(name)
    number = phone(found)
    return found if number is None else folded(number)


class Cards:
    """The cards of one value; `is_alone` says whether one message is all that the value tells.

    It is asked once, as it may look at everything in the value.
    """

    __slots__ = ("_by_id", "_cards", "_is_alone", "_only", "_used")

    def __init__(self, contacts: JsonValue, is_alone: Callable[[], bool]) -> None:
        self._cards = several(contacts)
        self._is_alone = is_alone
        self._by_id: dict[str, JsonObject] | None = None
        self._only: JsonValue = None
        self._used: set[int] = set()

    def of(self, number: JsonValue, user_id: JsonValue, parent_user_id: JsonValue) -> JsonObject:
        """Return the card with one of these ids, or the only one, or an empty one."""
        cards = self._cards
        if not cards:
            return {}
        card = cards[0]
        is_theirs = (
            len(cards) == 1
            and type(card) is dict
            and number is not None
            and card.get("wa_id") == number
        )
        if not is_theirs:  # which is rare
            card = self._found(number, user_id, parent_user_id)
        if type(card) is not dict:
            return {}
        self._used.add(id(card))
        return card

    def _found(self, *ids: JsonValue) -> JsonValue:
        if self._by_id is None:
            objects = [card for card in self._cards if type(card) is dict]
            self._by_id = {name: card for card in objects for name in _ids(card)}
            if len(self._cards) == 1 and self._is_alone():
                self._only = self._cards[0]
        for name in ids:
            key = _spelled(name)
            if key is not None and key in self._by_id:
                return self._by_id[key]
        return self._only

    def left(self, *, is_unread: bool) -> list[JsonValue]:
        """Return the cards that no item has asked for, and that are kept nowhere else.

        With an item that could not be read, each card is kept that no other item names: then
        only a second card of the same user is left.
        """
        left: list[JsonValue] = [
            card for card in self._cards if card is not None and id(card) not in self._used
        ]
        if not left or not is_unread:
            return left
        told = {name for card in self._cards if id(card) in self._used for name in _ids(card)}
        return [card for card in left if _ids(card) & told]


def with_card(item: JsonObject, card: JsonObject, user: Party) -> JsonObject:
    """Return an item for `raw`, with the card in it unless the event says all that it does."""
    if not card or _is_told(card, item, user):
        return item
    name = NAME
    while name in item:
        name += "_"
    return {**item, name: card}


def _is_told(card: JsonObject, item: JsonObject, user: Party) -> bool:
    """Return whether an event says all that a card does, by its user or by its item."""
    for name, value in card.items():
        if name == "wa_id" and type(value) is str:
            if user.phone != f"+{value}" and value not in map(item.get, _NAMED_BY):
                return False
        elif name == "profile":
            told = {"name": user.name, "username": user.username}
            if type(value) is not dict or not all(
                each in ("", None) or (part in told and _bare(each) == told[part])
                for part, each in value.items()
            ):
                return False
        elif name not in _FIELDS or value != getattr(user, name):
            return False
    return True


def _bare(username: JsonValue) -> JsonValue:
    return username.removeprefix("@") if type(username) is str else username


@final
class Named:
    """Whom the items of a value name, and by which cards; it is gone through once."""

    __slots__ = ("_by_id", "_cards", "_counts", "_free")

    def __init__(self, value: JsonObject, arrays: Iterable[str]) -> None:
        self._counts = _names_in([value.get(array) for array in arrays])
        self._cards = [(card, _ids(card)) for card in several(value.get("contacts"))]
        self._free = [n for n, (_, ids) in enumerate(self._cards) if not ids & self._counts.keys()]
        self._by_id: dict[str, list[int]] = {}
        for number, (_, ids) in enumerate(self._cards):
            for name in ids:
                self._by_id.setdefault(name, []).append(number)

    def cards_of(self, item: JsonValue) -> list[JsonValue]:
        """Return the cards that no other item names than this one."""
        own = _names_in(item)
        mine = {_spelled(mapping(item).get(name)) for name in _NAMED_BY}
        found = {number for name in own.keys() & self._by_id.keys() for number in self._by_id[name]}
        kept = {
            number
            for number in found
            if (ids := self._cards[number][1]) & mine
            or all(self._counts[name] == own[name] for name in ids)
        }
        return [self._cards[number][0] for number in sorted(kept.union(self._free))]


def _ids(card: JsonValue) -> set[str]:
    told = mapping(card)
    return {key for name in _CARD_IDS if (key := _spelled(told.get(name))) is not None}


def _names_in(value: JsonValue) -> Counter[str]:
    """Count the ids of users in the objects at any level of a value."""
    names: Counter[str] = Counter()
    left = [value]
    while left:
        part = left.pop()
        if type(part) is list:
            left += part
        elif type(part) is dict:
            told = map(_spelled, (part[name] for name in _NAMES & part.keys()))
            names.update(name for name in told if name is not None)
            left += part.values()
    return names
