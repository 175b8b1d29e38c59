"""The sending side of RCS for Business as it is documented, for tests and for trying out.

https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/phones.agentMessages
https://developers.google.com/business-communications/rcs-business-messaging/guides/build/messages/send

The limits stand here once more, apart from `capabilities`, so that the two check each other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, final
from urllib.parse import parse_qs, quote, unquote, urlsplit
from uuid import UUID, uuid5

from bridge.adapter import Request, Response
from bridge.adapter.payload import filled, number
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
from bridge.adapters.rcs.wire import named_in_callbacks
from bridge.model import JsonValue, Location, Media, Text

_RESOURCE: Final = re.compile(
    r"/v1/phones/(?P<phone>\+?\d+)/(?P<kind>agentMessages|agentEvents)(?:/(?P<id>[^/]+))?$"
)
_TOKEN: Final = re.compile(r"/token$")
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME: Final = timedelta(hours=1)
_ISSUED: Final = "ya29.simulated-"
_INVALID: Final = Checker("INVALID_ARGUMENT")
_HTTP: Final[Mapping[str, int]] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_CONTENTS: Final = {"text", "uploadedRbmFile", "contentInfo", "richCard"}
_ACTIONS: Final = {"openUrlAction", "dialAction", "viewLocationAction", "shareLocationAction"}
_TRAFFIC: Final = {
    *("AUTHENTICATION", "TRANSACTION", "PROMOTION", "SERVICEREQUEST", "ACKNOWLEDGEMENT")
}
_EVENTS: Final = {"delivered": "DELIVERED", "read": "READ"}
_NAMESPACE: Final = UUID("c8a4a8f2-5d51-5a6c-9a0e-0f6d3c0a7b44")
_UPLOAD: Final = "/upload/v1/files"
_MAX_BYTES: Final = 250_000
_MAX_TTL: Final = 15 * 24 * 3600
_MAX_URL: Final = 2048


@final
class SimulatedRcs:
    """Answers as Google does. A message with an id that was used before is ignored.

    A phone in `offline` gets nothing, and its messages are revoked once their `ttl` is over.
    With `conflicts`, an id that was used before is answered with ALREADY_EXISTS. One that is
    open asks for no token.
    """

    user_id: Final = None
    trouble: Final = Objection("UNAVAILABLE", "The service is unavailable.")

    def __init__(
        self, *, agent: str = "example_agent", first: int = 0, is_open: bool = False
    ) -> None:
        self.rules = Rules(statuses=("delivered", "read"))
        self.arrived: list[Arrived] = []
        self.files = Files()
        self.offline: set[str] = set()
        self.conflicts = False
        self._tokens: dict[str, datetime] = {}
        self._used: set[tuple[str, str]] = set()
        self._agent = agent
        self._count = first
        self._is_open = is_open

    def answer(self, request: Request, now: datetime) -> SimulatedAnswer:
        """Answer a request for a token, or one that sends, tells an event, or revokes."""
        url = urlsplit(request.url)
        if _TOKEN.search(url.path):
            return SimulatedAnswer(response=self._token(request, now))
        if url.path.endswith(_UPLOAD):
            return self._upload(request, now)
        match = _RESOURCE.search(unquote(url.path))
        if match is None:
            raise Objection("NOT_FOUND", "no such method")
        self._authorize(request, now)
        self.rules.check_errors()
        query: JsonObject = {name: values[0] for name, values in parse_qs(url.query).items()}
        self._agent = _INVALID.words(query, "agentId", _MAX_URL) or ""
        phone = "+" + match["phone"].removeprefix("+")
        if self.rules.cannot_reach(phone.removeprefix("+")):
            raise Objection("NOT_FOUND", "Requested entity was not found.")
        if request.method == "DELETE":
            return SimulatedAnswer(response=json_response({}))
        if match["kind"] == "agentEvents":
            return self._event(request, query, phone)
        return self._message(request, query, phone, now)

    def revoke(self) -> None:
        """Take no token any more that was given out before."""
        past = datetime.min.replace(tzinfo=UTC)
        self._tokens = dict.fromkeys(self._tokens, past)

    def refusal(self, objection: Objection) -> Response:
        """Return an error as Google writes it."""
        http = _HTTP.get(objection.code, 500)
        error: JsonObject = {"code": http, "message": objection.details, "status": objection.code}
        return json_response({"error": error}, http)

    def _token(self, request: Request, now: datetime) -> Response:
        """Exchange an assertion, which is signed by nobody that this could know.

        https://developers.google.com/identity/protocols/oauth2/service-account#httprest
        """
        form = parse_qs(request.body.decode("utf-8", "replace"))
        assertion = form.get("assertion", [""])[0]
        if form.get("grant_type") != [_GRANT] or assertion.count(".") != 2:  # noqa: PLR2004
            return json_response({"error": "invalid_grant"}, 400)
        token = f"{_ISSUED}{len(self._tokens)}"
        self._tokens[token] = now + _LIFETIME
        return json_response(
            {
                "access_token": token,
                "expires_in": int(_LIFETIME.total_seconds()),
                "token_type": "Bearer",
            }
        )

    def _authorize(self, request: Request, now: datetime) -> None:
        if self._is_open:
            return
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or now >= self._tokens.get(token, now):
            raise Objection("UNAUTHENTICATED", "Request had invalid authentication credentials.")

    def _upload(self, request: Request, now: datetime) -> SimulatedAnswer:
        """Keep a file.

        https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/files/create
        """
        self._authorize(request, now)
        self.rules.check_errors()
        query = parse_qs(urlsplit(request.url).query)
        _INVALID.that(bool(query.get("agentId")), "agentId")
        _INVALID.that("/" in request.headers.get("Content-Type", ""), "Content-Type")
        _INVALID.that(bool(request.body), "no file")
        name = f"files/{uuid5(_NAMESPACE, str(len(self.files)))}"
        self.files[name] = request.body
        return SimulatedAnswer(response=json_response({"name": name}))

    def _event(self, request: Request, query: JsonObject, phone: str) -> SimulatedAnswer:
        event_id = _uuid(query, "eventId")
        body = _read(request)
        _INVALID.only(body, ("eventType", "messageId"))
        _INVALID.that(body.get("eventType") in ("IS_TYPING", "READ"), "eventType")
        if body["eventType"] == "READ":
            _INVALID.words(body, "messageId", _MAX_URL)
        name = f"phones/{phone}/agentEvents/{event_id}"
        return SimulatedAnswer(response=json_response({"name": name, **body}))

    def _message(
        self, request: Request, query: JsonObject, phone: str, now: datetime
    ) -> SimulatedAnswer:
        message_id = _uuid(query, "messageId")
        body = _read(request)
        ttl = _check_message(body)
        name = f"phones/{phone}/agentMessages/{message_id}"
        told: JsonObject = {"name": name, "sendTime": rfc3339(now), **body}
        if (self._agent, message_id) in self._used:
            if self.conflicts:
                raise Objection("ALREADY_EXISTS", "Requested entity already exists")
            return SimulatedAnswer(response=json_response(told))
        self.rules.check_rate(self._agent, now, Objection("RESOURCE_EXHAUSTED", "Quota exceeded"))
        self._used.add((self._agent, message_id))
        if phone in self.offline:
            expired = (
                (SimulatedCallback(body=self._expired(message_id, phone, now), after=ttl),)
                if ttl is not None
                else ()
            )
            return SimulatedAnswer(response=json_response(told), callbacks=expired)
        self.arrived.append(
            Arrived(
                message_id=message_id,
                user=phone.removeprefix("+"),
                correlation=message_id,
                body=body,
            )
        )
        callbacks = tuple(
            SimulatedCallback(
                body=self._status(message_id, phone, _EVENTS[status], now),
                after=position * self.rules.status_every,
            )
            for position, status in enumerate(self.rules.statuses)
            if status in _EVENTS
        )
        return SimulatedAnswer(response=json_response(told), callbacks=callbacks)

    # --- callbacks ---------------------------------------------------------------------------

    def _status(self, message_id: str, phone: str, event: str, now: datetime) -> JsonValue:
        """Return a user's event.

        https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/UserEvent
        """
        return {
            "senderPhoneNumber": phone,
            "eventType": event,
            "eventId": str(uuid5(_NAMESPACE, f"{message_id}/{event}")),
            "messageId": message_id,
            "sendTime": rfc3339(now),
            "agentId": named_in_callbacks(self._agent),
        }

    def _expired(self, message_id: str, phone: str, now: datetime) -> JsonValue:
        """Return a server's event.

        https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/ServerEvent
        """
        event = "TTL_EXPIRATION_REVOKED"
        return {
            "phoneNumber": phone,
            "messageId": message_id,
            "agentId": named_in_callbacks(self._agent),
            "eventType": event,
            "eventId": str(uuid5(_NAMESPACE, f"{message_id}/{event}")),
            "sendTime": rfc3339(now),
        }

    def say(
        self, user: str, content: Said, now: datetime, *, account: str | None = None
    ) -> JsonValue:
        """Return a user's message.

        https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/UserMessage
        """
        self._count += 1
        self._agent = account or self._agent
        return {
            "senderPhoneNumber": "+" + user.removeprefix("+"),
            "messageId": str(uuid5(_NAMESPACE, f"{user}/{self._count}")),
            "sendTime": rfc3339(now),
            "agentId": named_in_callbacks(self._agent),
            **said(content),
        }


def said(content: Said) -> JsonObject:
    """Return the content of a user's message.

    https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/UserMessage
    """
    match content:
        case Text():
            return {"text": content.text}
        case Location():
            return {"location": {"latitude": content.latitude, "longitude": content.longitude}}
        case Media():
            name = content.filename or content.media.value
            return {
                "userFile": {
                    "payload": {
                        "mimeType": content.mime_type or "application/octet-stream",
                        "fileSizeBytes": content.size or 0,
                        "fileName": name,
                        "fileUri": content.url or f"https://rcs-user-content.example/{quote(name)}",
                    }
                }
            }
    picked: JsonObject = {"postbackData": content.id, "text": content.title, "type": "REPLY"}
    return {"suggestionResponse": picked}


def _uuid(query: JsonObject, name: str) -> str:
    try:
        return str(UUID(filled(query.get(name)) or ""))
    except ValueError:
        raise Objection("INVALID_ARGUMENT", f"{name} must be a UUID") from None


def _read(request: Request) -> JsonObject:
    _INVALID.that(len(request.body) <= _MAX_BYTES, "the message is larger than 250 kB")
    return _INVALID.body(request)


# --- checks --------------------------------------------------------------------------------------


def _check_message(body: JsonObject) -> float | None:
    """Check an AgentMessage and return its time to live in seconds. Raises `Objection`."""
    _INVALID.only(body, ("contentMessage", "messageTrafficType", "ttl", "expireTime"))
    content = _INVALID.object(body, "contentMessage")
    _INVALID.only(content, (*_CONTENTS, "suggestions"))
    kinds = _CONTENTS & set(content)
    _INVALID.that(len(kinds) == 1, "exactly one content is required")
    _INVALID.that(body.get("messageTrafficType", "PROMOTION") in _TRAFFIC, "messageTrafficType")
    match kinds.pop():
        case "text":
            _INVALID.words(content, "text", 3072)
        case "contentInfo" | "uploadedRbmFile":
            _check_file(content)
        case _:
            _check_rich_card(_INVALID.object(content, "richCard"))
    if "suggestions" in content:
        _check_suggestions(content, 11)
    ttl = filled(body.get("ttl"))
    if ttl is None:
        return None
    seconds = number(ttl.removesuffix("s")) if ttl.endswith("s") else None
    if seconds is None or not 0 <= seconds <= _MAX_TTL:
        raise Objection("INVALID_ARGUMENT", "ttl")
    return seconds


def _check_file(parent: JsonObject) -> None:
    if "contentInfo" not in parent:
        _INVALID.words(_INVALID.object(parent, "uploadedRbmFile"), "fileName", _MAX_URL)
        return
    info = _INVALID.object(parent, "contentInfo")
    _INVALID.only(info, ("fileUrl", "thumbnailUrl", "forceRefresh", "contentDescription"))
    _INVALID.link(info, "fileUrl")


def _check_rich_card(card: JsonObject) -> None:
    if "standaloneCard" in card:
        standalone = _INVALID.object(card, "standaloneCard")
        _INVALID.that(
            standalone.get("cardOrientation") in ("VERTICAL", "HORIZONTAL"), "cardOrientation"
        )
        _check_card(_INVALID.object(standalone, "cardContent"))
        return
    carousel = _INVALID.object(card, "carouselCard")
    _INVALID.that(carousel.get("cardWidth") in ("SMALL", "MEDIUM"), "cardWidth")
    for item in _INVALID.items(carousel, "cardContents", 10, least=2):
        _check_card(item)


def _check_card(card: JsonObject) -> None:
    _INVALID.only(card, ("title", "description", "media", "suggestions"))
    _INVALID.that({"title", "description", "media"} & set(card), "a card without content")
    _INVALID.words(card, "title", 200, needed=False)
    _INVALID.words(card, "description", 2000, needed=False)
    if "media" in card:
        media = _INVALID.object(card, "media")
        _INVALID.that(media.get("height") in ("SHORT", "MEDIUM", "TALL"), "height")
        _check_file(media)
    if "suggestions" in card:
        _check_suggestions(card, 4)


def _check_suggestions(parent: JsonObject, most: int) -> None:
    for item in _INVALID.items(parent, "suggestions", most):
        _INVALID.that(len(item) == 1 and {"reply", "action"} & set(item), "reply or action")
        name = next(iter(item))
        told = _INVALID.object(item, name)
        _INVALID.words(told, "text", 25)
        _INVALID.words(told, "postbackData", 2048)
        if name == "action":
            actions = _ACTIONS & set(told)
            _INVALID.that(len(actions) == 1, "exactly one action")
            _check_action(told, actions.pop())


def _check_action(told: JsonObject, name: str) -> None:
    action = _INVALID.object(told, name)
    match name:
        case "openUrlAction":
            _INVALID.link(action, "url")
        case "dialAction":
            digits = _INVALID.words(action, "phoneNumber", 100) or ""
            _INVALID.that(set(digits) <= set("0123456789+*#"), "phoneNumber")
        case "viewLocationAction":
            _INVALID.that("latLong" in action or "query" in action, "latLong or query")
