"""The sending side of the WhatsApp Cloud API as it is documented, for tests and for trying out.

https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/message-api
https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes

The limits stand here once more, apart from `capabilities`, so that the two check each other.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final, final
from urllib.parse import urlsplit

from bridge.adapter import Request, Response
from bridge.adapter.payload import filled, mapping
from bridge.adapter.reading import JsonObject
from bridge.adapter.simulation import (
    Arrived,
    Checker,
    Files,
    Objection,
    Rules,
    Said,
    SimulatedAnswer,
    SimulatedCallback,
    form_fields,
    json_response,
)
from bridge.adapters.whatsapp.refusals import CODES
from bridge.adapters.whatsapp.simulated_checks import check_content
from bridge.model import ChoiceSource, JsonValue, Location, Media, MediaKind, Text

_PATH: Final = re.compile(r"/(?P<number>[A-Za-z0-9]+)/messages")
_THREAD: Final = re.compile(r"/\d+/thread_control$")
_MEDIA: Final = re.compile(r"/\d+/media$")
_NODE: Final = re.compile(r"/(?P<id>\d+|me)$")
_MISSING: Final = Checker("131008")
_INVALID: Final = Checker("131009")
_WABA: Final = "102290129340398"
_DISPLAYED: Final = "15550783881"
_MAX_ECHO: Final = 512
_NO_FILE: Final = bytes(32).hex()  # the digest of one that is not there to be fetched
_HTTP: Final[Mapping[str, int]] = {
    **dict.fromkeys(("0", "190"), 401),
    **dict.fromkeys(("10", "200", "368", "130497", "131005", "131031"), 403),
    **dict.fromkeys(("4", "80007", "130429", "131048", "131056", "133016"), 429),
    **dict.fromkeys(("3", "131000", "131016", "131045", "131057", "133004"), 500),
    "2": 503,
    "132001": 404,
}


@final
class SimulatedWhatsApp:
    """Answers as Meta does, for one access token."""

    user_id: Final = "US.13491208655302741918"
    trouble: Final = Objection("131000", "Something went wrong.")

    def __init__(
        self, access_token: str, *, number: str = "106540352242922", first: int = 0
    ) -> None:
        self.rules = Rules(pair_every=6.0, pair_burst=45, rate=80.0, window=24 * 3600.0)
        self.arrived: list[Arrived] = []
        self.files = Files()
        self._authorization = f"Bearer {access_token}"
        self._count = first
        self._received: set[str] = set()
        self._number = number

    def answer(self, request: Request, now: datetime) -> SimulatedAnswer:
        """Answer a request to `/{phone_number_id}/messages`, for the number, or for a file."""
        path = urlsplit(request.url).path
        if request.method == "GET" and (match := _NODE.search(path)) is not None:
            self._authorize(request)
            return SimulatedAnswer(response=self._node(match["id"], request))
        if request.method == "POST" and _THREAD.search(path) is not None:
            return self._control(request)
        if request.method == "POST" and _MEDIA.search(path) is not None:
            return self._upload(request)
        match = _PATH.search(path)
        if match is None or request.method != "POST":
            raise Objection("100", "Unsupported request")
        self._authorize(request)
        self._number = match["number"]
        body = _read(request)
        _MISSING.that(body.get("messaging_product") == "whatsapp", "messaging_product is required")
        self.rules.check_errors()
        if "status" in body:
            return self._receipt(body)
        user = self._user(body)
        check_content(body)
        self.rules.check_rate(self._number, now, Objection("130429", "Rate limit hit"))
        slow = Objection("131056", "Pair rate limit hit")
        self.rules.check_pair(self._number, user, now, slow)
        return self._accept(body, user, now)

    def refusal(self, objection: Objection) -> Response:
        """Return an error as Meta writes it."""
        code = objection.code
        number = int(code)
        meaning = CODES[number][1] if number in CODES else "an error"
        error: JsonObject = {
            "message": f"(#{code}) {meaning}",
            "type": "OAuthException",
            "code": number,
            "error_data": {"messaging_product": "whatsapp", "details": objection.details},
            "fbtrace_id": "Az8or2yhqkZfEZ-_4Qn_Bam",
        }
        return json_response({"error": error}, _HTTP.get(code, 400))

    def _node(self, node: str, request: Request) -> Response:
        """Describe the number, or a file with its URL.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
        """
        content = self.files.get(node)
        if content is None:
            return json_response({"id": node})
        return json_response(
            {
                "messaging_product": "whatsapp",
                "url": Files.link(request.url, node),
                "sha256": hashlib.sha256(content).hexdigest(),
                "file_size": len(content),
                "id": node,
            }
        )

    def _authorize(self, request: Request) -> None:
        if request.headers.get("Authorization") != self._authorization:
            raise Objection("190", "Invalid OAuth access token")

    def _control(self, request: Request) -> SimulatedAnswer:
        """Let the number take, pass or release a thread.

        https://developers.facebook.com/documentation/meta-business-agent/reference/operate/thread-control-cloud-api
        """
        self._authorize(request)
        body = _read(request)
        _MISSING.that(body.get("messaging_product") == "whatsapp", "messaging_product is required")
        action = body.get("action")
        _INVALID.that(action in ("take", "pass", "release"), "action is unknown")
        _INVALID.that("control_pass" not in body or action == "pass", "control_pass is for pass")
        _MISSING.that(bool({"to", "recipient"} & set(body)), "to or recipient is required")
        self.rules.check_errors()
        return SimulatedAnswer(response=json_response({"messaging_product": "whatsapp"}))

    def _upload(self, request: Request) -> SimulatedAnswer:
        """Keep a file.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
        """
        self._authorize(request)
        fields = form_fields(request)
        _MISSING.that(fields.get("messaging_product") == b"whatsapp", "messaging_product")
        _MISSING.that(bool(fields.get("file")), "file is required")
        _INVALID.that(b"/" in fields.get("type", b""), "type must be a MIME type")
        self.rules.check_errors()
        media_id = str(zlib.crc32(fields["file"]))
        self.files[media_id] = fields["file"]
        return SimulatedAnswer(response=json_response({"id": media_id}))

    def _receipt(self, body: JsonObject) -> SimulatedAnswer:
        _INVALID.that(body["status"] == "read", "status must be read")
        _INVALID.that(body.get("message_id") in self._received, "message_id is unknown")
        return SimulatedAnswer(response=json_response({"success": True}))

    def _user(self, body: JsonObject) -> str:
        to, recipient = filled(body.get("to")), filled(body.get("recipient"))
        if to is None and recipient is None:
            raise Objection("131008", "to or recipient is required")
        if to is None and body.get("type") == "template":
            name = mapping(body.get("template")).get("name")
            _INVALID.that(name != "authentication", "an authentication template needs to")
        _INVALID.that(
            body.get("recipient_type", "individual") in ("individual", "group"), "recipient_type"
        )
        user = (to or recipient or "").removeprefix("+")
        return self.rules.known_as.get(user, user)

    def _accept(self, body: JsonObject, user: str, now: datetime) -> SimulatedAnswer:
        template = body.get("type") == "template"
        if template and not self.rules.takes_template(mapping(body["template"]).get("name")):
            raise Objection("132001", "Template name does not exist in the translation")
        self._count += 1
        wamid = wamid_of(self._count, user)
        told = body.get("recipient") or body["to"]
        contact: JsonObject = {"input": told}
        contact["user_id" if "." in user else "wa_id"] = user
        response = json_response(
            {
                "messaging_product": "whatsapp",
                "contacts": [contact],
                "messages": [{"id": wamid, "message_status": "accepted"}],
            }
        )
        # Faults of the user come in a status, after the message was accepted.
        code: str | None = None
        if self.rules.cannot_reach(user):
            code = "131026"
        elif template and self.rules.has_opted_out(user):
            code = "131050"
        elif not template and not self.rules.is_open(user, now):
            code = "131047"
        statuses = self.rules.statuses if code is None else ("failed",)
        echo = filled(body.get("biz_opaque_callback_data"))
        if code is None:
            self.arrived.append(Arrived(message_id=wamid, user=user, correlation=echo, body=body))
        callbacks = [
            SimulatedCallback(
                body=self._status(wamid, user, status, code=code, echo=echo, now=now),
                after=position * self.rules.status_every,
            )
            for position, status in enumerate(statuses)
        ]
        return SimulatedAnswer(response=response, callbacks=tuple(callbacks))

    # --- callbacks ---------------------------------------------------------------------------

    def _status(
        self,
        wamid: str,
        user: str,
        status: str,
        *,
        code: str | None,
        echo: JsonValue,
        now: datetime,
    ) -> JsonValue:
        """Return a status.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/status
        """
        told: JsonObject = {
            "id": wamid,
            "status": status,
            "timestamp": str(int(now.timestamp())),
            "recipient_user_id" if "." in user else "recipient_id": user,
        }
        if echo is not None:
            told["biz_opaque_callback_data"] = echo
        if code is not None:
            meaning = CODES[int(code)][1]
            told["errors"] = [
                {
                    "code": int(code),
                    "title": meaning,
                    "message": meaning,
                    "error_data": {"details": meaning},
                }
            ]
        return self._envelope({"statuses": [told]})

    def say(
        self, user: str, content: Said, now: datetime, *, account: str | None = None
    ) -> JsonValue:
        """Return the callback of a user's message; an id with a dot is a hidden phone's.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
        """
        digits = user.removeprefix("+")
        self.rules.open_window(digits, now)
        self._count += 1
        wamid = wamid_of(self._count, digits)
        self._received.add(wamid)
        self._number = account or self._number
        return self._envelope(inbound(digits, said(content, wamid), wamid, now))

    def _envelope(self, value: JsonObject) -> JsonValue:
        metadata: JsonObject = {
            "display_phone_number": _DISPLAYED,
            "phone_number_id": self._number,
        }
        told: JsonObject = {"messaging_product": "whatsapp", "metadata": metadata, **value}
        change: JsonObject = {"field": "messages", "value": told}
        entry: JsonObject = {"id": _WABA, "changes": [change]}
        return {"object": "whatsapp_business_account", "entry": [entry]}


def inbound(user: str, told: JsonObject, message_id: str, now: datetime) -> JsonObject:
    """Return a user's message and contact; an id with a dot is a hidden phone's."""
    is_hidden = "." in user
    message: JsonObject = {
        "from_user_id" if is_hidden else "from": user,
        "id": message_id,
        "timestamp": str(int(now.timestamp())),
        **told,
    }
    name = "user_id" if is_hidden else "wa_id"
    contact: JsonObject = {"profile": {"name": "Maya"}, name: user}
    return {"contacts": [contact], "messages": [message]}


def said(content: Said, message_id: str) -> JsonObject:
    """Return the content of a user's message.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
    """
    match content:
        case Text():
            return {"type": "text", "text": {"body": content.text}}
        case Location():
            place = {name: getattr(content, name) for name in ("latitude", "longitude")}
            place |= _given(content, name="name", address="address")
            return {"type": "location", "location": place}
        case Media():
            file = _given(content, mime_type="mime_type", caption="caption", filename="filename")
            if content.media is not MediaKind.DOCUMENT:
                file.pop("filename", None)
            digest = bytes.fromhex(content.sha256 or _NO_FILE)
            file |= {
                "id": content.media_id or str(zlib.crc32(message_id.encode())),
                "sha256": base64.b64encode(digest).decode(),
            }
            return {"type": content.media.value, content.media.value: file}
    kind = "list_reply" if content.source is ChoiceSource.LIST else "button_reply"
    picked = _given(content, id="id", title="title", description="description")
    if kind == "button_reply":
        picked.pop("description", None)
    return {"type": "interactive", "interactive": {"type": kind, kind: picked}}


def _given(value: object, **names: str) -> JsonObject:
    """Return the attributes that are set, under the provider's names."""
    found = {theirs: getattr(value, ours) for ours, theirs in names.items()}
    return {name: each for name, each in found.items() if each is not None}


def _read(request: Request) -> JsonObject:
    value = Checker("100").body(request)
    echo = value.get("biz_opaque_callback_data", "")
    _INVALID.that(type(echo) is str and len(echo) <= _MAX_ECHO, "biz_opaque_callback_data")
    return value


def wamid_of(number: int, user: str) -> str:
    """Return the id of a message, which holds the user's phone as Meta's do."""
    return "wamid." + base64.b64encode(f"{user}/{number:08}".encode()).decode()
