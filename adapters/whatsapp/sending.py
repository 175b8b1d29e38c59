"""Messages to requests of the WhatsApp Cloud API, and its responses to outcomes.

https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/message-api
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from bridge.adapter import (
    Accepted,
    Capabilities,
    Control,
    Outcome,
    Probe,
    Refused,
    Remedy,
    Request,
    Response,
    Route,
    Upload,
)
from bridge.adapter.body import read_object
from bridge.adapter.fitting import single
from bridge.adapter.payload import filled, identifier, mapping, phone, sequence
from bridge.adapter.reading import JsonObject
from bridge.adapter.sending import json_body, refused_by_status
from bridge.adapter.signing import Secret
from bridge.adapters.whatsapp.capabilities import CAPABILITIES
from bridge.adapters.whatsapp.outgoing import (
    carousel,
    components,
    contact_object,
    interactive,
    location_object,
    media_object,
    media_type,
)
from bridge.adapters.whatsapp.refusals import refusal, remedy_of
from bridge.adapters.whatsapp.wire import CHANNEL
from bridge.errors import MalformedBody, Unsendable
from bridge.model import (
    Carousel,
    Contacts,
    Content,
    ConversationKind,
    Direction,
    JsonValue,
    Location,
    Media,
    Menu,
    Message,
    Native,
    Party,
    ProviderError,
    Reaction,
    Receipt,
    Template,
    Text,
)

BASE_URL: Final = "https://graph.facebook.com/v26.0"

_ACCEPTED: Final = "accepted"
_SUCCESS: Final = 200
_AI_AGENT: Final = "ai_agent"
_MAX_METADATA: Final = 2000
_IN_A_GROUP: Final = CAPABILITIES.in_a_group()
_PRODUCT: Final = {"messaging_product": "whatsapp"}
_NEVER_QUOTES: Final = (Template, Reaction)


@final
class WhatsAppSender:
    """Sends on the WhatsApp Cloud API; `number_id` is what a message goes out from by default."""

    channels: Final[dict[str, Capabilities]] = {CHANNEL: CAPABILITIES}

    def __init__(self, access_token: Secret, number_id: str | None, base_url: str) -> None:
        self._headers = {
            "Authorization": f"Bearer {access_token.reveal()}",
            "Content-Type": "application/json",
        }
        self._number_id = number_id
        self.routes = (Route(channel=CHANNEL, account=number_id),)
        self._base_url = base_url.rstrip("/")

    def compose(self, message: Message, /, *, ttl: float | None = None) -> Request:  # noqa: ARG002
        """Return the request that sends a message; `ttl` is set on templates, not on messages."""
        number_id = self._number(message.account)
        is_group = message.conversation.kind is ConversationKind.GROUP
        content = single(message.content, _IN_A_GROUP if is_group else CAPABILITIES)
        return Request(
            url=f"{self._base_url}/{number_id}/messages",
            headers=self._headers,
            body=json_body(_body(content, message)),
            repeatable=isinstance(content, Receipt),
        )

    def _number(self, account: str | None) -> str:
        number_id = account or self._number_id
        if number_id is None or not number_id.isalnum():
            raise Unsendable("no phone_number_id: neither the message nor the settings name one")
        return number_id

    def probes(self) -> Sequence[Probe]:
        """Ask for the number that is sent from, or else for whose the token is.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/reference/whatsapp-business-phone-number/whatsapp-business-account-phone-number-api
        """
        url = f"{self._base_url}/{self._number_id or 'me'}?fields=id"
        request = Request(method="GET", url=url, headers=self._headers, repeatable=True)
        return (Probe(setting="access_token", account=self._number_id, request=request),)

    def judge(self, response: Response, /) -> Outcome:
        """Say whether Meta takes the token, and whether the number is the token's to use."""
        told = _told(response, "id")
        return told if isinstance(told, Refused) else Accepted()

    def control(
        self, message: Message, action: Control, /, *, to: str | None, metadata: str | None
    ) -> Request:
        """Take a thread, or pass or release it, as Conversation Routing has it.

        https://developers.facebook.com/documentation/meta-business-agent/reference/operate/thread-control-cloud-api
        """
        number_id = self._number(message.account)
        if to not in (None, _AI_AGENT):
            raise Unsendable(f'WhatsApp passes a conversation to "{_AI_AGENT}", or without `to`')
        if metadata is not None and len(metadata) > _MAX_METADATA:
            raise Unsendable(
                f"metadata of {len(metadata)} characters; {_MAX_METADATA} are possible"
            )
        if message.conversation.kind is ConversationKind.GROUP:
            raise Unsendable("a group has no responder of its own")
        user = message.sender if message.direction is Direction.INBOUND else message.recipient
        told: JsonObject = {**_PRODUCT, "action": action.value}
        if user.phone is not None:
            told["to"] = user.phone
        elif user.user_id is not None:
            told["recipient"] = user.user_id
        else:
            raise Unsendable("a user without a phone or a user_id")
        if metadata is not None:
            told["metadata"] = metadata
        if to is not None:
            told["control_pass"] = {"target_role": to}
        return Request(
            url=f"{self._base_url}/{number_id}/thread_control",
            headers=self._headers,
            body=json_body(told),
        )

    def controlled(self, response: Response, /) -> Outcome:
        """Say whether Meta did it."""
        told = _told(response, "messaging_product")
        return told if isinstance(told, Refused) else Accepted()

    def upload(self, media: Media, channel: str, account: str | None, /) -> Upload:  # noqa: ARG002
        """Return the request that uploads a file; Meta keeps it for 30 days.

        https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media
        """
        url = f"{self._base_url}/{self._number(account)}/media"
        headers = {"Authorization": self._headers["Authorization"]}
        form = {"messaging_product": "whatsapp", "type": media.mime_type or ""}
        return Upload(request=Request(url=url, headers=headers), form=form)

    def uploaded(self, response: Response, /) -> str | Refused:
        """Return the id that Meta gives a file."""
        return _told(response, "id")

    def conclude(self, message: Message, response: Response, /) -> Outcome:
        """Say what Meta's response means."""
        body = _read(response)
        if isinstance(body, Refused):
            return body
        if isinstance(message.content, Receipt) or body.get("success") is True:
            return Accepted()
        sent = mapping(next(iter(sequence(body.get("messages"))), None))
        message_id = identifier(sent.get("id"))
        if message_id is None:
            return refused_by_status(response, "no message's id")
        status = filled(sent.get("message_status")) or _ACCEPTED
        return Accepted(
            message_id=message_id,
            party=_party(body),
            provider_status=status,
            held=status != _ACCEPTED,
        )

    def remedy(self, error: ProviderError, /) -> Remedy:
        """Say what to do about an error that a status told."""
        return remedy_of(error.code) or Remedy.REFUSED


