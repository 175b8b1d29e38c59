"""The words and numbers of INCS callbacks.

The vendor's documentation (Chinese): https://document.infin8linx.com
A number that stands in none of these tables is not an error: INCS adds some without notice.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from bridge.adapters.rcs import wire as rcs
from bridge.model import JsonValue, Status, TemplateAspect

CHANNEL: Final = "incs"
"""Our word for INCS's own space of numbers, and for a channel that a callback does not tell."""

TOKEN_HEADER: Final = "X-Incs-Token"  # noqa: S105 - the name of a header

# `event`; the second and the last but one differ by one letter, their ids by everything.
NEW_MESSAGE: Final = "new_message"
MESSAGE_CREATED: Final = "message_created"
MESSAGE_STATUS_UPDATE: Final = "message_status_update"
MESSAGE_STATUS_UPDATED: Final = "message_status_updated"
CallbackName: TypeAlias = Literal[
    "new_message",
    "message_created",
    "message_status_update",
    "message_status_updated",
    "template_status_update",
    "template_category_update",
    "template_quality_update",
]
"""What a callback of INCS is called in its field `event`."""

TEMPLATE_ASPECTS: Final = {
    "template_status_update": TemplateAspect.STATUS,
    "template_category_update": TemplateAspect.CATEGORY,
    "template_quality_update": TemplateAspect.QUALITY,
}

# `message_status` of message_status_update: words. The first four are documented; `played` is
# Meta's newer word for a voice note, and INCS hands on what Meta says; the others are those of RCS,
# in lower case as INCS has them.
STATUS_WORDS: Final = {
    "played": Status.PLAYED,
    **{word.lower(): status for word, status in rcs.STATUSES.items()},
}

# `message_status` of message_status_updated and `channel_status` of message_created: numbers,
# which are not in the order of progress.
STATUS_CREATED: Final = "0"
STATUS_NUMBERS: Final = {
    "1": Status.SENT,
    "2": Status.FAILED,
    "3": Status.DELIVERED,
    "4": Status.READ,
}

# `session_type` of message_created.
SESSION_GROUP: Final = 2

# `source` of message_created: 0 INCS, 1 API.
SOURCE_API: Final = 1

# `type` of message_created.
TYPE_TEXT: Final = 101
TYPE_IMAGE: Final = 102
TYPE_AUDIO: Final = 103
TYPE_VIDEO: Final = 104
TYPE_FILE: Final = 105
TYPE_CUSTOM: Final = 110

# `custom_type` of message_created, where `type` is 110.
CUSTOM_WHATSAPP_TEMPLATE: Final = 11002
CUSTOM_WHATSAPP_BUTTON: Final = 11006
CUSTOM_VIBER_OTP: Final = 11008
CUSTOM_RCS_TEMPLATE: Final = 11009
CUSTOM_RCS_SUGGESTION: Final = 11010

CUSTOM_CHANNELS: Final = {
    CUSTOM_WHATSAPP_TEMPLATE: "whatsapp",
    CUSTOM_WHATSAPP_BUTTON: "whatsapp",
    CUSTOM_VIBER_OTP: "viber",
    CUSTOM_RCS_TEMPLATE: "rcs",
    CUSTOM_RCS_SUGGESTION: "rcs",
}

_WAMID: Final = "wamid."


def channel_of(message_id: JsonValue) -> str | None:
    """Return the channel that an id gives away; the rest of a wamid means nothing to anybody."""
    if type(message_id) is str and message_id.startswith(_WAMID):
        return "whatsapp"
    return None
