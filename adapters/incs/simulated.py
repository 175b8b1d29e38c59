"""The sending side of INCS as it is documented, for tests and for trying out.

https://document.infin8linx.com/books/incs-messages-api

The HTTP status of an error is not documented: here it is always 200, the body tells it. The
limits stand here once more, apart from `capabilities`, so that the two check each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, final
from urllib.parse import quote, urlsplit
from uuid import UUID, uuid5

from bridge.adapter import Request, Response
from bridge.adapter.payload import filled, mapping
from bridge.adapter.reading import JsonObject
from bridge.adapter.samples import rfc3339
from bridge.adapter.simulation import (
    Arrived,
    Checker,
    Files,
    Objection,
    Rules,
    Said,
    SimulatedAnswer,
    SimulatedCallback,
    json_response,
)
from bridge.adapters.incs import wire
from bridge.adapters.incs.channels import Channel
from bridge.adapters.rcs import simulated as rcs
from bridge.adapters.whatsapp import simulated as whatsapp
from bridge.adapters.whatsapp.simulated_checks import check_components, check_interactive
from bridge.model import JsonValue, Location, Media, Text

_PATH: Final = re.compile(r"/external/messages/(?P<kind>whatsapp|rcs|viber)$")
_WRONG: Final = Checker("422")
_CHANNEL_CODES: Final = {"whatsapp": "10002", "viber": "10003", "rcs": "10004"}
_TYPES: Final = {
    "whatsapp": ("template", "text", "image", "video", "audio", "document", "interactive"),
    "rcs": ("template", "text", "image", "video", "document"),
    "viber": ("otp", "text", "image", "video", "document"),
}
_LONGEST: Final = {"whatsapp": 4096, "rcs": 3072, "viber": 1000}
_WORDS: Final = {
    "404": "Not found",
    "422": "Request parameter error",
    "429": "Too many attempts",
    "500": "Server error",
    "10001": "Certification code is invalid",
}
_STATUS_NUMBERS: Final = {"sent": 1, "failed": 2, "delivered": 3, "read": 4}
_FILES: Final = {
    "image": (wire.TYPE_IMAGE, "sourcePath"),
    "audio": (wire.TYPE_AUDIO, "sourceUrl"),
    "video": (wire.TYPE_VIDEO, "videoUrl"),
    "document": (wire.TYPE_FILE, "sourceUrl"),
}
_TEMPLATES: Final = {
    "whatsapp": wire.CUSTOM_WHATSAPP_TEMPLATE,
    "rcs": wire.CUSTOM_RCS_TEMPLATE,
    "viber": wire.CUSTOM_VIBER_OTP,
}
_NAMESPACE: Final = UUID("2a1f6f0a-6f53-5c55-9d0b-7f9b5f9a1d10")
_FIRST_NUMBER: Final = 260400000000
_AGENT: Final = "incs_1"
_CONVERSATION: Final = 979


@final
class SimulatedIncs:
    """Answers as INCS does, for the channels that have a certification code.

    `channel` is the number of the channel that a user writes to.
    """

    user_id: Final = None
    trouble: Final = Objection("500", "Server error")

    def __init__(self, channels: Iterable[Channel], *, first: int = 0) -> None:
        self.rules = Rules()
        self.arrived: list[Arrived] = []
        self.files = Files()
        self._channels = {
            channel.certification_code.reveal(): channel
            for channel in channels
            if channel.certification_code
        }
        self._by_id = {channel.id: channel for channel in self._channels.values()}
        self._by_account = {channel.named: channel for channel in self._channels.values()}
        self.channel = next(iter(self._by_id), 0)
        self._count = first

    def answer(self, request: Request, now: datetime) -> SimulatedAnswer:
        """Answer a request to `/external/messages/{channel}`."""
        match = _PATH.search(urlsplit(request.url).path)
        if match is None or request.method != "POST":
            raise Objection("404", "no such route")
        kind = match["kind"]
        channel = self._channels.get(request.headers.get("certification-code", ""))
        if channel is None or channel.kind != kind:
            raise Objection("10001", "another channel's code")
        self.rules.check_errors()
        body = _WRONG.body(request)
        user = _WRONG.words(body, "to", 15) or ""
        _WRONG.that(user.isascii() and user.isdigit(), "to must be digits only")
        _check(body, kind)
        self.rules.check_rate(str(channel.id), now, Objection("429", "too many attempts"))
        return self._accept(body, user, channel, now)

    def refusal(self, objection: Objection) -> Response:
        """Return an error as INCS writes it."""
        words = _WORDS.get(objection.code, objection.details)
        told: JsonObject = {"status": "error", "code": int(objection.code), "message": words}
        return json_response({**told, "data": {}, "error": {}})

    def _accept(
        self, body: JsonObject, user: str, channel: Channel, now: datetime
    ) -> SimulatedAnswer:
        kind = channel.kind
        template = body["type"] in ("template", "otp")
        code = _CHANNEL_CODES[kind]
        if self.rules.cannot_reach(user):
            raise Objection(code, "(#131026) Message undeliverable" if kind == "whatsapp" else "no")
        if not template and not self.rules.is_open(user, now):
            raise Objection(code, "(#131047) Re-engagement message")
        name = mapping(body[str(body["type"])]).get("name") if template else None
        if template and not self.rules.takes_template(name):
            raise Objection(code, f"Template with the code [{name}] does not exist")
        number, message_id = self._next(kind, user)
        self.arrived.append(Arrived(message_id=message_id, user=user, correlation=None, body=body))
        created = self._created(number, message_id, channel, now, sender=_AGENT, receiver=user)
        created |= _content(body, kind)
        callbacks = [SimulatedCallback(body={"event": wire.MESSAGE_CREATED, "message": created})]
        for position, status in enumerate(self.rules.statuses):
            after = position * self.rules.status_every
            callbacks += [
                SimulatedCallback(body=told, after=after)
                for told in _statuses(status, number, message_id, channel, now)
            ]
        data: JsonObject = {"msg_id": message_id}
        answer: JsonObject = {"status": "success", "code": 200, "message": "", "data": data}
        return SimulatedAnswer(
            response=json_response({**answer, "error": {}}), callbacks=tuple(callbacks)
        )

    def _next(self, kind: str, user: str) -> tuple[int, str]:
        """Return INCS's number of the next message, and the channel's id for it."""
        self._count += 1
        if kind == "whatsapp":
            message_id = whatsapp.wamid_of(self._count, user)
        else:
            message_id = str(uuid5(_NAMESPACE, f"{kind}/{user}/{self._count:08}"))
        return _FIRST_NUMBER + self._count, message_id

    # --- callbacks ---------------------------------------------------------------------------

    def _created(
        self,
        number: int,
        message_id: str,
        channel: Channel,
        now: datetime,
        *,
        sender: str,
        receiver: str,
    ) -> JsonObject:
        """Return a message in INCS's own form, but for its content; `source` 1 is the API."""
        return {
            "id": number,
            "auth_id": channel.id,
            "conversation_id": _CONVERSATION,
            "session_type": 1,
            "sender": sender,
            "receiver": receiver,
            "custom_type": 0,
            "custom_id": 0,
            "channel_msg_id": message_id,
            "channel_status": 1 if sender == _AGENT else 0,
            "error": "",
            "source": 1 if sender == _AGENT else 0,
            "created_at": rfc3339(now),
            "updated_at": rfc3339(now),
        }

    def say(
        self, user: str, content: Said, now: datetime, *, account: str | None = None
    ) -> JsonValue:
        """Return the callback of a user's message on a channel, in the form of its kind."""
        channel = self._by_id[self.channel] if account is None else self._by_account[account]
        digits = user.removeprefix("+")
        self.rules.open_window(digits, now)
        number, message_id = self._next(channel.kind, digits)
        if channel.kind == "viber":
            created = self._created(
                number, message_id, channel, now, sender=digits, receiver=_AGENT
            )
            created |= _said_on_viber(content)
            return {"event": wire.MESSAGE_CREATED, "message": created}
        is_whatsapp = channel.kind == "whatsapp"
        form = _on_whatsapp if is_whatsapp else _on_rcs
        return {
            "event": wire.NEW_MESSAGE,
            "channel_id": channel.id,
            "business_phone": (channel.business_phone or "") if is_whatsapp else "",
            "message": form(digits, content, message_id, channel, now),
        }


