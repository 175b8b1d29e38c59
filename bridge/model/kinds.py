"""The words for kinds of events, contents and files, for those who need no more of the model."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, TypeAlias

EventKind: TypeAlias = Literal[
    "message",
    "status_change",
    "template_change",
    "consent_change",
    "handover",
    "typing",
    "notice",
    "unrecognized",
]
"""The kinds of `EVENT_CLASSES`, in their order."""

ContentKind: TypeAlias = Literal[
    "text",
    "media",
    "location",
    "contacts",
    "choice",
    "form",
    "reaction",
    "order",
    "template",
    "menu",
    "carousel",
    "native",
    "receipt",
    "edit",
    "deletion",
    "system",
    "call_permission",
    "unsupported",
]
"""The kinds of `CONTENT_CLASSES`, in their order."""


class MediaKind(StrEnum):
    """What a media file is to the reader."""

    IMAGE = "image"
    AUDIO = "audio"
    VOICE = "voice"
    VIDEO = "video"
    DOCUMENT = "document"
    STICKER = "sticker"
