"""The callbacks that everything is measured with."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator, Mapping
from itertools import count, islice
from pathlib import Path
from typing import Any

import attrs
import orjson

APP_SECRET = "an-app-secret-for-the-benchmarks"
PATH = "/callbacks/whatsapp"
SIGNATURE = "X-Hub-Signature-256"
_USERS = 5000
_SOMEBODY = "US.13491208655302741918"

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
                                "user_id": _SOMEBODY,
                            }
                        ],
                        "messages": [
                            {
                                "from": "16505551234",
                                "from_user_id": _SOMEBODY,
                                "id": "wamid.HBgLMTY1MDU1NTEyMzQVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0",
                                "timestamp": f"{time.time():.0f}",
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


def _update(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return Meta's own update around a value."""
    changes = [{"field": "messages", "value": value}]
    return {**WHATSAPP_TEXT, "entry": [{**WHATSAPP_TEXT["entry"][0], "changes": changes}]}


def _pattern(shape: Mapping[str, Any]) -> str:
    return orjson.dumps(shape).decode()


# What differs is filled in: a load needs tens of thousands of bodies, and making dictionaries into
# JSON each time took three times as long.
_VALUE = WHATSAPP_TEXT["entry"][0]["changes"][0]["value"]
_NAMES = {"from": "1650%s", "from_user_id": "US.1349120865530%s"}
_MESSAGE_ID = "wamid.HBgLMTY1MDU1NTEyMzQVAgASGB%s"
_MESSAGE = _pattern({**_VALUE["messages"][0], **_NAMES, "id": _MESSAGE_ID})
_CARD = _pattern(
    {
        "profile": {"name": "Sheena Nelson"},
        "wa_id": _NAMES["from"],
        "user_id": _NAMES["from_user_id"],
    }
)
_BODY = _pattern(_update({**_VALUE, "contacts": ["%s"], "messages": ["%s"]})).replace('"%s"', "%s")
_KEYED = hmac.new(APP_SECRET.encode(), digestmod=hashlib.sha256)


def texts(items: int = 1, users: int = _USERS) -> Iterator[bytes]:
    """Make bodies without end; each id is new, and they sort as real ones do: not at all."""
    nonce = time.time_ns()
    numbers = count()
    while True:
        messages, cards = [], []
        for number in islice(numbers, items):
            user = f"{number % users:07}"
            digits = f"{(nonce + number) * 6364136223846793005 % 2**64:020}"
            messages.append(_MESSAGE % (user, user, digits))
            cards.append(_CARD % (user, user))
        yield (_BODY % (",".join(cards), ",".join(messages))).encode()


def enveloped(value: Mapping[str, Any]) -> bytes:
    """Return Meta's own update around a value that INCS wrapped, with what pywa insists on."""
    cards = [{**card, "user_id": _SOMEBODY} for card in value.get("contacts", ())]
    messages = [{**item, "from_user_id": _SOMEBODY} for item in value.get("messages", ())]
    return orjson.dumps(_update({**value, "contacts": cards, "messages": messages}))


def signed(body: bytes) -> str:
    """Return the signature as Meta sends it."""
    signature = _KEYED.copy()  # keying anew takes a third of the time
    signature.update(body)
    return f"sha256={signature.hexdigest()}"


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
