"""What a message owes to another one: whose it is, what it quotes, what was known of it before.

Some messages are about another message, or name it, and do not say themselves what is known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from bridge.journal import tracks
from bridge.journal.identity import await_under_phone, name_by
from bridge.journal.ledger import Ledger, User
from bridge.journal.telling import is_of_status, together
from bridge.model import (
    ConversationKind,
    Deletion,
    Direction,
    Edit,
    Event,
    Media,
    Message,
    Origin,
    Reaction,
)
from bridge.model.frozen import changer, evolved
from bridge.model.keys import deletion_key, message_key, shown_key, unshown_key_of

_OUTBOUND: Final = Direction.OUTBOUND
_DIRECT: Final = ConversationKind.DIRECT
_IMPORTED: Final = Origin.HISTORY
_BEFORE_IMPORT: Final = timedelta(hours=1)
"""How long before its placeholder in an import a message was written that is not told live."""
_MOST_UNSHOWN: Final = 8  # of one user
_MOST_COMPLETIONS: Final = 8  # of one event
_awaiting: Final[Callable[..., User]] = changer(User, "unshown")


def quoting(message: Message, ledger: Ledger) -> Message:
    """Return a message that quotes another by the channel's own id, if that is known."""
    quoted = message.reply_to.message_id if message.reply_to is not None else None
    if message.reply_to is None or quoted is None:
        return message
    other = _known_message(message, message_key(message.id_space or "", quoted), ledger)
    own = tracks.own_id(message, quoted, ledger) or (other and other.message_id) or quoted
    return evolved(message, reply_to=attrs.evolve(message.reply_to, message_id=own))


def of_what_is_deleted(deletion: Message, ledger: Ledger) -> tuple[Message, Sequence[str]]:
    """Return a deletion as one of the channel's own id, and its names by the message's others.

    Both as far as the message that it is about is known. One that we ask for stays as it is.
    """
    content = deletion.content
    if type(content) is not Deletion or deletion.intent is not None:
        return deletion, ()
    key = message_key(deletion.id_space or deletion.channel, content.message_id)
    first = _known_message(deletion, key, ledger)
    other = latest(first.key, ledger)[0] if first is not None else None
    if not isinstance(other, Message):
        return deletion, ()
    if deletion.id_space is not None and other.aliases:
        own = other.message_id
        deletion = evolved(
            deletion,
            key=tracks.in_domain(deletion, deletion_key(other.channel, own)),
            channel=other.channel,
            account=other.account,
            message_id=own,
            id_space=None,
            content=attrs.evolve(content, message_id=own),
        )
    keys = (deletion_key(other.id_space or other.channel, alias) for alias in other.aliases)
    return deletion, [tracks.in_domain(deletion, key) for key in keys]


def key_of_deleted(deletion: Message) -> str:
    """Return the key of the message that was deleted, by the id that is told."""
    space = deletion.id_space or deletion.channel
    return tracks.in_domain(deletion, message_key(space, deletion.message_id))


def latest(key: str, ledger: Ledger) -> tuple[Event | None, str | None]:
    """Return the last account that was published of a happening, and the key of the next one."""
    found, more = accounts(key, ledger)
    return found[-1] if found else None, more


def accounts(key: str, ledger: Ledger) -> tuple[Sequence[Event], str | None]:
    """Return every account that was published of a happening, and the key of the next one."""
    known = ledger.known(key)
    if known is None:
        return (), None
    first = known.event
    found = [first]
    for number in range(1, _MOST_COMPLETIONS + 1):
        more = f"{first.key}/more/{number}"
        if not ledger.knows(more):
            return found, more
        known = ledger.known(more)
        if known is not None:
            found.append(known.event)
    return found, None


def note_unshown(message: Message, user: User, ledger: Ledger) -> None:
    """Remember with its user that a message was told, if it was told only as not shown."""
    key = shown_key(message)
    if key is not None and key not in user.unshown:
        ledger.save(_awaiting(user, (*user.unshown, key)[-_MOST_UNSHOWN:]))
        await_under_phone(message, user, ledger)


def with_unshown(message: Message, ledger: Ledger) -> Message:
    """Return a message with what was known of it when it was published as not shown."""
    other = latest(unshown_key_of(message), ledger)[0] if shown_key(message) is None else None
    if not isinstance(other, Message):
        return message
    if other.direction is not message.direction:
        if tells_user(message) and message.sender.phone != (other.sender.phone or ""):
            return message
        # Whoever wrote what names nobody, or no recipient, was told by what could not be shown.
        sides = {"sender": other.sender, "recipient": other.recipient}
        message = evolved(message, direction=other.direction, **sides)
    return evolved(
        together(_of_import(message, other), other),
        completes=None,
        newly_owned=None,
        newly_live=None,
        raw=message.raw,
        source=message.source,
        occurred_at=message.occurred_at,
        received_at=message.received_at,
    )


