"""Whose a conversation is to answer: what the journal knows of copies and handovers."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from bridge.adapter import Control
from bridge.errors import NotOwner, Unsendable
from bridge.journal.protocol import Journal
from bridge.journal.query import Query
from bridge.journal.tracks import in_domain
from bridge.model import Direction, Handover, Message
from bridge.model.keys import event_key
from bridge.outbox.users import user_of


async def check_ours(message: Message, journal: Journal) -> None:
    """Raise `NotOwner` for the copy of a message that another responder answers.

    Not where the conversation has become ours since, by the provider's times.
    """
    user, account = await user_of(message.conversation.id, journal)
    owned, at = (False, 0.0) if user is None else user.owned.get(account, (False, 0.0))
    if not (owned and at >= message.occurred_at.timestamp()):
        raise NotOwner("another responder answers this conversation; only `send` may take it")


async def newest_message(conversation: str, journal: Journal) -> Message:
    """Return the last message of a conversation, which says by which account it is led.

    Raises `Unsendable` where the journal knows of none, and `JournalError`.
    """
    about = Query(kinds=(Message.kind,), conversation=conversation, newest_first=True, limit=1)
    for entry in await journal.search(about):
        if isinstance(entry.event, Message):
            return entry.event
    raise Unsendable("the journal knows no message of this conversation")


def handover(message: Message, action: Control, now: datetime) -> Handover:
    """Return what is told of a conversation that we took, passed or released ourselves.

    The provider tells only the other responder, if anybody.
    """
    is_inbound = message.direction is Direction.INBOUND
    key = event_key(Handover.kind, message.channel, uuid4().hex)
    return Handover(
        key=in_domain(message, key),
        source=message.source,
        domain=message.domain,
        channel=message.channel,
        account=message.account,
        occurred_at=now,
        received_at=now,
        raw={"conversation": message.conversation.id},
        party=message.sender if is_inbound else message.recipient,
        conversation=message.conversation,
        owned=action is Control.TAKE,
        reason=action.value,
    )
