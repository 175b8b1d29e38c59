"""What the items of one value share: whose account it is, and the cards beside them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, final

import attrs

from bridge.adapter import Scope, build
from bridge.adapter.payload import identifier, mapping, phone
from bridge.adapter.reading import JsonObject
from bridge.adapters.whatsapp.wire import Cards, index_cards
from bridge.model import JsonValue, Origin, Party, Role
from bridge.model.frozen import builder

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
    configured one; it may be anything.
    """

    scope: Scope
    origin: Origin
    cards: Cards
    business: Party
    displayed: JsonValue

    def is_business(self, number: str) -> bool:
        """Return whether the business goes by this number (E.164), configured or displayed."""
        return number == self.scope.business.phone or number == phone(self.displayed)


_new_context: Final = builder(ValueContext)


def context_of(value: JsonObject, scope: Scope, origin: Origin = Origin.USER) -> ValueContext:
    """Read a value's `metadata` and `contacts`."""
    displayed = mapping(value.get("metadata")).get("display_phone_number")
    known = scope.business.phone is not None
    return _new_context(
        scope=scope,
        origin=origin,
        cards=index_cards(value.get("contacts")),
        business=scope.business if known else business_by(phone(displayed)),
        displayed=displayed,
    )
