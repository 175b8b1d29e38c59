"""Turn a `value` into events, item by item, by the field that it came in.

INCS wraps a value of the field `messages` in its `new_message`, so that its adapter calls
`translate_value` too.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/smb_message_echoes
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/history
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from bridge.adapter import Scope
from bridge.adapter.paths import Step
from bridge.adapter.payload import digest
from bridge.adapter.reading import JsonObject, read_each
from bridge.adapters.whatsapp.account import translate_preference
from bridge.adapters.whatsapp.messages import translate_message
from bridge.adapters.whatsapp.statuses import translate_status
from bridge.adapters.whatsapp.value_context import ValueContext, context_of
from bridge.adapters.whatsapp.wire import MESSAGES, cards_of, index_cards
from bridge.errors import Unreadable
from bridge.model import Event, Notice, Origin

_Steps: TypeAlias = tuple[Step, ...]
_TranslateItem: TypeAlias = Callable[[JsonObject, ValueContext], Event]

_READABLE: Final = frozenset({"messages", "statuses", "errors"})
_ITEMS: Final = frozenset({*_READABLE, "contacts", "message_echoes", "history", "user_preferences"})


def translate_value(
    value: JsonObject, scope: Scope, steps: _Steps, origin: Origin = Origin.USER
) -> list[Event]:
    """Translate every message, status and error of one value; never raises.

    `steps` lead from the body to the value. `origin` is `user` unless the caller knows better.
    """
    context = context_of(value, scope, origin)
    events: list[Event] = []
    if value.get("messages") is not None:
        events += _array(value, "messages", translate_message, context, steps)
    if value.get("statuses") is not None:
        events += _array(value, "statuses", translate_status, context, steps)
    if value.get("errors"):
        events.append(_errors(value, scope))
    if not events and _READABLE.isdisjoint(value):
        fault = Unreadable("", "holds no messages, statuses or errors")
        events.append(scope.unrecognized(fault, *steps))
    return events


def _array(
    value: JsonObject, name: str, translate: _TranslateItem, context: ValueContext, steps: _Steps
) -> list[Event]:
    """Translate each item of one of a value's arrays by itself: one event for each."""
    return read_each(
        context.scope,
        value.get(name),
        *steps,
        name,
        read=lambda item, _: (translate(item, context),),
    )


# https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
def _errors(value: JsonObject, scope: Scope) -> Notice:
    # Meta gives these neither an id nor a time: the same error for the same number is one.
    raw = narrow(value, ("errors",))
    errors = value["errors"]
    return scope.notice("errors", errors, digest(raw), raw=raw)


def _translate_echoes(value: JsonObject, scope: Scope, steps: _Steps) -> list[Event]:
    """Translate what the business wrote in its app."""
    context = context_of(value, scope, Origin.APP)
    return _array(value, "message_echoes", translate_message, context, steps)


def _translate_preferences(value: JsonObject, scope: Scope, steps: _Steps) -> list[Event]:
    """Translate each user's choice to stop or resume marketing messages."""
    return _array(value, "user_preferences", translate_preference, context_of(value, scope), steps)


# --- imported messages -------------------------------------------------------------------


def _translate_history(value: JsonObject, scope: Scope, steps: _Steps) -> Iterable[Event]:
    """Translate imported messages: chunks of threads, or what is told of their media later."""
    if value.get("history") is None:
        return translate_value(value, scope, steps, Origin.HISTORY)
    context = context_of(value, scope, Origin.HISTORY)

    def translate_chunk(chunk: JsonObject, number: int) -> Iterable[Event]:
        threads = chunk.get("threads")
        if not threads:
            # Only how far the import is, or why there is none.
            return (scope.notice("history", chunk, digest([scope.account, chunk])),)
        place = (*steps, "history", number, "threads")
        return read_each(
            scope,
            threads,
            *place,
            read=lambda thread, index: _translate_thread(thread, context, (*place, index)),
        )

    return read_each(scope, value["history"], *steps, "history", read=translate_chunk)


def _translate_thread(thread: JsonObject, context: ValueContext, steps: _Steps) -> list[Event]:
    peer = thread.get("id")
    return read_each(
        context.scope,
        thread.get("messages"),
        *steps,
        "messages",
        read=lambda item, _: (translate_message(item, context, peer=peer),),
    )


TRANSLATORS: Final[Mapping[str, Callable[[JsonObject, Scope, _Steps], Iterable[Event]]]] = {
    MESSAGES: translate_value,
    "smb_message_echoes": _translate_echoes,
    "history": _translate_history,
    "user_preferences": _translate_preferences,
}
"""How the value of each field is read that holds items of users."""


# --- what belongs to one item ------------------------------------------------------------


def narrow(parent: JsonObject, steps: Sequence[Step]) -> JsonObject:
    """Return a value without the items beside the one at `steps`, and with its cards only.

    Any other object on the way to an item stays as it is.
    """
    if steps[0] not in _ITEMS:
        return parent
    part: Any = parent.get(str(steps[0]))
    beside = {name: value for name, value in parent.items() if name not in _ITEMS}
    for step in steps[1:]:
        part = part[step]
    contacts = cards_of(part if type(part) is list else [part], index_cards(parent.get("contacts")))
    if contacts:
        beside["contacts"] = contacts
    return {**beside, **{name: parent[name] for name in steps[:1] if name in parent}}
