"""The two status callbacks of INCS: one by the channel's message id, one by INCS's own number."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from bridge.adapter import Scope, build
from bridge.adapter.body import read_embedded
from bridge.adapter.payload import filled, instant
from bridge.adapter.reading import JsonObject, required_id
from bridge.adapters.incs import wire
from bridge.adapters.incs.channels import Channels
from bridge.adapters.whatsapp.statuses import DELETED
from bridge.adapters.whatsapp.wire import first_error
from bridge.errors import Unreadable
from bridge.model import (
    Conversation,
    Direction,
    JsonValue,
    Message,
    Origin,
    Party,
    ProviderError,
    Status,
    StatusChange,
)
from bridge.model.keys import deletion_key, status_key

_UNKNOWN: Final = Status.UNKNOWN
_NULL: Final = "null"  # no error, as JSON within JSON
_NO_ERROR: Final = ProviderError()


def message_status_update(
    body: JsonObject, channels: Channels, received_at: datetime
) -> list[StatusChange | Message]:
    """Translate a status that names the channel's message id. Raises `Unreadable`.

    Digits are INCS's own number, as no channel's id is. A user's deletion of a message of theirs
    is told so too, and is a message.
    """
    message_id = required_id(body, "message_id")
    word = filled(body.get("message_status"))
    if word is None:
        raise Unreadable("message_status", "missing")
    channel_id, business_phone = body.get("channel_id"), body.get("business_phone")
    scope = channels.scope(
        body,
        received_at,
        evidence=channels.of_message(message_id, channel_id, business_phone),
        channel_id=channel_id,
        business_phone=business_phone,
    )
    is_number = message_id.isdigit() or (
        scope.channel == wire.CHANNEL and channels.is_open(message_id)
    )
    if word.strip().lower() == DELETED:
        space = wire.CHANNEL if is_number else None
        return [_deletion(scope, message_id, body.get("received_at"), id_space=space)]
    return [
        status_change(
            scope,
            message_id,
            status_of(word),
            word,
            at=body.get("received_at"),
            error=body.get("error"),
            resolved=not is_number,
        )
    ]


def message_status_updated(
    body: JsonObject, channels: Channels, received_at: datetime
) -> list[StatusChange | Message]:
    """Translate a status that names INCS's own number of a message. Raises `Unreadable`.

    It names neither channel nor account: only `message_created` ties the number to them.
    """
    incs_id = required_id(body, "message_id")
    word = required_id(body, "message_status")
    scope = channels.scope(body, received_at)
    if word.strip().lower() == DELETED:
        return [_deletion(scope, incs_id, body.get("updated_at"), id_space=wire.CHANNEL)]
    return [
        status_change(
            scope,
            incs_id,
            status_of(word),
            word,
            at=body.get("updated_at"),
            error=body.get("error"),
            resolved=False,
        )
    ]


def _deletion(scope: Scope, message_id: str, at: JsonValue, id_space: str | None = None) -> Message:
    # INCS does not tell who: the conversation is that of the message, as far as it is known.
    return build.message(
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        received_at=scope.received_at,
        key=deletion_key(id_space or scope.channel, message_id),
        occurred_at=instant(at) or scope.received_at,
        raw=scope.body,
        message_id=message_id,
        id_space=id_space,
        direction=Direction.INBOUND,
        origin=Origin.USER,
        conversation=scope.conversation(f"message:{message_id}"),
        sender=build.party(),
        recipient=scope.business,
        content=build.deletion(message_id=message_id),
    )


def status_change(
    scope: Scope,
    message_id: str,
    status: Status,
    word: str,
    *,
    at: JsonValue,
    error: JsonValue,
    recipient: Party | None = None,
    conversation: Conversation | None = None,
    resolved: bool = True,
) -> StatusChange:
    """Make a status; `at` is when INCS says it was, and `word` what INCS calls it."""
    channel = scope.channel if resolved else wire.CHANNEL
    return build.status_change(
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        received_at=scope.received_at,
        key=status_key(channel, message_id, status, provider_status=word),
        occurred_at=instant(at) or scope.received_at,
        raw=scope.body,
        message_id=message_id,
        status=status,
        provider_status=word,
        error=_provider_error(error),
        recipient=recipient,
        conversation=conversation,
        id_space=None if resolved else wire.CHANNEL,
        resolved=resolved,
    )


def status_of(word: str) -> Status:
    """Return the status that INCS's word stands for, or its number (as digits)."""
    told = word.strip().lower()
    return wire.STATUS_WORDS.get(told) or wire.STATUS_NUMBERS.get(told, _UNKNOWN)


def _provider_error(value: JsonValue) -> ProviderError | None:
    """Return an error told as an object, as words, as JSON, or not at all (null, "", {}, 0)."""
    if type(value) is str:
        inner = read_embedded(value)
        value = inner if type(inner) in (dict, list) or value == _NULL else value
    error = first_error(value)
    return None if error == _NO_ERROR else error
