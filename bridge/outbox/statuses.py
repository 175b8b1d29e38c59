"""The statuses that the outbox appends: what a provider said of a message, as events."""

from __future__ import annotations

from datetime import datetime

import attrs

from bridge.adapter import Accepted
from bridge.journal.tracks import in_domain
from bridge.model import ConversationKind, Message, Party, ProviderError, Status, StatusChange
from bridge.model.keys import OURS, status_key


def change_of(
    message: Message,
    status: Status,
    accepted: Accepted | None,
    error: ProviderError | None,
    now: datetime,
) -> StatusChange:
    """Return a status of a message under the provider's id, or our own where there is none."""
    theirs = None if accepted is None else accepted.message_id
    space = OURS if theirs is None else message.channel
    message_id = message.message_id if theirs is None else theirs
    word = status.value if accepted is None else accepted.provider_status
    return StatusChange(
        key=in_domain(message, status_key(space, message_id, status, provider_status=word)),
        source=message.source,
        domain=message.domain,
        channel=message.channel,
        account=message.account,
        occurred_at=now,
        received_at=now,
        raw={},
        message_id=message_id,
        aliases=() if theirs is None else (message.message_id,),
        id_space=OURS,
        status=status,
        provider_status=word,
        error=error,
        recipient=_recipient(message, accepted),
        conversation=message.conversation,
        resolved=theirs is not None,
    )


def _recipient(message: Message, accepted: Accepted | None) -> Party | None:
    """Return the user of a status, as the provider knows them: by another number perhaps."""
    if message.conversation.kind is not ConversationKind.DIRECT:
        return None
    told = None if accepted is None else accepted.party
    if told is None:
        return message.recipient
    known = message.recipient
    if told.user_id is None and told.phone in (None, known.phone):  # as mostly
        return known
    return attrs.evolve(
        known, phone=told.phone or known.phone, user_id=told.user_id or known.user_id
    )
