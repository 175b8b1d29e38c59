"""Several accounts of one thing, and what they say together.

An account is an event. It says the fields about the thing itself, but neither those of its own
origin (source, times, raw) nor those that the journal has set. An account of a message that has to
settle is a poor one: what a full one says counts, wherever they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs

from bridge.model import (
    Content,
    Deletion,
    Direction,
    Event,
    Media,
    Message,
    Origin,
    Role,
    StatusChange,
    Text,
    Unsupported,
)
from bridge.model.frozen import evolved
from bridge.model.keys import OURS, shown_key

_NOT_SAID: Final = frozenset(attrs.fields_dict(Event)) | {
    "message_id",
    "id_space",
    "aliases",
    # of a message; its content is more than the sum of its fields
    "content",
    "direction",
    "conversation",
    "settle",
    "completes",
    "newly_owned",
    "newly_live",
    # of a status; the conversation is its message's
    "status",
    "provider_status",
    "resolved",
    "advanced",
    "current",
}
_IMPORTED: Final = Origin.HISTORY
_UNRESOLVED: Final = 0
_OF_STATUS: Final = 2  # below what has an id of its own
_FIELDS: Final[dict[type, Sequence[tuple[str, object]]]] = {}
_MORE: Final = {Role.USER: 0, Role.BUSINESS: 1, Role.AGENT: 2}


def together(first: Message, second: Message) -> Message:
    """Return what two accounts of a message say together, as the fuller one's event.

    The channel's own id names the message, whichever of them knows it; its key is the one under
    which it is shown, if one of them shows it. It belongs where the first one says, unless only the
    second one tells whose it is.
    """
    full, other = (second, first) if _is_poorer(first, second) else (first, second)
    named = second if _rank(second) > _rank(first) else first
    is_shown = shown_key(first) is None or shown_key(second) is None
    numbers = (each.message_id for each in (first, second) if _rank(each) == _UNRESOLVED)
    names = (*first.aliases, *second.aliases, *numbers)
    placed = second if _is_anonymous(first) and not _is_anonymous(second) else first
    aliases = tuple(dict.fromkeys(each for each in names if each != named.message_id))
    space = _space(first, second) or _space(second, first)
    provider_ids = (full.conversation.provider_id, other.conversation.provider_id)
    said = _said(full, other)
    # Told to us by any of them; but a poor account does not know whose turn it is.
    is_alike = (first.settle is None) == (second.settle is None)
    said["owned"] = full.owned or (is_alike and other.owned)
    if (full.origin is _IMPORTED) is not (other.origin is _IMPORTED):
        # What was told live is no import, whichever came first; nor does one say whose turn it is.
        live = other if full.origin is _IMPORTED else full
        said |= {"origin": live.origin, "owned": live.owned}
    if full.direction is not other.direction:
        said |= {"sender": full.sender, "recipient": full.recipient}
    return evolved(
        full,
        **said,
        content=_content(full, other),
        key=(shown_key(named) if is_shown else None) or named.key,
        message_id=named.message_id,
        aliases=aliases,
        id_space=space if aliases or not _is_resolved(named) else None,
        account=first.account or second.account,
        conversation=attrs.evolve(
            placed.conversation, provider_id=provider_ids[0] or provider_ids[1]
        ),
    )


def is_more(account: Message, before: Message) -> bool:
    """Return whether an account says what an earlier one of the same message does not."""
    return account.conversation.provider_id != before.conversation.provider_id or any(
        getattr(account, field) != getattr(before, field)
        for field, _ in _fields(Message)
        if field not in _NOT_SAID or field in ("message_id", "aliases", "account", "content")
    )


def told_of_status(first: StatusChange, second: StatusChange) -> dict[str, Any]:
    """Return what two accounts of a status say together, by the names of the fields.

    Where each has an error with a code of its own, or both have words alone, the later one is
    what it failed for last. Of two prices the later one counts.
    """
    said = _said(first, second)
    errors = [each.error for each in (first, second) if each.error is not None]
    codes = [each.code for each in errors]
    if not any(codes):
        codes = [each.title for each in errors]
    if len(set(codes)) > 1 and None not in codes:
        said["error"] = second.error
    if _filled(second.pricing, first.pricing) != said["pricing"]:
        said["pricing"] = second.pricing
    return said


def is_told(change: StatusChange, account: StatusChange) -> bool:
    """Return whether an account of a status says already what a further one does."""
    said = told_of_status(account, change)
    return all(getattr(account, field) == value for field, value in said.items())


def _space(one: Message, other: Message) -> str | None:
    """Return whose space the names are in: a provider's, rather than our own."""
    return None if one.id_space == OURS and other.id_space is not None else one.id_space


