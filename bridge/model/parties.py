"""Who talks: the parties of a message and the conversation they have."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias, final

import attrs

from bridge.model.frozen import quick_init

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"
"""Anything that a JSON text can hold, as parsed."""


class Role(StrEnum):
    """Whose side a party is on."""

    USER = "user"
    BUSINESS = "business"
    AGENT = "agent"


class ConversationKind(StrEnum):
    """How many take part in a conversation."""

    DIRECT = "direct"
    GROUP = "group"


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Party:
    """Somebody who takes part in a conversation.

    `phone` is E.164 with its plus sign, or None: it is never required and never made up.
    `user_id` is the provider's own name for a party (a BSUID, an agent account), and
    `parent_user_id` its name for the same user across linked businesses.
    `identity_key_hash` changes when the user's encryption keys do.
    """

    phone: str | None = None
    user_id: str | None = None
    parent_user_id: str | None = None
    name: str | None = None
    username: str | None = None
    identity_key_hash: str | None = None
    role: Role = Role.USER


@final
@quick_init
@attrs.frozen(kw_only=True, weakref_slot=False)
class Conversation:
    """Where a message belongs: events with one `id` are delivered one at a time, in order.

    `id` is ours, made of channel, account and the user's identity, so that every callback
    family names the same one; `provider_id` is the provider's own number for it.
    """

    id: str
    kind: ConversationKind = ConversationKind.DIRECT
    provider_id: str | None = None
