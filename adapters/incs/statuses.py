"""The two status callbacks of INCS: one by the channel's message id, one by INCS's own number."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from bridge.adapter import new_status_change
from bridge.adapter.payload import filled, identifier, instant
from bridge.adapters.incs import wire
from bridge.adapters.incs.channels import Channels
from bridge.errors import Unreadable
from bridge.model import Event, JsonValue, ProviderError, Status
from bridge.model.keys import status_key

_UNKNOWN: Final = Status.UNKNOWN


def message_status_update(
    body: dict[str, JsonValue], channels: Channels, received_at: datetime
) -> list[Event]:
    """Translate a status told by the channel's own message id. Raises `Unreadable`."""
    message_id = _message_id(body)
    word = filled(body.get("message_status"))
    if word is None:
        raise Unreadable("message_status", "missing")
    scope = channels.scope(
        received_at,
        evidence=wire.channel_of(message_id),
        channel_id=body.get("channel_id"),
        business_phone=body.get("business_phone"),
    )
    status = wire.STATUS_WORDS.get(word.lower(), _UNKNOWN)
    return [
        new_status_change(
            scope,
            key=status_key(scope.channel, message_id, status, provider_status=word),
            occurred_at=instant(body.get("received_at")) or received_at,
            raw=body,
            message_id=message_id,
            status=status,
            provider_status=word,
            error=provider_error(body.get("error")),
        )
    ]


def message_status_updated(
    body: dict[str, JsonValue], channels: Channels, received_at: datetime
) -> list[Event]:
    """Translate a status told by INCS's own number of a message. Raises `Unreadable`.

    It names neither channel nor account: only `message_created` ties the number to them.
    """
    incs_id = _message_id(body)
    word = identifier(body.get("message_status"))
    if word is None:
        raise Unreadable("message_status", "missing")
    status = numbered_status(word)
    return [
        new_status_change(
            channels.blank(received_at),
            key=status_key(wire.CHANNEL, incs_id, status, provider_status=word),
            occurred_at=instant(body.get("updated_at")) or received_at,
            raw=body,
            message_id=incs_id,
            status=status,
            provider_status=word,
            error=provider_error(body.get("error")),
            id_space=wire.CHANNEL,
            resolved=False,
        )
    ]


def _message_id(body: dict[str, JsonValue]) -> str:
    message_id = identifier(body.get("message_id"))
    if message_id is None:
        raise Unreadable("message_id", "missing")
    return message_id


def numbered_status(word: str) -> Status:
    """Return the status that INCS's number (as its digits) stands for."""
    return wire.STATUS_NUMBERS.get(word, _UNKNOWN)


def provider_error(value: JsonValue) -> ProviderError | None:
    """Return an error told as an object, as words, or not at all (null, "", {}, 0)."""
    if not value:
        return None
    if type(value) is dict:
        code = identifier(value.get("code"))
        title = filled(value.get("title"))
        return None if code is None and title is None else ProviderError(code=code, title=title)
    title = filled(value) if type(value) is str else None
    return None if title is None else ProviderError(title=title)
