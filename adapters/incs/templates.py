"""Changes of a WhatsApp template: its status, its category, its quality."""

from __future__ import annotations

from adapters.incs.channels import Channels
from bridge.adapter import Scope
from bridge.errors import Unreadable
from bridge.keys import template_key
from bridge.model import JsonValue, TemplateAspect, TemplateChange
from bridge.payload import filled, identifier, instant

_CHANNEL = "whatsapp"  # by the documentation these callbacks are about WhatsApp only


def template_update(
    body: dict[str, JsonValue], blank: Scope, channels: Channels, aspect: TemplateAspect
) -> TemplateChange:
    """Translate one of the three template callbacks. Raises `Unreadable`.

    INCS does not hand on the language and the previous value, nor whether a new category is
    announced or already in force.
    """
    template_id = identifier(body.get("template_id"))
    if template_id is None:
        raise Unreadable("template_id", "missing")
    value = filled(body.get("new_value"))
    if value is None:
        raise Unreadable("new_value", "missing")
    scope = channels.scope(
        blank,
        evidence=_CHANNEL,
        channel_id=body.get("channel_id"),
        business_phone=body.get("business_phone"),
    )
    when = identifier(body.get("received_at")) or ""
    return TemplateChange(
        key=template_key(_CHANNEL, template_id, aspect, value, when),
        source=scope.source,
        channel=_CHANNEL,
        account=scope.account,
        occurred_at=instant(body.get("received_at")) or scope.received_at,
        received_at=scope.received_at,
        raw=body,
        template_id=template_id,
        template_name=filled(body.get("template_name")),
        aspect=aspect,
        value=value,
        reason=filled(body.get("reason")),
    )
