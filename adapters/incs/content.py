"""What an INCS message holds, by its type and custom type."""

from __future__ import annotations

from typing import Final

from bridge.adapter import build
from bridge.adapter.body import read_embedded
from bridge.adapter.payload import filled, first, identifier, integer, mapping, number, sequence
from bridge.adapter.reading import JsonObject
from bridge.adapters.incs import wire
from bridge.adapters.whatsapp.content import template_parameters
from bridge.model import (
    Choice,
    ChoiceSource,
    Content,
    JsonValue,
    Media,
    MediaKind,
    ReplyTo,
    Template,
    Text,
    Thumbnail,
)

_ENCODINGS: Final = 2
"""How often `content` may have been encoded: documented as a string, sampled as an object."""


def content_of(message: JsonObject) -> tuple[Content, ReplyTo | None]:
    """Return a message's content and what it answers.

    A type that is not documented, and one that lacks what makes it up, gives `Unsupported`.
    """
    kind = identifier(message.get("type"))
    type_number = integer(message.get("type"))
    if type_number == wire.TYPE_CUSTOM:
        return _custom(message)
    content = _unwrapped(message.get("content"))
    shown: Content | None = None
    if type_number == wire.TYPE_TEXT:
        shown = _text(message, content) or _as_json(message, content)
    elif type_number in _MEDIA:
        shown = _media(_MEDIA[type_number], mapping(content))
    if shown is None:
        words = _text(message, content)  # in the place of what has no number of its own
        shown = build.unsupported(provider_type=kind, text=None if words is None else words.text)
    return shown, None


def custom_type_of(message: JsonObject) -> int | None:
    """Return the custom type of a message, or None where it has none (0 or not type 110)."""
    if integer(message.get("type")) != wire.TYPE_CUSTOM:
        return None
    told = integer(message.get("custom_type"))
    return told or integer(_data(message).get("custom_type")) or None


def _data(message: JsonObject) -> JsonObject:
    content = mapping(_unwrapped(message.get("content")))
    return mapping(_unwrapped(content.get("data")))


def _unwrapped(value: JsonValue) -> JsonValue:
    """Return content as an object, or else as it came: plain words may look like JSON too."""
    inner = value
    for _ in range(_ENCODINGS):
        if type(inner) is not str:
            break
        inner = read_embedded(inner)
    return inner if type(inner) is dict else value


def _text(message: JsonObject, content: JsonValue) -> Text | None:
    words = filled(content.get("content") if type(content) is dict else message.get("content"))
    return None if words is None else build.text(text=words)


def _as_json(message: JsonObject, content: JsonValue) -> Text | None:
    """Return the words of a text that are themselves JSON, which INCS did not write."""
    words = filled(message.get("content"))
    is_incs = type(content) is dict and "content" in content
    return None if words is None or is_incs else build.text(text=words)


# --- files -------------------------------------------------------------------------------


_MEDIA: Final[dict[int | None, MediaKind]] = {
    wire.TYPE_IMAGE: MediaKind.IMAGE,
    # INCS does not say whether this is a voice note; WhatsApp's own callback does.
    wire.TYPE_AUDIO: MediaKind.AUDIO,
    wire.TYPE_VIDEO: MediaKind.VIDEO,
    wire.TYPE_FILE: MediaKind.DOCUMENT,
}


def _media(kind: MediaKind, content: JsonObject) -> Media | None:
    """Read a file of any type: each has names of its own for the same things."""
    small = mapping(content.get("snapshotPicture"))
    picture = mapping(content.get("sourcePicture")) or mapping(content.get("bigPicture")) or small
    sources = ("sourcePath", "sourceUrl", "soundPath", "videoUrl", "filePath")
    url = first(content, sources, filled) or filled(picture.get("url"))
    media_id = first(content, ("uuid", "videoUUID"), identifier) or identifier(picture.get("uuid"))
    if url is None and media_id is None:
        return None
    types, sizes = ("soundType", "videoType", "fileType"), ("dataSize", "videoSize", "fileSize")
    return build.media(
        media=kind,
        url=url,
        media_id=media_id,
        mime_type=first(content, types, filled) or filled(picture.get("type")),
        size=integer(picture.get("size")) if picture else first(content, sizes, integer),
        filename=filled(content.get("fileName")),
        caption=filled(content.get("caption")),  # not documented
        width=integer(picture.get("width")),
        height=integer(picture.get("height")),
        duration=number(content.get("duration")),
        thumbnail=_thumbnail(small, "") if small else _thumbnail(content, "snapshot"),
    )


def _thumbnail(parent: JsonObject, prefix: str) -> Thumbnail | None:
    def told(name: str) -> JsonValue:
        return parent.get(f"{prefix}{name.capitalize()}" if prefix else name)

    url = filled(told("url")) or filled(told("path"))
    if url is None:
        return None
    return build.thumbnail(
        url=url,
        mime_type=filled(told("type")),
        size=integer(told("size")),
        width=integer(told("width")),
        height=integer(told("height")),
    )


# --- custom messages ---------------------------------------------------------------------


def _custom(message: JsonObject) -> tuple[Content, ReplyTo | None]:
    data, custom_type = _data(message), custom_type_of(message)
    shown: Content | None = None
    quoted: ReplyTo | None = None
    # Viber's and RCS's have no documented shape: what is there under WhatsApp's names is taken.
    if custom_type in (wire.CUSTOM_VIBER_OTP, wire.CUSTOM_RCS_TEMPLATE) or (
        custom_type == wire.CUSTOM_WHATSAPP_TEMPLATE and data
    ):
        shown = _template(data)
    elif custom_type in _CHOICES:
        shown, quoted = _choice(data, _CHOICES[custom_type]), _quoted(message, data)
    if shown is None:
        word = identifier(message.get("custom_type")) or "0"
        shown = build.unsupported(provider_type=f"{wire.TYPE_CUSTOM}/{word}")
    return shown, quoted


def _template(data: JsonObject) -> Template:
    return build.template(
        template_id=identifier(data.get("template_id")),
        name=filled(data.get("name")),
        language=filled(data.get("language")),
        category=filled(data.get("category")),
        body=_body(data),
        parameters=template_parameters(_array(data.get("raw_params"))),
    )


def _body(data: JsonObject) -> str | None:
    for item in _array(data.get("components")):
        component = mapping(item)
        kind = component.get("type")
        if type(kind) is str and kind.upper() == "BODY":
            return filled(component.get("text"))
    return None


def _array(value: JsonValue) -> list[JsonValue]:
    return sequence(read_embedded(value) if type(value) is str else value)


_CHOICES: Final[dict[int | None, ChoiceSource]] = {
    wire.CUSTOM_WHATSAPP_BUTTON: ChoiceSource.BUTTON,
    wire.CUSTOM_RCS_SUGGESTION: ChoiceSource.SUGGESTION,
}


def _choice(data: JsonObject, source: ChoiceSource) -> Choice | None:
    # INCS hands on the label only; should it hand on Google's postback too, a bot wants that.
    title, chosen = filled(data.get("text")), filled(data.get("postbackData"))
    if chosen is None and title is None:
        return None
    return build.choice(source=source, id=chosen, title=title)


def _quoted(message: JsonObject, data: JsonObject) -> ReplyTo | None:
    # `custom_id` is INCS's number of the message answered; its words stand in `replying_to`.
    answered = message.get("custom_id")
    message_id = identifier(answered) if answered not in ("0", 0) else None
    words = filled(data.get("replying_to"))
    if message_id is None and words is None:
        return None
    return build.reply_to(message_id=message_id, text=words)