def _read(response: Response) -> JsonObject | Refused:
    """Return the object that a response holds where it is a success."""
    try:
        body = read_object(response.body)
    except MalformedBody:
        return refused_by_status(response, "no JSON object")
    error = body.get("error")
    if type(error) is dict:
        return refusal(error, response)
    return body if response.status == _SUCCESS else refused_by_status(response, "no error in it")


def _told(response: Response, name: str) -> str | Refused:
    """Return what a response tells under a name, without which it is no success."""
    body = _read(response)
    if isinstance(body, Refused):
        return body
    return identifier(body.get(name)) or refused_by_status(response, f"no {name} in it")


def _party(body: JsonObject) -> Party | None:
    """Return the user as Meta knows them: the number may be another than the one that was given.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids
    """
    contact = mapping(next(iter(sequence(body.get("contacts"))), None))
    number, user_id = phone(contact.get("wa_id")), identifier(contact.get("user_id"))
    return None if number is None and user_id is None else Party(phone=number, user_id=user_id)


def _body(content: Content, message: Message) -> JsonObject:
    if isinstance(content, Receipt):
        return _receipt(content)
    envelope: JsonObject = {
        **_PRODUCT,
        **_recipient(message, content),
        "biz_opaque_callback_data": message.message_id,
    }
    quoted = None if message.reply_to is None else message.reply_to.message_id
    if quoted is not None and not isinstance(content, _NEVER_QUOTES):
        envelope["context"] = {"message_id": quoted}
    if isinstance(content, Native):
        return {**_PRODUCT, **content.body} if "status" in content.body else envelope | content.body
    kind, value = _content(content)
    return {**envelope, "type": kind, kind: value}


def _receipt(receipt: Receipt) -> JsonObject:
    """Return what marks a message as read.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/typing-indicators
    """
    told: JsonObject = {**_PRODUCT, "status": "read", "message_id": receipt.message_id}
    if receipt.typing:
        told["typing_indicator"] = {"type": "text"}
    return told


def _recipient(message: Message, content: Content) -> JsonObject:
    if message.conversation.kind is ConversationKind.GROUP:
        group_id = message.conversation.provider_id
        if not group_id:
            raise Unsendable("a group without Meta's id for it")
        return {"recipient_type": "group", "to": group_id}
    told: JsonObject = {"recipient_type": "individual"}
    if message.recipient.phone is not None:
        told["to"] = message.recipient.phone
    elif message.recipient.user_id is not None:
        if isinstance(content, Template) and (content.category or "").lower() == "authentication":
            raise Unsendable("an authentication template needs the user's phone")
        told["recipient"] = message.recipient.user_id
    elif not (isinstance(content, Native) and {"to", "recipient"} & set(content.body)):
        raise Unsendable("a recipient without a phone or a user_id")
    return told


def _content(content: Content) -> tuple[str, JsonValue]:
    """Return the type of a message and what stands in the field of that name."""
    match content:
        case Text():
            # Without `preview_url`: fetching a preview uses up a link that works once.
            return "text", {"body": content.text}
        case Media():
            return media_type(content), media_object(content)
        case Location():
            return "location", location_object(content)
        case Contacts():
            return "contacts", [contact_object(card) for card in content.contacts]
        case Reaction():
            return "reaction", {"message_id": content.message_id, "emoji": content.emoji or ""}
        case Menu():
            return "interactive", interactive(content)
        case Carousel():
            return "interactive", carousel(content)
        case Template():
            return "template", _template(content)
        case _:
            raise Unsendable(f"a {content.kind} is not for sending")


def _template(template: Template) -> JsonObject:
    """Return a template; its language is matched exactly.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/overview
    """
    if not template.language:
        raise Unsendable("a template without its language")
    told: JsonObject = {"name": template.name, "language": {"code": template.language}}
    filled_in = components(template)
    if filled_in:
        told["components"] = filled_in
    return told
