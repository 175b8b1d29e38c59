"""Changes of a WhatsApp template: its status, its category, its quality."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from bridge.adapter import build
from bridge.adapter.payload import digest, filled, identifier, instant
from bridge.adapter.reading import JsonObject, required_id
from bridge.adapters.incs.channels import Channels
from bridge.adapters.whatsapp.account import reason_of
from bridge.errors import Unreadable
from bridge.model import Event, TemplateAspect
from bridge.model.keys import hour_of, template_key

_CHANNEL: Final = "whatsapp"  # by the documentation these callbacks are about WhatsApp only


def template_update(
    aspect: TemplateAspect, body: JsonObject, channels: Channels, received_at: datetime
) -> list[Event]:
    """Translate one of the three template callbacks. Raises `Unreadable`.

    INCS does not hand on the language and the previous value, nor whether a new category is
    announced or already in force.
    """
    template_id = required_id(body, "template_id")
    value = filled(body.get("new_value"))
    if value is None:
        raise Unreadable("new_value", "missing")
    scope = channels.scope(
        body,
        received_at,
        evidence=_CHANNEL,
        channel_id=body.get("channel_id"),
        business_phone=body.get("business_phone"),
    )
    at = identifier(body.get("received_at"))
    # Without a time the content says which one it is: a template may be rejected for two reasons.
    told = value.upper() if at is not None else digest(body)
    return [
        build.template_change(
            key=template_key(_CHANNEL, template_id, aspect, told, at or hour_of(received_at)),
            source=scope.source,
            channel=_CHANNEL,
            account=scope.account,
            occurred_at=instant(body.get("received_at")) or received_at,
            received_at=received_at,
            raw=body,
            template_id=template_id,
            template_name=filled(body.get("template_name")),
            aspect=aspect,
            value=value,
            reason=reason_of(body.get("reason")),
        )
    ]