def _statuses(
    status: str, number: int, message_id: str, channel: Channel, now: datetime
) -> list[JsonValue]:
    """Return the two callbacks of one status: by the channel's id, and by INCS's number."""
    return [
        {
            "event": wire.MESSAGE_STATUS_UPDATE,
            "channel_id": channel.id,
            "business_phone": channel.business_phone or "",
            "message_id": message_id,
            "message_status": status,
            "error": None,
            "received_at": int(now.timestamp()),
        },
        {
            "event": wire.MESSAGE_STATUS_UPDATED,
            "message_id": number,
            "message_status": _STATUS_NUMBERS[status],
            "error": "",
            "updated_at": rfc3339(now),
        },
    ]


def _content(body: JsonObject, kind: str) -> JsonObject:
    """Return the content of what was sent, in INCS's own form."""
    type_ = str(body["type"])
    sent = mapping(body.get(type_))
    if type_ in _FILES:
        number, name = _FILES[type_]
        file: JsonObject = {name: sent.get("link"), "fileName": sent.get("filename") or ""}
        return {"type": number, "content": file}
    if type_ in ("template", "otp"):
        data: JsonObject = {"name": filled(sent.get("name")) or type_}
        data |= {"custom_type": _TEMPLATES[kind], "raw_params": sent.get("components") or []}
        return {
            "type": wire.TYPE_CUSTOM,
            "custom_type": _TEMPLATES[kind],
            "content": {"data": data},
        }
    words = body["text"] if type_ == "text" else mapping(sent.get("body")).get("text")
    return {"type": wire.TYPE_TEXT, "content": {"content": words}}


