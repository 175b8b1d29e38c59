"""Simulated providers on loopback, each with the adapter that sends to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bridge.adapters.incs import Channel, Incs, IncsSettings
from bridge.adapters.rcs import Rcs, RcsSettings
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from tests.bridge.outbox.keys import service_account

APP_SECRET = "an-app-secret"
CLIENT_TOKEN = "a-client-token"
PATH_TOKEN = "a-path-token"


def whatsapp(url: str) -> WhatsApp:
    return WhatsApp(
        "whatsapp",
        WhatsAppSettings(
            app_secrets=APP_SECRET,
            access_token="EAAJB",
            phone_number_id="106540352242922",
            base_url=f"{url}/v26.0",
        ),
    )


def rcs(url: str) -> Rcs:
    return Rcs(
        "rcs",
        RcsSettings(
            client_tokens=CLIENT_TOKEN,
            service_account=service_account(f"{url}/token"),
            agent_id="example_agent",
            base_url=url,
        ),
    )


def incs(url: str) -> Incs:
    return Incs(
        "incs",
        IncsSettings(
            tokens=PATH_TOKEN,
            channels=[
                Channel(
                    id=30058,
                    kind="whatsapp",
                    business_phone="6281519236680",
                    certification_code="w",
                ),
                Channel(id=30059, kind="rcs", agent_id="agent", certification_code="r"),
                Channel(id=30060, kind="viber", certification_code="v"),
            ],
            base_url=url,
        ),
    )


ADAPTERS: dict[str, Callable[[str], Any]] = {"whatsapp": whatsapp, "rcs": rcs, "incs": incs}

# The same in TOML, with URL for where the provider is, and the key of RCS in a file.
TABLES = {
    "whatsapp": f"""
[adapters.whatsapp]
app_secrets = ["{APP_SECRET}"]
access_token = "EAAJB"
phone_number_id = "106540352242922"
base_url = "URL/v26.0"
""",
    "rcs": f"""
[adapters.rcs]
client_tokens = ["{CLIENT_TOKEN}"]
service_account = "file:key.json"
agent_id = "example_agent"
base_url = "URL"
""",
    "incs": f"""
[adapters.incs]
tokens = ["{PATH_TOKEN}"]
base_url = "URL"
[[adapters.incs.channels]]
id = 30058
kind = "whatsapp"
business_phone = "6281519236680"
certification_code = "w"
""",
}
