"""Callbacks as INCS sends them, for tests that run a server."""

from __future__ import annotations

import time

NOW = f"{time.time():.0f}"  # what is dated long ago does not come out


def new_message(message_id: str, phone: str, text: str = "hello") -> dict:
    """Return INCS's callback of a WhatsApp text."""
    return {
        "event": "new_message",
        "business_phone": "6281519236680",
        "message": {
            "messaging_product": "whatsapp",
            "metadata": {
                "display_phone_number": "6281519236680",
                "phone_number_id": "302702419599374",
            },
            "contacts": [{"profile": {"name": "Lessie Laytoya"}, "wa_id": phone}],
            "messages": [
                {
                    "from": phone,
                    "id": message_id,
                    "timestamp": NOW,
                    "text": {"body": text},
                    "type": "text",
                }
            ],
        },
    }
