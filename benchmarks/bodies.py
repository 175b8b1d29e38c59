"""The callbacks that everything is measured with."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import orjson

APP_SECRET = "an-app-secret-for-the-benchmarks"
PATH = "/callbacks/whatsapp"
SIGNATURE = "X-Hub-Signature-256"
_USERS = 5000

WHATSAPP_TEXT: dict[str, Any] = {
    "object": "whatsapp_business_account",
    "entry": [
        {
            "id": "102290129340398",
            "changes": [
                {
                    "field": "messages",
                    "value": {
                        "messaging_product": "whatsapp",
                        "metadata": {
                            "display_phone_number": "15550783881",
                            "phone_number_id": "106540352242922",
                        },
                        "contacts": [
                            {
                                "profile": {"name": "Sheena Nelson"},
                                "wa_id": "16505551234",
                                "user_id": "US.13491208655302741918",
                            }
                        ],
                        "messages": [
                            {
                                "from": "16505551234",
                                "from_user_id": "US.13491208655302741918",
                                "id": "wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0",
                                "timestamp": "1749416383",
                                "type": "text",
                                "text": {"body": "Does it come in another color?"},
                            }
                        ],
                    },
                }
            ],
        }
    ],
}
"""The documentation's own first example, with the user's id that Meta sends since 2026.

pywa 4.5 cannot read a message without it.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/text
"""

RCS_TEXT = {
    "senderPhoneNumber": "+16505551234",
    "messageId": "MxKo2rFEAKSaGDPs3BMYCvlg",
    "sendTime": "2025-06-08T20:59:43.589915Z",
    "text": "Does it come in another color?",
    "agentId": "growing-tree-bank@rbm.goog",
}
"""https://developers.google.com/business-communications/rcs-business-messaging/guides/build/messages/receive"""


@attrs.frozen(kw_only=True)
class Batch:
    """How many requests, with how many messages each, to which address."""

    requests: int
    items: int = 1
    port: int
    users: int = _USERS


def texts(items: int = 1, users: int = _USERS) -> Iterator[bytes]:
    """Make bodies without end; each id is new, and they sort as real ones do: not at all."""
    entry = WHATSAPP_TEXT["entry"][0]
    value = entry["changes"][0]["value"]
    template = value["messages"][0]
    nonce = time.time_ns()
    numbers = count()
    while True:
        messages, contacts = [], []
        for number in (next(numbers) for _ in range(items)):
            digits = f"{(nonce + number) * 6364136223846793005 % 2**64:020}"
            user, user_id = f"1650{number % users:07}", f"US.1349120865530{number % users:07}"
            message_id = f"wamid.HBgLMTY1MDU1NTEyMzQVAgASGB{digits}"
            named = {"from": user, "from_user_id": user_id, "id": message_id}
            messages.append({**template, **named})
            card = {"profile": {"name": "Sheena Nelson"}, "wa_id": user, "user_id": user_id}
            contacts.append(card)
        changed = {**value, "contacts": contacts, "messages": messages}
        change = {"field": "messages", "value": changed}
        yield orjson.dumps({**WHATSAPP_TEXT, "entry": [{**entry, "changes": [change]}]})


def signed(body: bytes) -> str:
    """Return the signature as Meta sends it."""
    return "sha256=" + hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()


def request(body: bytes, port: int) -> bytes:
    """Return a whole HTTP request."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"{SIGNATURE}: {signed(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def write(batch: Batch, path: Path) -> None:
    """Write requests for `load.lua`."""
    bodies = texts(batch.items, batch.users)
    with path.open("wb") as file:
        for _ in range(batch.requests):
            data = request(next(bodies), batch.port)
            file.write(b"%010d%s" % (len(data), data))
