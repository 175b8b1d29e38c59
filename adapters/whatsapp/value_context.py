"""What the items of one value share: whose account it is, and the cards beside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, final

import attrs

from bridge.adapter import Scope, build
from bridge.adapter.payload import identifier, mapping, phone, several
from bridge.adapter.reading import JsonObject
from bridge.adapters.whatsapp.cards import Cards
from bridge.adapters.whatsapp.wire import identity_of
from bridge.model import Conversation, JsonValue, Origin, Party, Role
from bridge.model.frozen import builder
from bridge.model.keys import folded

_MAX_REMEMBERED: Final = 64  # letters of a name; Meta's ids and numbers have some fifteen digits
_BUSINESS: Final = Role.BUSINESS


def business_by(number: str | None) -> Party:
    """Return the business by its number in E.164."""
    return build.party(phone=number, role=_BUSINESS)


def _account(number_id: JsonValue, displayed: JsonValue) -> tuple[str | None, Party]:
    for name in (number_id, displayed):
        if type(name) is not str or not 0 < len(name) <= _MAX_REMEMBERED:
            raise ValueError("not a name to remember")
    return identifier(number_id), business_by(phone(displayed))


# What raises is not remembered. So there are only strings to compare with, and no 1 is `true`.
remembered_account: Final[Callable[..., tuple[str | None, Party]]] = lru_cache(maxsize=256)(
    _account
)
"""Return the account and the business by `phone_number_id` and `display_phone_number`.

A business has few numbers, and many messages come in for each. Raises `ValueError` or
`TypeError` unless both names are strings, short and not empty.
"""


@final
@attrs.frozen(kw_only=True, weakref_slot=False)
class ValueContext:
    """What an item cannot say about itself.

    `displayed` is the business's number as Meta displays it, which behind a gateway is not the
    configured one. `peer` is the user whom a thread is with, and `peer_card` what the thread says
    of that user; both of the former may be anything. `owned` is False where another responder
    answers.
    """

    scope: Scope
    origin: Origin
    cards: Cards
    business: Party
    displayed: JsonValue
    peer: JsonValue = None
    peer_card: JsonObject | None = None
    owned: bool = True

    def is_business(self, number: str) -> bool:
        """Return whether the business goes by this number (E.164), configured or displayed."""
        own = self.scope.business.phone
        told = phone(self.displayed)
        return folded(number) in {folded(each) for each in (own, told) if each is not None}

    def conversation(
        self, user: Party, fallback: JsonValue, group_id: str | None, message_id: str
    ) -> Conversation:
        """Return the conversation that a message belongs to: one of its own where it names no user.

        `fallback` is the provider's own word for the user, for one whose number is masked.
        """
        if group_id is not None:
            return self.scope.group(group_id)
        identity = identity_of(user) or identifier(fallback)
        return self.scope.conversation(identity or f"message:{message_id}")


_new_context: Final = builder(ValueContext)


def context_of(
    value: JsonObject,
    scope: Scope,
    origin: Origin = Origin.USER,
    *,
    owned: bool = True,
    is_alone: Callable[[], bool] = bool,
) -> ValueContext:
    """Read a value's `metadata` and `contacts`; `is_alone` as for `Cards`."""
    contacts = value.get("contacts")
    if "standby" in value:  # which may hold cards of its own
        contacts = [*several(contacts), *several(mapping(value["standby"]).get("contacts"))]
    displayed = mapping(value.get("metadata")).get("display_phone_number")
    known = scope.business.phone is not None
    return _new_context(
        scope=scope,
        origin=origin,
        cards=Cards(contacts, is_alone),
        business=scope.business if known else business_by(phone(displayed)),
        displayed=displayed,
        owned=owned,
    )
