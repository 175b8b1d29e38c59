"""What Meta's error codes ask for, and how its errors are read.

https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes
https://developers.facebook.com/docs/graph-api/guides/error-handling
https://developers.facebook.com/docs/graph-api/overview/rate-limiting
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from bridge.adapter import Refused, Remedy, Response
from bridge.adapter.payload import boolean, filled, identifier, integer, mapping
from bridge.adapter.sending import refused_otherwise, retry_after
from bridge.model import JsonValue, ProviderError

_SLOW: Final = Remedy.SLOW_ACCOUNT
_STOP: Final = Remedy.STOP_ACCOUNT
_AGAIN: Final = Remedy.AGAIN

CODES: Final[Mapping[int, tuple[Remedy, str]]] = {
    # Throttling
    4: (_SLOW, "too many calls of the app"),
    17: (_SLOW, "too many calls of the user"),
    341: (_SLOW, "the app's limit of calls"),
    613: (_SLOW, "too many calls of this kind"),
    80008: (_SLOW, "too many calls of the business account"),
    80007: (_SLOW, "the business account's rate limit"),
    130429: (_SLOW, "the number's throughput"),
    133016: (_SLOW, "too many registrations"),
    131056: (Remedy.HOLD_CONVERSATION, "too many messages to this user"),
    # Trouble that passes
    1: (_AGAIN, "unknown error, possibly of the server"),
    2: (_AGAIN, "the service is down or overloaded"),
    131000: (_AGAIN, "something went wrong"),
    131016: (_AGAIN, "the service is unavailable"),
    131053: (_AGAIN, "the file could not be fetched from its link"),
    131057: (_AGAIN, "the account is in maintenance"),
    133004: (_AGAIN, "the server is unavailable"),
    # The account: authorization, policy, billing
    0: (_STOP, "the app user could not be authenticated"),
    3: (_STOP, "the app lacks a capability or permission"),
    10: (_STOP, "the permission is missing"),
    33: (_STOP, "the business phone number was deleted"),
    102: (_STOP, "the session of the access token has ended"),
    190: (_STOP, "the access token has expired"),
    368: (_STOP, "blocked for a violation of a policy"),
    130497: (_STOP, "restricted from messaging users in this country"),
    131005: (_STOP, "access denied"),
    131031: (_STOP, "the account is locked"),
    131037: (_STOP, "the display name is not approved"),
    131042: (_STOP, "a payment issue"),
    131044: (_STOP, "a payment issue"),
    131045: (_STOP, "the phone number is not registered correctly"),
    131048: (_STOP, "restricted for spam"),
    131064: (_STOP, "the account may not send"),
    133010: (_STOP, "the phone number is not registered"),
    # The user
    131047: (Remedy.USE_TEMPLATE, "more than 24 hours since the user's last message"),
    131050: (Remedy.OPTED_OUT, "the user opted out of marketing messages"),
    131049: (Remedy.NOT_TODAY, "held back to keep the user engaged"),
    130472: (Remedy.NOT_TODAY, "the user's number is part of an experiment"),
    131026: (Remedy.UNREACHABLE, "the message is undeliverable"),
    131030: (Remedy.UNREACHABLE, "the recipient is not in the list of a test number"),
    # The message
    100: (Remedy.MEND_MESSAGE, "an invalid parameter"),
    131008: (Remedy.MEND_MESSAGE, "a required parameter is missing"),
    131009: (Remedy.MEND_MESSAGE, "a parameter's value is not valid"),
    131021: (Remedy.MEND_MESSAGE, "recipient and sender are the same"),
    131051: (Remedy.MEND_MESSAGE, "the message's type is not supported"),
    131052: (Remedy.MEND_MESSAGE, "the file could not be downloaded"),
    131062: (Remedy.MEND_MESSAGE, "authentication templates need a phone"),
    135000: (Remedy.MEND_MESSAGE, "unknown error with the request's parameters"),
    137000: (Remedy.MEND_MESSAGE, "the request is not valid"),
    # The template
    132000: (Remedy.MEND_TEMPLATE, "as many parameters as placeholders are needed"),
    132001: (Remedy.MEND_TEMPLATE, "the template does not exist in this language"),
    132005: (Remedy.MEND_TEMPLATE, "the filled-in text is too long"),
    132007: (Remedy.MEND_TEMPLATE, "the content violates a policy"),
    132012: (Remedy.MEND_TEMPLATE, "a parameter is of another format"),
    132015: (Remedy.MEND_TEMPLATE, "the template is paused for its quality"),
    132016: (Remedy.MEND_TEMPLATE, "the template is disabled for its quality"),
    132018: (Remedy.MEND_TEMPLATE, "the template's parameters are not valid"),
    132068: (Remedy.MEND_TEMPLATE, "the flow is blocked"),
    132069: (Remedy.MEND_TEMPLATE, "the flow is throttled"),
}
"""What to do about each documented code, and what it means."""

_PERMISSIONS: Final = range(200, 300)
_TEMPLATES: Final = range(132000, 133000)
_INVALID: Final = 100
_NO_SUCH_OBJECT: Final = 33


def remedy_of(code: str | None) -> Remedy | None:
    """Return what to do about a code, or None where it is not documented."""
    number = integer(code)
    if number is None:
        return None
    if number in CODES:
        return CODES[number][0]
    if number in _PERMISSIONS:
        return _STOP
    if number in _TEMPLATES:
        return Remedy.MEND_TEMPLATE
    return None


def refusal(error: dict[str, JsonValue], response: Response) -> Refused:
    """Return what an error object of the Graph API means."""
    code = identifier(error.get("code"))
    told = ProviderError(
        code=code,
        title=filled(error.get("message")),
        details=filled(mapping(error.get("error_data")).get("details"))
        or filled(error.get("error_user_msg")),
        href=filled(error.get("href")),
    )
    remedy = remedy_of(code)
    if integer(code) == _INVALID and integer(error.get("error_subcode")) == _NO_SUCH_OBJECT:
        # "Object with ID … does not exist, cannot be loaded due to missing permissions": the
        # number that is sent from, and so every message.
        remedy = _STOP
    if remedy is not None:
        return Refused(error=told, remedy=remedy, retry_after=retry_after(response))
    otherwise = refused_otherwise(told, response)
    return (
        attrs.evolve(otherwise, remedy=_AGAIN) if boolean(error.get("is_transient")) else otherwise
    )
