"""The words of RCS for Business, as Google's webhook spells them.

The objects carry no type: which fields are there tells a message from an event.

- UserMessage, UserFile, SuggestionResponse, UserEvent, ServerEvent:
  https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/UserMessage
- Handshake, envelope and signature:
  https://developers.google.com/business-communications/rcs-business-messaging/guides/integrate/webhooks
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from bridge.model import ChoiceSource, JsonValue, MediaKind, Status

CHANNEL: Final = "rcs"

AGENTS: Final = "@rbm.goog"
"""Google's domain: it stands behind an agent's id in callbacks, and not in requests.

https://github.com/rcs-business-messaging/rbm-api-examples/tree/master/nodejs/rbm-api-helper
"""

SIGNATURE_HEADER: Final = "X-Goog-Signature"
SIGNATURE_ALGORITHM: Final = "sha512"
SIGNATURE_SIZE: Final = 64  # bytes
# Since July 2026 a header X-Goog-Webhook-Type tells what a request is: verification,
# message_callback or agent_callback. It is not signed, so the signed object tells.
# https://developers.google.com/business-communications/rcs-business-messaging/whats-new/latest-releases

# What is not acknowledged is repeated, and what comes after it waits.
# https://developers.google.com/business-communications/rcs-business-messaging/guides/integrate/webhooks
REPEATS_FOR: Final = timedelta(days=30)

# .../reference/rest/v1/UserEvent and .../reference/rest/v1/ServerEvent, `eventType`.
# A revocation that failed says nothing about where the message stands: it may still arrive.
# It stays a status, so that it is seen beside the message it is about.
# A gateway also tells what Google answers only to the request that sends a message, some in the
# words of the GSMA's chatbot platform API (FNW.11), of their other channels, or with MESSAGE_
# before the word.
STATUSES: Final = {
    "ACCEPTED": Status.ACCEPTED,
    "PENDING": Status.ACCEPTED,
    "QUEUED": Status.ACCEPTED,
    "SUBMITTED": Status.ACCEPTED,
    "SENT": Status.SENT,
    "SEND_MESSAGE_SUCCESS": Status.SENT,
    "FAILED": Status.FAILED,
    "DELIVERY_FAILED": Status.FAILED,
    "INTERNAL_ERROR": Status.FAILED,
    "SEND_MESSAGE_FAILURE": Status.FAILED,
    "NONRCS": Status.FAILED,
    "REJECTED": Status.FAILED,
    "UNDELIVERABLE": Status.FAILED,
    "UNDELIVERED": Status.FAILED,
    "EXPIRED": Status.EXPIRED,
    "DELIVERED": Status.DELIVERED,
    "READ": Status.READ,
    "DISPLAYED": Status.READ,
    "SEEN": Status.READ,
    "REVOKED": Status.EXPIRED,
    "TTL_EXPIRATION_REVOKED": Status.EXPIRED,
    "TTL_EXPIRATION_REVOKE_FAILED": Status.UNKNOWN,
}
OF_A_MESSAGE: Final = "MESSAGE_"
# Why a user unsubscribed, in Google's words, which it changes.
REASONS: Final = ("unsubscribeReason", "unsubscribeReasons", "reason", "reasons")
# What a gateway says of a failure.
ERRORS: Final = ("error", "errors", "reason", "failureReason")
ERROR_CODES: Final = ("errorCode", "errCode", "code", "errorType")
ERROR_TITLES: Final = (
    *("reason", "failureReason", "errorMessage", "error"),
    *("message", "title", "description"),
)
CONSENTS: Final = {
    "SUBSCRIBE": True,
    "UNSUBSCRIBE": False,
    # What gateways say for it.
    "SUBSCRIBED": True,
    "UNSUBSCRIBED": False,
    "OPTED_IN": True,
    "OPTED_OUT": False,
}
TYPING: Final = frozenset({"IS_TYPING", "ISTYPING", "TYPING"})  # the first one is Google's

# An agent launch event has no `eventType` in its data; its name stands in the attributes only,
# which are not signed.
LAUNCH_STATE: Final = "newLaunchState"
LAUNCH_TOPIC: Final = "agent_launch_event"
# What else Google tells of an agent and not of a user, by the header's word for it.
AGENT_TOPIC: Final = "agent_callback"

# .../reference/rest/v1/SuggestionResponse: what the suggestion is called, and its `type`.
LABELS: Final = ("text", "plainText")
SUGGESTION_TYPES: Final = {"REPLY": ChoiceSource.SUGGESTION, "ACTION": ChoiceSource.ACTION}

MEDIA_KINDS: Final = {
    "image": MediaKind.IMAGE,
    "video": MediaKind.VIDEO,
    "audio": MediaKind.AUDIO,
}

# Where a file is; gateways also take the second name, which is that of a file to send.
FILE_URLS: Final = ("fileUri", "fileUrl")

CONTENT_FIELDS: Final = ("text", "userFile", "location", "suggestionResponse")

# What a UserMessage holds beside its content: any other field is the content.
ENVELOPE_FIELDS: Final = frozenset(
    {
        "senderPhoneNumber",
        "messageId",
        "eventId",
        "sendTime",
        "agentId",
        "richMessageClassification",
        "carrier",
    }
)


# Where a gateway says what became of a message, if not where Google does.
STATUS_FIELDS: Final = ("status", "messageStatus", "deliveryStatus", "state")

_NOT_AROUND: Final = frozenset(
    {"senderPhoneNumber", "sender_phone_number", "eventType", "event_type"}
)
_ITEM_FIELDS: Final = frozenset({"senderPhoneNumber", "agentId", "eventType", "messageId"})
# The names of the same fields in protocol buffers, which a library may write as they are.
# https://protobuf.dev/programming-guides/json/
_IN_PROTO: Final = frozenset(
    {"sender_phone_number", "agent_id", "event_type", "message_id", "new_launch_state"}
)
_WORD: Final = re.compile("_([a-z])")
# What operators call the same fields: those of Airtel and Jio in India.
_OF_OPERATORS: Final = {
    "msisdn": "senderPhoneNumber",
    "userPhoneNumber": "senderPhoneNumber",
    "assistantId": "agentId",
    "botId": "agentId",
}
# The object in theirs that holds some of the fields, or what a user wrote.
_PARTS: Final = ("entity", "messageContent")
# What stands in that object as it is: a field of it, and the part that Google has it in.
_WITHOUT_PART: Final = {
    "postbackData": "suggestionResponse",
    "payload": "userFile",
    "latitude": "location",
    "longitude": "location",
}
_OTHER_NAMES: Final = _IN_PROTO.union(_OF_OPERATORS, _PARTS)


def named_in_callbacks(agent_id: str) -> str:
    """Return an agent's id with Google's domain, as events have it for their account."""
    return agent_id if "@" in agent_id else agent_id + AGENTS


def is_item(value: dict[str, JsonValue]) -> bool:
    """Tell whether an object looks like one of Google's, whichever of them it is."""
    return not _ITEM_FIELDS.isdisjoint(value) or "sender_phone_number" in value


