"""Under which keys a change of consent, of who answers, or of a user's id is known.

Consent and who answers: by each name of the user.

The key of such a change is made of the name that a callback tells, phone or user id. Where the
journal knows that both are one user, what they tell is one change.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TypeAlias

import attrs

from bridge.journal import untimed
from bridge.journal.ledger import Ledger, User
from bridge.model import ConsentChange, Handover, Message, System, SystemKind
from bridge.model.frozen import evolved
from bridge.model.keys import event_key, folded, hour_of, is_untimed

Change: TypeAlias = ConsentChange | Handover


def of_user(change: Change, user: User, ledger: Ledger) -> tuple[Change, Sequence[str]]:
    """Return a change under the key that it has by another name of its user, if it was told so.

    With the name that it is known by from now on, where that is new.
    """
    party = change.party
    own = party.phone or party.user_id or party.parent_user_id
    if own is None:
        return change, ()
    at = hour_of(change.received_at) if is_untimed(change) else change.occurred_at.isoformat()
    told = f"{change.account}/{_word(change)}/{at}"
    name = _name(change, told, own)
    others = {_name(change, told, each) for each in user.identities} - {name}
    for other in sorted(others):
        known = ledger.known(other) if ledger.knows(other) else None
        if known is not None:
            change = evolved(change, key=untimed.state_of(known.event, change))
            break
    return change, () if ledger.knows(name) else (name,)


def names_of_change(message: Message) -> Sequence[str]:
    """Return the key of a change of a user's id by both ids, whichever callback tells it."""
    content = message.content
    if type(content) is not System or content.change is not SystemKind.USER_ID:
        return ()
    if not content.previous or not content.current or content.previous == content.current:
        return ()
    text = f"{content.previous}/{content.current}"
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return (event_key("system/of", message.channel, digest),)


def _word(change: Change) -> tuple[object, ...]:
    """Return what a change tells, whoever it is about."""
    if isinstance(change, ConsentChange):
        return change.scope, change.granted
    owners = (each and attrs.astuple(each) for each in (change.previous, change.new))
    return change.reason, change.owned, change.metadata, *owners


def _name(change: Change, told: str, identity: str) -> str:
    text = f"{told}/{folded(identity)}"
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    key = event_key(f"{change.kind}/of", change.channel, digest)
    return key if change.domain is None else f"{change.domain}/{key}"
