"""Messages to requests of INCS's Messages API, and its responses to outcomes.

https://document.infin8linx.com/books/incs-messages-api
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, final

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
)
from bridge.adapter.body import read_object
from bridge.adapter.fitting import single
from bridge.adapter.payload import filled, identifier, integer, mapping, phone
from bridge.adapter.reading import JsonObject
from bridge.adapter.sending import (
    json_body,
    refused_by_status,
    refused_otherwise,
    retry_after,
)
from bridge.adapter.signing import Secret
from bridge.adapters.incs.capabilities import CHANNELS, VIBER
from bridge.adapters.incs.channels import Channel
from bridge.adapters.rcs.wire import CHANNEL as RCS
from bridge.adapters.whatsapp.outgoing import (
    carousel,
    components,
    interactive,
    media_object,
    media_type,
)
from bridge.adapters.whatsapp.refusals import remedy_of as whatsapp_remedy_of
from bridge.errors import ConfigurationError, MalformedBody, Problem, Unsendable
from bridge.model import (
    Carousel,
    Content,
    JsonValue,
    Media,
    Menu,
    Message,
    Native,
    ProviderError,
    Template,
    Text,
)

BASE_URL: Final = "https://chat-api.incsapp.com"

# https://document.infin8linx.com/books/incs-messages-api, "Error codes"; the HTTP status is not
# documented, so only these numbers in the body decide.
CODES: Final = {
    400: (Remedy.MEND_MESSAGE, "the request is wrong (older revisions)"),
    404: (Remedy.STOP_ACCOUNT, "not found: the address is wrong"),
    422: (Remedy.MEND_MESSAGE, "a parameter of the request is wrong"),
    429: (Remedy.SLOW_ACCOUNT, "too many attempts"),
    500: (Remedy.AGAIN, "an error of the server"),
    10001: (Remedy.STOP_ACCOUNT, "the certification code is not valid"),
    10002: (Remedy.REFUSED, "WhatsApp refused; where its own code is told, that one counts"),
    10003: (Remedy.REFUSED, "Viber refused"),
    10004: (Remedy.REFUSED, "RCS refused"),
}
"""What to do about each documented code, and what it means."""

_FINE: Final = 200
_HTTP_ERRORS: Final = range(400, 600)
_SERVER_ERROR: Final = 500
_WHATSAPP_REFUSED: Final = 10002
_META_CODE: Final = re.compile(r"\(#(\d{1,7})\)")  # "(#131047) Re-engagement message"
_OTP: Final = "otp"
_OTP_CODE: Final = "code"
_OTP_MINUTES: Final = "code_expiration_minutes"


@final
class IncsSender:
    """Sends on the channels of INCS that have a certification code.

    Raises `ConfigurationError` where none of them has one.
    """

    channels: Final[dict[str, Capabilities]] = CHANNELS

    def __init__(self, channels: Iterable[Channel], base_url: str) -> None:
        self._by_account: dict[str, tuple[str, Secret]] = {}
        self._by_number: dict[str, tuple[str, Secret]] = {}
        routes: list[Route] = []
        for channel in channels:
            if channel.certification_code:
                routes.append(
                    Route(
                        channel=channel.kind,
                        account=channel.named,
                        phone=phone(channel.business_phone),
                        name=channel.name,
                    )
                )
                known = (channel.kind, channel.certification_code)
                self._by_account[channel.named] = self._by_number[str(channel.id)] = known
        if not self._by_account:
            message = "given to no channel; sending takes the certification code of each"
            raise ConfigurationError((Problem("channels.certification_code", message),))
        self.routes = tuple(routes)
        self._base_url = base_url.rstrip("/")

    def compose(self, message: Message, /, *, ttl: float | None = None) -> Request:  # noqa: ARG002
        """Return the request that sends a message; INCS knows no `ttl`."""
        kind, code = self._channel(message)
        number = phone(message.recipient.phone)
        if number is None:
            raise Unsendable("INCS reaches a user by their phone only")
        content = single(message.content, CHANNELS[kind])
        body: JsonObject = {"to": number.removeprefix("+")}
        if isinstance(content, Native):
            body |= content.body
        else:
            type_, value = _content(content, kind)
            body |= {"type": type_, type_: value}
        return self._request(kind, code, body)

    def _request(self, kind: str, code: Secret, body: JsonObject) -> Request:
        return Request(
            url=f"{self._base_url}/external/messages/{kind}",
            headers={"Content-Type": "application/json", "certification-code": code.reveal()},
            body=json_body(body),
        )

    def _channel(self, message: Message) -> tuple[str, Secret]:
        """Return what a message's channel speaks and its code: by any name, or the only one."""
        for known_by in (self._by_account, self._by_number):
            if message.account in known_by:
                return known_by[message.account]
        found = [known for known in self._by_account.values() if known[0] == message.channel]
        if len(found) != 1:
            raise Unsendable(
                f"no channel of INCS is {message.account}, and {len(found)} that speak"
                f" {message.channel} have a certification_code"
            )
        return found[0]

    def probes(self) -> Sequence[Probe]:
        """Post a message to nobody with each code: INCS has no request that only asks.

        Where the code is valid, what is refused is the message.
        """
        return tuple(
            Probe(
                setting="channels.certification_code",
                account=account,
                request=self._request(kind, code, {}),
            )
            for account, (kind, code) in self._by_account.items()
        )

    def judge(self, response: Response, /) -> Outcome:
        """Say which of both INCS refuses, the code or the message."""
        outcome = self._judge(response)
        if isinstance(outcome, Refused) and outcome.remedy is Remedy.MEND_MESSAGE:
            return Accepted()
        return outcome

    def conclude(self, message: Message, response: Response, /) -> Outcome:  # noqa: ARG002
        """Say what INCS's response means; whatever the HTTP status, the body's code decides."""
        return self._judge(response)

    def _judge(self, response: Response) -> Outcome:
        try:
            body = read_object(response.body)
        except MalformedBody:
            return refused_by_status(response, "no JSON object")
        code = integer(body.get("code"))
        if code == _FINE and body.get("status") != "error":
            return Accepted(message_id=identifier(mapping(body.get("data")).get("msg_id")))
        words = filled(body.get("message"))
        if code not in CODES:
            return _undocumented(code, words, response)
        remedy = CODES[code][0]
        told = str(code)
        if code == _WHATSAPP_REFUSED:
            inner = _whatsapp_code(body, words)
            if inner is not None:
                told, remedy = inner, whatsapp_remedy_of(inner) or remedy
        return Refused(
            error=ProviderError(code=told, title=words),
            remedy=remedy,
            retry_after=retry_after(response),
            in_doubt=code == _SERVER_ERROR,
        )

    def remedy(self, error: ProviderError, /) -> Remedy:
        """Say what to do about an error that a status told: by the channel's code, or INCS's."""
        remedy = whatsapp_remedy_of(error.code)
        if remedy is None and (code := integer(error.code)) in CODES:
            remedy = CODES[code][0]
        return remedy or Remedy.REFUSED


