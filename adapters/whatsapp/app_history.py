"""What comes from the WhatsApp Business app of a number that is used there and here.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/smb_message_echoes
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/history
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bridge.adapter import Scope
from bridge.adapter.payload import digest
from bridge.adapters.whatsapp.messages import translate_message
from bridge.adapters.whatsapp.translate import (
    Envelope,
    narrowed,
    objects,
    replaced,
    translate_array,
    translate_items,
    translate_value,
)
from bridge.adapters.whatsapp.value_context import ValueContext, surroundings_of
from bridge.adapters.whatsapp.wire import JsonObject
from bridge.model import Event, JsonValue, Notice, Origin
from bridge.model.keys import event_key


def translate_echoes(
    value: JsonObject, scope: Scope, *, envelope: Envelope, path: str
) -> list[Event]:
    """Translate what the business wrote in its app."""
    around = surroundings_of(value, scope, Origin.APP)
    return translate_array(
        value, "message_echoes", translate_message, around=around, envelope=envelope, path=path
    )


def translate_history(
    value: JsonObject, scope: Scope, *, envelope: Envelope, path: str
) -> list[Event]:
    """Translate imported messages: chunks of threads, or what is told of their media later."""
    if value.get("history") is None:
        return translate_value(value, scope, envelope=envelope, path=path, origin=Origin.HISTORY)
    around = surroundings_of(value, scope, Origin.HISTORY)
    events: list[Event] = []

    def with_chunks(part: JsonValue, messages: JsonValue = None) -> JsonValue:
        return envelope(narrowed(value, "history", part, around, messages))

    for chunk, place in objects(
        value["history"], events, scope=scope, path=f"{path}.history", body=with_chunks
    ):
        events += _translate_chunk(chunk, around, place, with_chunks)
    return events


def _translate_chunk(
    chunk: JsonObject,
    around: ValueContext,
    path: str,
    with_chunks: Callable[[JsonValue, JsonValue], JsonValue],
) -> list[Event]:
    threads = chunk.get("threads")
    if not threads:
        # Only how far the import is, or why there is none.
        return [_notice(chunk, around.scope)]
    events: list[Event] = []

    def with_threads(part: JsonValue, messages: JsonValue = None) -> JsonValue:
        return with_chunks([replaced(chunk, "threads", part)], messages)

    for thread, place in objects(
        threads, events, scope=around.scope, path=f"{path}.threads", body=with_threads
    ):
        events += _translate_thread(thread, around, place, with_threads)
    return events


def _translate_thread(
    thread: JsonObject,
    around: ValueContext,
    path: str,
    with_threads: Callable[[JsonValue, JsonValue], JsonValue],
) -> list[Event]:
    def with_messages(part: JsonValue) -> JsonValue:
        return with_threads([replaced(thread, "messages", part)], part)

    return translate_items(
        thread.get("messages"),
        partial(translate_message, peer=thread.get("id")),
        around=around,
        path=f"{path}.messages",
        body=with_messages,
    )


def _notice(chunk: JsonObject, scope: Scope) -> Notice:
    return Notice(
        key=event_key(Notice.kind, scope.channel, digest([scope.account, chunk])),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=scope.received_at,
        received_at=scope.received_at,
        raw=chunk,
        topic="history",
        details=chunk,
    )