def is_no_envelope(value: dict[str, JsonValue]) -> bool:
    """Tell whether an object is one of Google's with what no envelope has: its user or a word."""
    return not _NOT_AROUND.isdisjoint(value)


def is_same_agent(one: str, other: str) -> bool:
    """Tell whether two ids are of one agent, with Google's domain or without."""
    return named_in_callbacks(one) == named_in_callbacks(other)


def spelled(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Return one of Google's objects with the names of its fields as Google has them in JSON."""
    if _OTHER_NAMES.isdisjoint(value):
        return value
    told: dict[str, JsonValue] = {}
    for name in sorted(value, key=_rank):
        _fill(told, {_OF_OPERATORS.get(name) or _spelled(name): _inside(value[name])})
    for name in _PARTS:
        part = told.get(name)
        if type(part) is dict:
            del told[name]
            whole = next((_WITHOUT_PART[name] for name in part if name in _WITHOUT_PART), None)
            within = spelled(part if whole is None else {whole: part})
            _fill(within, told)
            told = within
    return told


def _rank(name: str) -> tuple[bool, str]:
    """Say how late a name counts: others only where Google's own is not there, or says nothing."""
    is_other = name in _OF_OPERATORS or "_" in name
    return is_other, name if is_other else ""


def _fill(told: dict[str, JsonValue], more: dict[str, JsonValue]) -> None:
    """Add what is not told, or is told to be nothing."""
    for name, part in more.items():
        if told.get(name) in (None, ""):
            told[name] = part


def _inside(value: JsonValue) -> JsonValue:
    if type(value) is not dict:
        return value
    return {_spelled(name): _inside(part) for name, part in value.items()}


def _spelled(name: str) -> str:
    return _WORD.sub(lambda found: found[1].upper(), name)
