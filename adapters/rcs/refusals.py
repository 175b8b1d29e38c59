"""What Google's error statuses ask for, and how its errors are read.

https://developers.google.com/business-communications/rcs-business-messaging/guides/build/messages/send
https://cloud.google.com/apis/design/errors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from bridge.adapter import Refused, Remedy, Response
from bridge.adapter.payload import filled, identifier, integer, mapping, number, sequence
from bridge.adapter.sending import bounded_pause, refused_otherwise, retry_after
from bridge.model import JsonValue, ProviderError

STATUSES: Final[Mapping[str, tuple[Remedy, str]]] = {
    "NOT_FOUND": (Remedy.UNREACHABLE, "no RCS on that phone, or the agent is not launched there"),
    "INVALID_ARGUMENT": (
        Remedy.MEND_MESSAGE,
        "the request is wrong, or the device lacks a feature",
    ),
    "FAILED_PRECONDITION": (Remedy.MEND_MESSAGE, "the message cannot be sent as things stand"),
    "OUT_OF_RANGE": (Remedy.MEND_MESSAGE, "a value is out of range"),
    "UNAUTHENTICATED": (Remedy.STOP_ACCOUNT, "the token is missing or not valid"),
    "PERMISSION_DENIED": (Remedy.STOP_ACCOUNT, "the service account may not use the agent"),
    "RESOURCE_EXHAUSTED": (Remedy.SLOW_ACCOUNT, "too many requests of the agent"),
    "ABORTED": (Remedy.AGAIN, "the request met another one"),
    "CANCELLED": (Remedy.AGAIN, "the request was cancelled"),
    "DEADLINE_EXCEEDED": (Remedy.AGAIN, "the platform took too long"),
    "INTERNAL": (Remedy.AGAIN, "an error of the platform"),
    "UNAVAILABLE": (Remedy.AGAIN, "the platform is unavailable"),
    "UNKNOWN": (Remedy.AGAIN, "an error of the platform"),
}
"""What to do about each status, and what it means here."""

ALREADY_EXISTS: Final = "ALREADY_EXISTS"

# https://cloud.google.com/apis/design/errors#handling_errors
_BY_HTTP: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: ALREADY_EXISTS,
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def status_of(error: dict[str, JsonValue]) -> str | None:
    """Return the status of an error: its word, or the word that its number stands for."""
    return filled(error.get("status")) or _BY_HTTP.get(integer(error.get("code")) or 0)


def refusal(error: dict[str, JsonValue], response: Response) -> Refused:
    """Return what an error object means."""
    status = status_of(error)
    told = ProviderError(
        code=status or identifier(error.get("code")), title=filled(error.get("message"))
    )
    pause = _retry_delay(error) or retry_after(response)
    known = STATUSES.get(status or "")
    if known is not None:
        return Refused(error=told, remedy=known[0], retry_after=pause)
    return attrs.evolve(refused_otherwise(told, response), retry_after=pause)


def _retry_delay(error: dict[str, JsonValue]) -> float | None:
    """Return the pause that an error's details ask for.

    https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto, RetryInfo
    """
    for detail in map(mapping, sequence(error.get("details"))):
        delay = filled(detail.get("retryDelay"))
        seconds = number(delay.removesuffix("s")) if delay is not None else None
        if seconds is not None:
            return bounded_pause(seconds)
    return None