def _undocumented(code: int | None, words: str | None, response: Response) -> Refused:
    """Return what a response means whose code is not documented.

    INCS has HTTP's numbers for codes of its own (404, 422, 429, 500), so that others mean what
    HTTP says. Any other code goes by the HTTP status.
    """
    if code in (None, _FINE):
        return refused_by_status(response, "no code that is documented")
    if code in _HTTP_ERRORS:
        response = attrs.evolve(response, status=code)
    return refused_otherwise(ProviderError(code=str(code), title=words), response)


def _whatsapp_code(body: JsonObject, words: str | None) -> str | None:
    """Return Meta's own code: from its error object, or from the words that begin with it."""
    error = mapping(body.get("error"))
    code = identifier(error.get("code")) or identifier(mapping(error.get("error")).get("code"))
    if code is None and words is not None:
        match = _META_CODE.search(words)
        code = match[1] if match else None
    return code


def _content(content: Content, kind: str) -> tuple[str, JsonValue]:
    """Return the type of a message and what stands in the field of that name."""
    match content:
        case Text():
            return "text", content.text
        case Media():
            return media_type(content), media_object(content)
        case Menu():
            return "interactive", interactive(content)
        case Carousel():
            return "interactive", carousel(content)
        case Template():
            if kind == VIBER:
                return _OTP, _otp(content)
            return "template", _rcs_template(content) if kind == RCS else _template(content)
        case _:
            raise Unsendable(f"a {content.kind} is not for sending")


def _template(template: Template) -> JsonObject:
    """Return a WhatsApp template.

    https://document.infin8linx.com/books/incs-messages-api/page/whatsapp-V4j
    """
    told: JsonObject = {"name": template.name}
    filled_in = components(template)
    if filled_in:
        told["components"] = filled_in
    return told


def _rcs_template(template: Template) -> JsonObject:
    """Return an RCS template, whose parameters all have names.

    https://document.infin8linx.com/books/incs-messages-api/page/rcs
    """
    told: JsonObject = {"name": template.name}
    if template.parameters:
        told["parameters"] = _named(template)
    return told


def _otp(template: Template) -> JsonObject:
    """Return a one-time password, the only template of Viber.

    https://document.infin8linx.com/books/incs-messages-api/page/viber
    """
    if template.name != _OTP:
        raise Unsendable(f"Viber has one template, which is called {_OTP}")
    values = _named(template)
    minutes = integer(values.get(_OTP_MINUTES))
    if not values.get(_OTP_CODE) or not template.language or minutes is None:
        raise Unsendable(f"{_OTP} needs its language, {_OTP_CODE} and {_OTP_MINUTES}")
    return {
        _OTP_CODE: values[_OTP_CODE],
        "language": template.language,
        _OTP_MINUTES: minutes,
    }


def _named(template: Template) -> JsonObject:
    values: JsonObject = {}
    for parameter in template.parameters:
        if parameter.name is None or parameter.value is None:
            raise Unsendable("a template's parameter without a name or a value")
        values[parameter.name] = parameter.value
    return values
