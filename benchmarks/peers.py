"""Others who read callbacks: pywa makes updates of them, pydantic checks their shape."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

import pydantic


def pywa_parser() -> Callable[[bytes], object]:
    """Return what pywa does with a body before it calls anybody: hash, JSON, update object."""
    from pywa._logging import get_update_hash
    from pywa.client import WhatsApp
    from pywa.types.base_update import RawUpdate

    logging.getLogger("pywa").setLevel(logging.CRITICAL)
    client = WhatsApp(phone_id="106540352242922", token="unused", filter_updates=False)

    def parse(body: bytes) -> object:
        update = RawUpdate(body, hmac_header=None, update_hash=get_update_hash(body))
        handler = client._get_handler_type(update)  # noqa: SLF001 - what its server calls
        assert handler is not None
        return client._handlers_to_updates[handler].from_update(  # noqa: SLF001
            client=client, update=update
        )

    return parse


class _Profile(pydantic.BaseModel):
    name: str | None = None


class _Card(pydantic.BaseModel):
    profile: _Profile
    wa_id: str | None = None
    user_id: str | None = None


class _Text(pydantic.BaseModel):
    body: str


class _Message(pydantic.BaseModel):
    id: str
    timestamp: datetime
    type: str
    from_: str | None = pydantic.Field(None, alias="from")
    from_user_id: str | None = None
    text: _Text | None = None


class _Metadata(pydantic.BaseModel):
    display_phone_number: str
    phone_number_id: str


class _Value(pydantic.BaseModel):
    messaging_product: str
    metadata: _Metadata
    contacts: list[_Card] = []
    messages: list[_Message] = []


class _Change(pydantic.BaseModel):
    field: str
    value: _Value


class _Entry(pydantic.BaseModel):
    id: str
    changes: list[_Change]


class WhatsAppText(pydantic.BaseModel):
    """A text message as Meta sends it."""

    object: str
    entry: list[_Entry]


class IncsWhatsAppText(pydantic.BaseModel):
    """The same as INCS wraps it."""

    event: str
    channel_id: int | None = None
    business_phone: str
    message: _Value


class RcsText(pydantic.BaseModel):
    """A text message as Google sends it."""

    senderPhoneNumber: str  # noqa: N815 - Google's spelling
    messageId: str  # noqa: N815
    sendTime: datetime  # noqa: N815
    text: str
    agentId: str  # noqa: N815
