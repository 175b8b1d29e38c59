"""A bridge with the three adapters, and callbacks that are signed as their providers do."""

from __future__ import annotations

import base64
import hashlib
import hmac

import orjson

from bridge.adapter.signing import Secret
from bridge.adapters.incs import Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.journal.memory import MemoryJournal
from bridge.model import Event
from bridge.runtime import Bridge
from bridge.settings import ServerSettings

APP_SECRET = "an-app-secret-of-whatsapp"
CLIENT_TOKEN = "a-client-token-of-rcs"
INCS_TOKEN = "a-path-token-of-incs"
INNER = orjson.dumps(
    {
        "senderPhoneNumber": "+14155550123",
        "messageId": "rcs-1",
        "agentId": "agent",
        "text": "hello",
    }
)


class Keeping(MemoryJournal):
    """Remembers what was appended, in the order of the callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Event] = []

    async def append(self, events):
        self.kept += events
        return await super().append(events)


def real_bridge(**server) -> Bridge:
    made = Bridge(journal=Keeping(), server=ServerSettings(**server))
    made.add_adapter(
        "whatsapp",
        WhatsApp(
            "whatsapp",
            WhatsAppSettings(
                app_secrets=(Secret(APP_SECRET),), verify_tokens=(Secret("a-verify-token"),)
            ),
        ),
    )
    made.add_adapter("rcs", Rcs("rcs", RcsSettings(client_tokens=(Secret(CLIENT_TOKEN),))))
    made.add_adapter("incs", Incs("incs", IncsSettings(tokens=(Secret(INCS_TOKEN),))))
    return made


def whatsapp_signature(body: bytes) -> str:
    return hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()


def rcs_signature(inner: bytes) -> str:
    digest = hmac.new(CLIENT_TOKEN.encode(), inner, hashlib.sha512).digest()
    return base64.b64encode(digest).decode()


def envelope(inner: bytes) -> bytes:
    return orjson.dumps({"message": {"data": base64.b64encode(inner).decode()}})


def authentic(adapter: str, body: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return path, headers and body of a callback as the provider would send it."""
    if adapter == "whatsapp":
        headers = {"X-Hub-Signature-256": f"sha256={whatsapp_signature(body)}"}
        return "/callbacks/whatsapp", headers, body
    if adapter == "rcs":
        return "/callbacks/rcs", {"X-Goog-Signature": rcs_signature(body)}, envelope(body)
    return f"/callbacks/incs/{INCS_TOKEN}", {}, body
