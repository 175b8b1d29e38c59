"""The two status callbacks of INCS: one by the channel's message id, one by INCS's own number."""

from __future__ import annotations

from typing import Final

from adapters.incs import wire
from adapters.incs.channels import Channels
from bridge.adapter import Scope
from bridge.errors import Unreadable
from bridge.frozen import builder
from bridge.keys import status_key
from bridge.model import JsonValue, ProviderError, Status, StatusChange
from bridge.payload import filled, identifier, instant, integer

_new_status: Final = builder(StatusChange)


def message_status_update(
    body: dict[str, JsonValue], blank: Scope, channels: Channels
) -> StatusChange:
    """Translate a status told by the channel's own message id. Raises `Unreadable`."""
    message_id = identifier(body.get("message_id"))
    if message_id is None:
        raise Unreadable("message_id", "missing")
    word = filled(body.get("message_status"))
    if word is None:
        raise Unreadable("message_status", "missing")
    scope = channels.scope(
        blank,
        evidence=wire.channel_of(message_id),
        channel_id=body.get("channel_id"),
        business_phone=body.get("business_phone"),
    )
    status = wire.STATUS_WORDS.get(word.lower(), Status.UNKNOWN)
    return _new_status(
        key=status_key(scope.channel, message_id, status, provider_status=word),
        source=scope.source,
        channel=scope.channel,
        account=scope.account,
        occurred_at=instant(body.get("received_at")) or scope.received_at,
        received_at=scope.received_at,
        raw=body,
        message_id=message_id,
        status=status,
        provider_status=word,
        error=provider_error(body.get("error")),
    )


def message_status_updated(body: dict[str, JsonValue], blank: Scope) -> StatusChange:
    """Translate a status told by INCS's own number of a message. Raises `Unreadable`.

    It names neither channel nor account: only `message_created` ties the number to them.
    """
    incs_id = identifier(body.get("message_id"))
    if incs_id is None:
        raise Unreadable("message_id", "missing")
    word = identifier(body.get("message_status"))
    if word is None:
        raise Unreadable("message_status", "missing")
    status = numbered_status(word)
    return _new_status(
        key=status_key(wire.CHANNEL, incs_id, status, provider_status=word),
        source=blank.source,
        channel=wire.CHANNEL,
        occurred_at=instant(body.get("updated_at")) or blank.received_at,
        received_at=blank.received_at,
        raw=body,
        message_id=incs_id,
        status=status,
        provider_status=word,
        error=provider_error(body.get("error")),
        resolved=False,
    )


def numbered_status(word: str) -> Status:
    """Return the status that INCS's number (as its digits) stands for."""
    number = integer(word)
    return wire.STATUS_NUMBERS.get(number, Status.UNKNOWN) if number is not None else Status.UNKNOWN


def provider_error(value: JsonValue) -> ProviderError | None:
    """Return an error told as an object, as words, or not at all (null, "", {}, 0)."""
    if type(value) is dict:
        code = identifier(value.get("code"))
        title = filled(value.get("title"))
        return None if code is None and title is None else ProviderError(code=code, title=title)
    title = filled(value) if type(value) is str else None
    return None if title is None else ProviderError(title=title)
