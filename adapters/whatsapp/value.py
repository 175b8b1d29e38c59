"""Turn a `value` into events: each part by its name, whatever field it came in.

INCS wraps such a value in its `new_message`, so that its adapter calls `translate_value` too. A
field for which there is no part below becomes a notice with its name as the topic.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, final

import attrs

from bridge.adapter import Scope
from bridge.adapter.paths import Step
from bridge.adapter.payload import instant, mapping, sequence, several, sole
from bridge.adapter.reading import JsonObject, read_each
from bridge.adapters.whatsapp.account import (
    GROUPS,
    PREFERENCES,
    TEMPLATE_ID,
    of_group,
    template_field_of,
    translate_preference,
    translate_user_id,
)
from bridge.adapters.whatsapp.calls import CALLS, calls_in, items_alone, with_caller
from bridge.adapters.whatsapp.cards import Named
from bridge.adapters.whatsapp.handovers import HANDOVERS, is_handover, translate_handover
from bridge.adapters.whatsapp.messages import FROM, translate_echo, translate_message
from bridge.adapters.whatsapp.statuses import RECIPIENT, translate_status
from bridge.adapters.whatsapp.value_context import ValueContext, context_of
from bridge.adapters.whatsapp.wire import MESSAGES, NOTHING
from bridge.errors import Unreadable
from bridge.model import Direction, Event, JsonValue, Message, Notice, Origin, Unrecognized

_Steps: TypeAlias = tuple[Step, ...]
_TranslateItem: TypeAlias = Callable[[JsonObject, ValueContext], Event]

_HISTORY: Final = "history"
_ECHOES: Final = "smb_message_echoes"
_STANDBY: Final = "standby"
_CONTEXT: Final = "conversation_context"
"""What a responder is told of the conversation, with the first message that it is handed."""
FIELDS: Final = frozenset(
    {
        MESSAGES,
        _ECHOES,
        _HISTORY,
        _STANDBY,
        HANDOVERS,
        PREFERENCES,
        "user_id_update",
    }
)
"""The fields whose values are read part by part."""
_ORIGINS: Final = {_HISTORY: Origin.HISTORY, _ECHOES: Origin.APP}
"""What the messages of a field are, where they are not a user's."""

_ARRAYS: Final[dict[str, _TranslateItem]] = {
    "messages": translate_message,
    "message_echoes": translate_echo,
    "statuses": translate_status,  # after what they are about
    PREFERENCES: translate_preference,
    "user_id_update": translate_user_id,
}
_ITEMS: Final = frozenset({*_ARRAYS, "errors", "history", "standby"})
_NAMED_BY: Final = {
    MESSAGES: FROM,
    "statuses": RECIPIENT,
    PREFERENCES: ("wa_id", "user_id", "parent_user_id"),
}
"""By which names an item says whose it is."""
_THREAD: Final = frozenset({"id"})
_METADATA: Final = frozenset({"display_phone_number", "phone_number_id"})
_NESTED: Final = frozenset({dict, list})
_KNOWN: Final = frozenset({*_ITEMS, "messaging_product", "metadata", "contacts"})
PARTS: Final = frozenset({*_KNOWN, "control_passed", "control_taken"})
"""The names in a value by which one is recognised."""


def field_of(value: JsonValue) -> str | None:
    """Return the field that a value must have come in, by its parts; None: they do not tell."""
    if type(value) is not dict:
        return None
    if is_handover(value):
        return HANDOVERS
    if value.get(_HISTORY):
        return _HISTORY
    if TEMPLATE_ID in value:
        return template_field_of(value)
    return None if _ITEMS.isdisjoint(value) else MESSAGES


def translate_value(
    value: JsonObject, scope: Scope, steps: _Steps, field: str = MESSAGES
) -> list[Event]:
    """Translate every part of a value; never raises. `steps` lead from the body to it."""
    if field == HANDOVERS or is_handover(value):
        return [translate_handover(value, scope)]
    context = context_of(
        value,
        scope,
        _ORIGINS.get(field, Origin.USER),
        owned=field != _STANDBY,
        is_alone=lambda: _is_one_user(value),
    )
    events = _parts(value, context, steps)
    standby = value.get(_STANDBY)
    if type(standby) is dict:
        passive = attrs.evolve(context, owned=False)
        events += _parts(standby, passive, (*steps, _STANDBY))
        events += [_of_conversation(each, events) for each in _leftovers(standby, scope, value)]
    elif standby is not None:
        events.append(scope.unrecognized(Unreadable("", "not an object"), *steps, _STANDBY))
    events += [_of_conversation(each, events) for each in _leftovers(value, scope, value)]
    left = context.cards.left(is_unread=any(type(event) is Unrecognized for event in events))
    if left:
        events.append(_beside("contacts", left, scope))
    if not events and _ITEMS.isdisjoint(value):
        fault = Unreadable("", "holds no messages, statuses or errors")
        events.append(scope.unrecognized(fault, *steps))
    return events


def _is_one_user(value: JsonObject) -> bool:
    """Return whether the only card of a value is that of the user of all that it tells.

    So it is where one message is all, or messages of one user, and where no item says whose it is.
    """
    standby = mapping(value.get(_STANDBY))
    told = [(name, part[name]) for part in (value, standby) for name in _ARRAYS if part.get(name)]
    if len(told) != 1:
        return False
    name, items = told[0]
    if name == MESSAGES and sole(items):
        return True
    users = {
        tuple(str(mapping(each).get(by) or "") for by in _NAMED_BY.get(name, ("from",)))
        for each in several(items)
    }
    return not any(map(any, users)) or (name == MESSAGES and len(users) == 1)