def _is_poorer(message: Message, than: Message) -> bool:
    """Return whether what the other account says counts, wherever two of them differ."""
    if message.settle is not None or than.settle is not None:
        return than.settle is None
    return type(message.content) is Deletion and _rank(message) < _rank(than)


def is_of_status(message: Message) -> bool:
    """Return whether a message is a deletion that a status told: it has no id of its own.

    Nor does a status tell who deleted: what it says of that is a guess.
    """
    content = message.content
    return type(content) is Deletion and message.message_id == content.message_id


def _rank(message: Message) -> int:
    """Return how well an account names its message: by a number, or as the channel does."""
    return _is_resolved(message) - (_OF_STATUS if is_of_status(message) else 0)


def _is_resolved(message: Message) -> bool:
    return message.id_space is None or bool(message.aliases)


def _is_anonymous(message: Message) -> bool:
    party = message.sender if message.direction is Direction.INBOUND else message.recipient
    return not (party.phone or party.user_id)


def _content(full: Message, other: Message) -> Content:
    mine, theirs = full.content, other.content
    if type(mine) is type(theirs):
        if type(mine) is Media and type(theirs) is Media and _outlives(theirs, mine):
            mine = attrs.evolve(mine, media_id=theirs.media_id, expires_at=theirs.expires_at)
        return _filled(mine, theirs)  # type: ignore[no-any-return] # of the same class
    # Between equals a text stands for what the account could not show.
    are_equals = (full.settle is None) == (other.settle is None)
    poor = (Unsupported, Text) if are_equals else (Unsupported,)
    return theirs if type(mine) in poor and type(theirs) is not Unsupported else mine


def _outlives(media: Media, other: Media) -> bool:
    """Return whether a provider gives a file out for longer under the one account's id."""
    return (
        media.media_id not in (None, other.media_id)
        and media.expires_at is not None
        and other.expires_at is not None
        and media.expires_at > other.expires_at
    )


def _said(full: Event, other: Event) -> dict[str, Any]:
    return {
        field: _filled(getattr(full, field), getattr(other, field), default)
        for field, default in _fields(type(full))
        if field not in _NOT_SAID
    }


def _filled(mine: Any, theirs: Any, default: object = None) -> Any:  # noqa: ANN401 - any value of the model
    """Return a value with what it leaves open filled in from another one."""
    if theirs is None:
        return mine
    if mine is None or mine == default or mine in ("", (), {}):
        return theirs
    if type(mine) is not type(theirs):
        return mine
    if type(mine) is Role:
        return max(mine, theirs, key=lambda role: _MORE[role])
    if not attrs.has(type(mine)):
        return mine
    changes = {}
    for field, open_value in _fields(type(mine)):
        before = getattr(mine, field)
        filled = _filled(before, getattr(theirs, field), open_value)
        if filled is not before:
            changes[field] = filled
    return attrs.evolve(mine, **changes) if changes else mine


def _fields(cls: type[attrs.AttrsInstance]) -> Sequence[tuple[str, object]]:
    found = _FIELDS.get(cls)
    if found is None:
        found = _FIELDS[cls] = [(field.name, field.default) for field in attrs.fields(cls)]
    return found
