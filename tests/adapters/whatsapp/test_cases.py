"""Callbacks of the Cloud API beside the events that they mean."""

from __future__ import annotations

import pytest

from bridge.adapter import Verified
from bridge.adapters.whatsapp import WhatsApp, WhatsAppSettings
from bridge.model.codec import to_dict
from tests.adapters import cases


@pytest.mark.parametrize("case", cases.load("whatsapp"), ids=lambda case: case.name)
def test_case(case):
    """A callback gives exactly the events that Meta's documentation says it means."""
    adapter = WhatsApp("whatsapp", WhatsAppSettings(insecure=True))
    parsed = adapter.parse(Verified(payload=case.request, received_at=cases.RECEIVED_AT))
    assert [to_dict(event) for event in parsed.events] == case.expected()