def of_import(message: Message, ledger: Ledger) -> Message:
    """Return a message as one that was imported, if its placeholder was."""
    other = latest(unshown_key_of(message), ledger)[0]
    return _of_import(message, other) if isinstance(other, Message) else message


def _of_import(message: Message, placeholder: Message) -> Message:
    """Return what an import told first by its placeholder as imported, whatever tells it now.

    It was written well before the import, and its file is given out since now.
    """
    written, content = message.occurred_at, message.content
    if placeholder.origin is not _IMPORTED or written > placeholder.received_at - _BEFORE_IMPORT:
        return message
    if type(content) is Media and content.expires_at is not None and message.origin != _IMPORTED:
        given_out_until = content.expires_at + (message.received_at - written)
        content = attrs.evolve(content, expires_at=given_out_until)
    return evolved(message, origin=_IMPORTED, reply_until=None, content=content)


def of_its_author(deletion: Message, about: str, ledger: Ledger) -> Message:
    """Return a deletion as one by whoever wrote the message, where that message is known.

    A revocation has an id of its own and says whose it is; a status is the message's.
    """
    other = _known_message(deletion, message_key(deletion.channel, about), ledger)
    if other is not None and _is_of_group(other, deletion):
        deletion = evolved(deletion, conversation=other.conversation)
    if not is_of_status(deletion) and tells_user(deletion):
        return deletion
    if other is None or (other.direction is deletion.direction and tells_user(deletion)):
        return deletion
    if other.direction is not _OUTBOUND:
        sides = {"sender": other.sender, "recipient": other.recipient}
        return evolved(deletion, **sides, conversation=other.conversation)
    return evolved(
        deletion,
        direction=_OUTBOUND,
        origin=other.origin,
        sender=other.sender,
        recipient=other.recipient,
        conversation=other.conversation,
        reply_until=None,
    )


def of_its_user(message: Message, ledger: Ledger) -> Message:
    """Return a message that names nobody as of the user of the message that it is about.

    One about a message in a group is in the group, whomever it names.
    """
    content = message.content
    about = content.message_id if isinstance(content, Edit | Reaction) else None
    if about is None and message.reply_to is not None:
        about = message.reply_to.message_id
    key = None if about is None else message_key(message.channel, about)
    other = None if key is None else _known_message(message, key, ledger)
    if other is None:
        return message
    if _is_of_group(other, message):
        return evolved(message, conversation=other.conversation)
    if tells_user(message):
        return message
    user = other.recipient if other.direction is _OUTBOUND else other.sender
    side = "recipient" if message.direction is _OUTBOUND else "sender"
    return evolved(message, **{side: user}, conversation=other.conversation)


def whose(message: Message, ledger: Ledger) -> str | None:
    """Return the name of the user of a direct conversation, by the message that one is about.

    A deletion, an edit, a reaction and an answer are in the conversation of that message, by
    whichever name they tell the user.
    """
    if message.conversation.kind is not _DIRECT:
        return None
    content = message.content
    key = content.message_id if isinstance(content, Deletion | Edit | Reaction) else None
    if key is None and message.reply_to is not None and message.sender.phone is None:
        key = message.reply_to.message_id
    other = (
        None if key is None else _known_message(message, message_key(message.channel, key), ledger)
    )
    if other is None or other.conversation.kind is not _DIRECT or other.account != message.account:
        return None
    party = other.recipient if other.direction is _OUTBOUND else other.sender
    own = message.recipient if message.direction is _OUTBOUND else message.sender
    identity = party.phone or party.user_id or party.parent_user_id
    if identity is None or (own.phone is not None and party.phone is not None):
        return None  # of two phones the time decides
    user = ledger.find(name_by(message.domain, message.channel, identity))
    if not isinstance(user, User):
        return None
    where = user.conversations.get(message.account or "")
    return user.name if where == other.conversation.id else None


def _is_of_group(other: Message, message: Message) -> bool:
    """Return whether a message is about one in a group, and does not say that it is there too."""
    where = message.conversation
    is_told = where.kind is not _DIRECT and where.provider_id is not None
    return not is_told and other.conversation.kind is not _DIRECT


def time_of(event: Event, ledger: Ledger) -> datetime:
    """Return the time whose names an event tells: that of the message which it is about."""
    content = getattr(event, "content", None)
    if not isinstance(event, Message) or not isinstance(content, Deletion | Edit | Reaction):
        return event.occurred_at
    other = _known_message(event, message_key(event.channel, content.message_id), ledger)
    return event.occurred_at if other is None else min(event.occurred_at, other.occurred_at)


def tells_user(message: Message) -> bool:
    """Return whether a message names the user who wrote it, or to whom it went."""
    user = message.recipient if message.direction is _OUTBOUND else message.sender
    return bool(user.phone or user.user_id or user.parent_user_id)


def _known_message(about: Message, key: str, ledger: Ledger) -> Message | None:
    known = ledger.known(tracks.in_domain(about, key))
    return known.event if known is not None and isinstance(known.event, Message) else None
