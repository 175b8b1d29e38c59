"""Messages to requests of RCS for Business, and its responses to outcomes.

https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/phones.agentMessages/create
https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/phones.agentEvents/create
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final
from urllib.parse import quote, urlencode
from uuid import UUID

import attrs

from bridge.adapter import (
    Accepted,
    Capabilities,
    Outcome,
    Probe,
    Refused,
    Remedy,
    Request,
    Response,
    Route,
    ServiceAccount,
    Upload,
)
from bridge.adapter.body import read_object
from bridge.adapter.fitting import single
from bridge.adapter.payload import filled, mapping, phone
from bridge.adapter.reading import JsonObject
from bridge.adapter.sending import json_body, refused_by_status
from bridge.adapter.signing import Secret
from bridge.adapters.rcs.capabilities import CAPABILITIES, MESSAGE
from bridge.adapters.rcs.outgoing import content_message
from bridge.adapters.rcs.refusals import ALREADY_EXISTS, STATUSES, refusal
from bridge.adapters.rcs.wire import AGENTS, CHANNEL, named_in_callbacks
from bridge.errors import ConfigurationError, MalformedBody, Problem, Unsendable
from bridge.model import Deletion, Media, Message, Native, ProviderError, Receipt

BASE_URL: Final = "https://rcsbusinessmessaging.googleapis.com"
SCOPE: Final = "https://www.googleapis.com/auth/rcsbusinessmessaging"

_SUCCESS: Final = 200
_LONGEST_TTL: Final = 15 * 24 * 3600.0


def service_account(key: Secret | None) -> ServiceAccount:
    """Return the account that a key's file describes.

    Raises `ConfigurationError` where it is none, and shows nothing of it.
    """
    if not key:
        message = "missing; sending takes the JSON key of a service account"
        raise ConfigurationError((Problem(key="service_account", message=message),))
    try:
        told = read_object(key.reveal().encode("utf-8", "replace"))
    except MalformedBody:
        told = {}
    missing = [
        name
        for name in ("client_email", "private_key", "token_uri")
        if filled(told.get(name)) is None
    ]
    if missing:
        message = f"not the JSON key of a service account: it has no {' and no '.join(missing)}"
        raise ConfigurationError((Problem(key="service_account", message=message),))
    return ServiceAccount(key=key, scope=SCOPE)


@final
@attrs.frozen(kw_only=True)
class RcsSender:
    """Sends as an agent of RCS for Business; a request that is repeated arrives once.

    `agent_id` is who a message comes from by default, `traffic_type` what it is for. `ttl` is how
    many seconds Google tries to deliver a message, where the message itself does not say. A
    provider that asks for no token, as a simulated one, needs no `account`.
    """

    account: ServiceAccount | None
    agent_id: str | None = attrs.field(
        default=None, converter=attrs.converters.optional(named_in_callbacks)
    )
    traffic_type: str | None = None
    ttl: float | None = None
    base_url: str = BASE_URL
    channels: dict[str, Capabilities] = attrs.field(
        factory=lambda: {CHANNEL: CAPABILITIES}, init=False, repr=False
    )

    @property
    def routes(self) -> Sequence[Route]:
        """The agent of the settings."""
        name = None if self.agent_id is None else self.agent_id.removesuffix(AGENTS)
        return (Route(channel=CHANNEL, account=self.agent_id, name=name),)

    def compose(self, message: Message, /, *, ttl: float | None = None) -> Request:
        """Return the request that sends a message; after `ttl` seconds Google revokes it."""
        agent = self._agent(message.account)
        number = phone(message.recipient.phone)
        if number is None:
            raise Unsendable("RCS for Business reaches a user by their phone only")
        content = single(message.content, CAPABILITIES)
        resource = f"{self.base_url.rstrip('/')}/v1/phones/{number}"
        query = {"agentId": agent}
        method, body = "POST", b""
        if isinstance(content, Deletion):
            # .../reference/rest/v1/phones.agentMessages/delete
            method = "DELETE"
            path = f"agentMessages/{quote(content.message_id, safe='')}"
        elif isinstance(content, Receipt):
            path, query["eventId"] = "agentEvents", _uuid(message.message_id)
            body = json_body(_event(content))
        else:
            path, query["messageId"] = "agentMessages", _uuid(message.message_id)
            told: JsonObject = (
                content.body
                if isinstance(content, Native)
                else {"contentMessage": content_message(content)}
            )
            body = json_body({**self._defaults(ttl, told), **told}, MESSAGE)
        return Request(
            method=method,
            url=f"{resource}/{path}?{urlencode(query)}",
            headers={"Content-Type": "application/json"},
            body=body,
            authorization=self.account,
            repeatable=True,
        )

    def upload(self, media: Media, channel: str, account: str | None, /) -> Upload:  # noqa: ARG002
        """Return the request that uploads a file; Google keeps it for 60 days.

        https://developers.google.com/business-communications/rcs-business-messaging/reference/rest/v1/files/create
        """
        query = {"agentId": self._agent(account)}
        return Upload(
            request=Request(
                url=f"{self.base_url.rstrip('/')}/upload/v1/files?{urlencode(query)}",
                headers={"Content-Type": media.mime_type or ""},
                authorization=self.account,
            )
        )

    def uploaded(self, response: Response, /) -> str | Refused:
        """Return the name that Google gives a file."""
        body = _read(response)
        if isinstance(body, Refused):
            return body
        return filled(body.get("name")) or refused_by_status(response, "no name in it")

    def _agent(self, account: str | None) -> str:
        agent = account or self.agent_id
        if agent is None:
            raise Unsendable("no agent: neither the message nor the settings name one")
        return agent.removesuffix(AGENTS)

    def _defaults(self, ttl: float | None, told: JsonObject) -> JsonObject:
        defaults: JsonObject = {}
        if self.traffic_type is not None:
            defaults["messageTrafficType"] = self.traffic_type
        seconds = self.ttl if ttl is None else ttl
        if seconds is not None and "expireTime" not in told:
            seconds = min(max(seconds, 0.0), _LONGEST_TTL)
            defaults["ttl"] = f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
        return defaults

    def probes(self) -> Sequence[Probe]:
        """Ask for a token; whether the agent may be used shows when something is sent."""
        if self.account is None:
            return ()
        return (Probe(setting="service_account", account=self.agent_id, request=self.account),)

    def judge(self, response: Response, /) -> Outcome:
        """Say by the HTTP status alone what a response means: no probe of ours asks for one."""
        return refused_by_status(response, "nothing was asked")

    def conclude(self, message: Message, response: Response, /) -> Outcome:
        """Say what Google's response means; an id that was used before was accepted before."""
        told = _read(response)
        if isinstance(told, Refused) and told.error.code != ALREADY_EXISTS:
            if isinstance(message.content, Deletion) and told.remedy is Remedy.UNREACHABLE:
                return attrs.evolve(told, remedy=Remedy.REFUSED)
            return told
        names_message = not isinstance(message.content, Receipt | Deletion)
        return Accepted(message_id=message.message_id if names_message else None)

    def remedy(self, error: ProviderError, /) -> Remedy:
        """Say what to do about an error that a status told."""
        known = STATUSES.get(error.code or "")
        return Remedy.REFUSED if known is None else known[0]


def _read(response: Response) -> JsonObject | Refused:
    """Return the object that a response holds where it is a success."""
    try:
        body = read_object(response.body)
    except MalformedBody:
        return refused_by_status(response, "no JSON object")
    if "error" in body:
        return refusal(mapping(body["error"]), response)
    return body if response.status == _SUCCESS else refused_by_status(response, "no error in it")


def _uuid(message_id: str) -> str:
    try:
        return str(UUID(message_id))
    except ValueError:
        raise Unsendable("an id that is no UUID, which RCS for Business asks for") from None


def _event(receipt: Receipt) -> JsonObject:
    """Return an agent's event.

    https://developers.google.com/business-communications/rcs-business-messaging/guides/build/events/send-events
    """
    if receipt.message_id is not None:
        return {"eventType": "READ", "messageId": receipt.message_id}
    return {"eventType": "IS_TYPING"}