def _parts(value: JsonObject, context: ValueContext, steps: _Steps) -> list[Event]:
    """Translate the items of each known part."""
    events: list[Event] = []
    for name, translate in _ARRAYS.items():
        items = value.get(name)
        if items is None:
            continue
        events += _each(items, translate, context, (*steps, name))
    if value.get(_HISTORY) is not None:
        history = attrs.evolve(context, origin=Origin.HISTORY)
        events += read_each(
            context.scope,
            value[_HISTORY],
            *steps,
            _HISTORY,
            read=partial(_translate_chunk, history, (*steps, _HISTORY)),
        )
    if value.get("errors"):
        # https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
        events.append(_beside("errors", value["errors"], context.scope))
    return events


def _each(
    items: JsonValue, translate: _TranslateItem, context: ValueContext, steps: _Steps
) -> list[Event]:
    """Translate each item of an array by itself: one event for each. One may stand alone."""
    if items and type(items) is dict:
        try:
            return [translate(items, context)]
        except Unreadable as error:
            return [context.scope.unrecognized(error, *steps)]
    return read_each(context.scope, items, *steps, read=lambda item, _: (translate(item, context),))


# --- imported messages -------------------------------------------------------------------


# https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/history/
def _translate_chunk(
    context: ValueContext, steps: _Steps, chunk: JsonObject, number: int
) -> list[Event]:
    """Translate a chunk of threads, and tell how far the import is."""
    scope = context.scope
    threads = chunk.get("threads")
    told, known_by = chunk, chunk
    events: list[Event] = []
    if threads:
        place = (*steps, number, "threads")
        events += read_each(
            scope,
            threads,
            *place,
            read=lambda thread, index: _translate_thread(thread, context, (*place, index)),
        )
        beside = [_without_messages(thread) for thread in sequence(threads)]
        told = known_by = {**chunk, "threads": beside}
        if any(type(event) is Unrecognized for event in events):
            # Which is kept without the other threads, and tells of the chunk when it is read again.
            more: list[JsonValue] = [each for each in map(mapping, beside) if each.keys() - _THREAD]
            known_by = {**chunk, "threads": more}
    events.append(scope.notice(_HISTORY, told, scope.identity(_HISTORY, known_by)))
    return events


def _translate_thread(thread: JsonObject, context: ValueContext, steps: _Steps) -> list[Event]:
    told = mapping(thread.get("context"))  # of a user who may hide the phone: a card, but flat
    ids = (thread.get("id"), told.get("wa_id"), told.get("user_id"))
    within = attrs.evolve(
        context,
        peer=next((each for each in ids if each is not None), None),
        peer_card={**told, "profile": told} if told else None,
    )
    return _each(thread.get("messages"), translate_message, within, (*steps, "messages"))


def _without_messages(thread: JsonValue) -> JsonValue:
    if type(thread) is not dict:
        return thread
    return {name: part for name, part in thread.items() if name != "messages"}


# --- what stands beside the items ----------------------------------------------------------


def _leftovers(part: JsonObject, scope: Scope, value: JsonObject) -> Iterable[Notice]:
    """Yield a notice for each part that nothing above is made for."""
    for name, told in part.items():
        if name in _KNOWN or told in NOTHING:
            continue
        if name == CALLS:
            for call in calls_in({**part, "statuses": None}):
                yield with_caller(_beside(name, call.get(name, told), scope), call, scope)
        elif name == GROUPS:
            for group in items_alone(part, GROUPS):
                yield of_group(_beside(name, group[name], scope), group, scope)
        else:
            yield _beside(name, told, scope)
    if part is value:
        metadata = part.get("metadata")
        if metadata is None:
            return
        if (
            type(metadata) is not dict
            or not metadata.keys() <= _METADATA
            or not _NESTED.isdisjoint(map(type, metadata.values()))
        ):
            yield _beside("metadata", metadata, scope)


def _of_conversation(notice: Notice, beside: Sequence[Event]) -> Notice:
    """Return what led to a conversation as a part of it, if what is beside names just one.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messaging-handovers/
    """
    messages = [each for each in beside if type(each) is Message]
    if notice.topic != _CONTEXT or len({each.conversation.id for each in messages}) != 1:
        return notice
    message = messages[0]
    user = message.recipient if message.direction is Direction.OUTBOUND else message.sender
    return attrs.evolve(notice, party=user, conversation=message.conversation)


def _beside(topic: str, told: JsonValue, scope: Scope) -> Notice:
    """Return a notice of a part of a value that belongs to no message."""
    first = told[0] if type(told) is list and told else told
    when = instant(mapping(first).get("timestamp"))
    return scope.notice(topic, told, scope.identity(topic, told), occurred_at=when)


# --- what belongs to one item ------------------------------------------------------------


@final
class Narrowing:
    """Leaves out of a value the items beside one, and their cards; one is for all of a body.

    Any other object on the way to an item stays as it is.
    """

    __slots__ = ("_named",)

    def __init__(self) -> None:
        self._named: dict[int, Named] = {}  # by the value's identity, which is the body's

    def __call__(self, parent: JsonObject, steps: Sequence[Step]) -> JsonObject:
        """Return a value without what does not belong to the item at `steps`."""
        if steps[0] not in _ITEMS:
            return parent
        part: Any = parent.get(str(steps[0]))
        for step in steps[1:]:
            part = part.get(step) if type(part) is dict else part[step]
        result = {name: told for name, told in parent.items() if name not in _ITEMS}
        if "contacts" in parent:
            named = self._named.get(id(parent)) or Named(parent, _ITEMS)
            self._named[id(parent)] = named
            result["contacts"] = named.cards_of(part)
        return {**result, **{name: parent[name] for name in steps[:1] if name in parent}}
