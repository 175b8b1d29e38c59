"""What goes out next where a message has failed: a template in its place, or another way out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

import attrs

from bridge.adapter import Remedy
from bridge.adapter.fitting import parts
from bridge.errors import ConfigurationError, Unsendable
from bridge.model import Intent, Message, StatusChange
from bridge.outbox.composing import keyed, rerouted
from bridge.outbox.failures import FAILED, IN_DOUBT, OPTED_OUT
from bridge.outbox.ways import Ways

_NAMESPACE: Final = UUID("b7f0a3d2-4c1e-5d8b-8f67-1e9a52c0d4ab")  # another one would send again


def following(ways: Ways, message: Message, change: StatusChange) -> Sequence[Message]:
    """Return what goes out next after a message has failed; nothing where that is the end.

    The same failure always gives the same messages, so that they go out once.
    """
    intent = message.intent
    if intent is None or change.current not in FAILED:
        return ()
    remedy = _remedy(ways, message, change)
    # No way leads around what the user has said, and what may have arrived goes no other way.
    if remedy is Remedy.OPTED_OUT or change.error in (IN_DOUBT, OPTED_OUT):
        return ()
    if intent.otherwise is not None and remedy is Remedy.USE_TEMPLATE:
        template = attrs.evolve(
            message,
            message_id=str(uuid5(_NAMESPACE, f"{message.message_id}/otherwise")),
            content=intent.otherwise,
            reply_to=None,
            intent=attrs.evolve(intent, otherwise=None, part=1, begun_by=None),
        )
        return (_now(template, change),)
    for number, via in enumerate(intent.fallback):
        try:
            way, route = ways.find(via)
            rest = attrs.evolve(
                intent,
                fallback=intent.fallback[number + 1 :],
                expires_at=_expiring(message, intent, change),
                part=1,
                begun_by=None,
            )
            other = rerouted(
                attrs.evolve(
                    message,
                    message_id=str(uuid5(_NAMESPACE, f"{message.message_id}/{via}")),
                    intent=rest,
                ),
                way,
                route,
            )
            fitting = parts(_now(other, change), way.capabilities(route.channel))
            for part in fitting:
                way.sender.compose(part)
        except (ConfigurationError, Unsendable):
            continue  # what cannot be sent there has the next way
        return tuple(map(keyed, fitting))
    return ()


def _now(message: Message, change: StatusChange) -> Message:
    # By our clock: a callback may come late, and the time to send it begins now.
    at = change.received_at
    return keyed(attrs.evolve(message, occurred_at=at, received_at=at))


def _expiring(message: Message, intent: Intent, change: StatusChange) -> datetime | None:
    """Return until when the next way has the message: as long as the one before had."""
    if intent.expires_at is None:
        return None
    begun = max(message.occurred_at, intent.not_before or message.occurred_at)
    return change.received_at + (intent.expires_at - begun)


def _remedy(ways: Ways, message: Message, change: StatusChange) -> Remedy | None:
    if change.error is None:
        return None
    try:
        return ways.of(message.source).sender.remedy(change.error)
    except ConfigurationError:
        return None