def _said_on_viber(content: Said) -> JsonObject:
    """Return the content of a user's message in INCS's own form, as far as it is documented."""
    match content:
        case Media():
            type_, name = _FILES[content.media.value]
            told = content.filename or content.media.value
            link = content.url or f"https://incs-files.example/{quote(told)}"
            file: JsonObject = {"fileName": told, name: link}
            return {"type": type_, "content": file}
        case Location():
            words: str | None = f"{content.latitude}, {content.longitude}"
        case Text():
            words = content.text
        case _:
            words = content.title
    return {"type": wire.TYPE_TEXT, "content": {"content": words}}


def _on_whatsapp(
    digits: str, content: Said, message_id: str, channel: Channel, now: datetime
) -> JsonValue:
    """Return a message in Meta's form, in which INCS adds the link of a file."""
    told = whatsapp.said(content, message_id)
    if isinstance(content, Media) and content.url is not None:
        told[content.media] = {**mapping(told[content.media]), "link": content.url}
    metadata: JsonObject = {
        "display_phone_number": channel.business_phone or "",
        "phone_number_id": "302702419599374",
    }
    inbound = whatsapp.inbound(digits, told, message_id, now)
    return {"messaging_product": "whatsapp", "metadata": metadata, **inbound}


def _on_rcs(
    digits: str, content: Said, message_id: str, channel: Channel, now: datetime
) -> JsonValue:
    return {
        "senderPhoneNumber": f"+{digits}",
        "messageId": message_id,
        "sendTime": rfc3339(now),
        "agentId": channel.agent_id or "",
        **rcs.said(content),
    }


# --- checks --------------------------------------------------------------------------------------


def _check(body: JsonObject, kind: str) -> None:
    """Check a message. Raises `Objection`."""
    type_ = body.get("type")
    if type(type_) is not str or type_ not in _TYPES[kind]:
        raise Objection("422", "type")
    match type_:
        case "text":
            _WRONG.words(body, "text", _LONGEST[kind])
        case "image" | "video" | "audio" | "document":
            _WRONG.link(_WRONG.object(body, type_), "link")
        case "otp":
            otp = _WRONG.object(body, "otp")
            _WRONG.words(otp, "code", 20)
            _WRONG.words(otp, "language", 10)
            _WRONG.that(type(otp.get("code_expiration_minutes")) is int, "code_expiration_minutes")
        case "template":
            template = _WRONG.object(body, "template")
            _WRONG.words(template, "name", 512)
            if kind == "whatsapp":
                _channel_checks(check_components, template)
            elif "parameters" in template:
                values = _WRONG.object(template, "parameters").values()
                _WRONG.that(all(type(value) is str for value in values), "parameters")
        case _:
            _channel_checks(check_interactive, _WRONG.object(body, "interactive"))


def _channel_checks(check: Callable[[JsonObject], None], value: JsonObject) -> None:
    """Check what WhatsApp would refuse; INCS hands its words on."""
    try:
        check(value)
    except Objection as objection:
        raise Objection("10002", f"(#{objection.code}) {objection.details}") from None
