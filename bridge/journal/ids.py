"""By which ids a user goes in each account: those that were told there last.

The accounts of one business share a user's id, those of several do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bridge.journal.identity import (
    identity_in,
    ids_known,
    left_at,
    party_ids,
    phones_before,
    user_of,
)
from bridge.journal.ledger import Ids, User
from bridge.model import Event, System, SystemKind

_NONE: Final[Ids] = (None, None)
_SKEW: Final = 60.0  # seconds by which a provider's clock and ours may differ


def are_last_told(told: Ids, user: User, account: str) -> bool:
    """Return whether the ids that are told are those by which a user goes in an account."""
    known = user.identified.get(account, _NONE)
    return told[0] in (None, known[0]) and told[1] in (None, known[1])


def are_others(told: Ids, owners: Sequence[User], user: User, account: str) -> bool:
    """Return whether a user's own id or that of its parent is another than is told.

    Only one of them may be told now, and the other one before, of the `owners` of what is told.
    """
    known = user.identified[account]
    for each in owners:
        own, parent = ids_known(each, account)
        told = (told[0] or own, told[1] or parent)
    return not any(known) or any(a and b and a != b for a, b in zip(known, told, strict=True))


def ids_together(some: Mapping[str, Ids], others: Mapping[str, Ids]) -> Mapping[str, Ids]:
    """Return the ids by account of two users who turned out to be one."""
    pairs = {each: (some.get(each, _NONE), others.get(each, _NONE)) for each in {**others, **some}}
    return {each: (a[0] or b[0], a[1] or b[1]) for each, (a, b) in pairs.items()}


def ids_now(event: Event, user: User, account: str) -> Mapping[str, Ids]:
    """Return the ids by account after an event that tells of no change of them.

    What comes late may tell an id that the user had before.
    """
    told, known = party_ids(user_of(event)), user.identified.get(account, _NONE)
    if event.occurred_at.timestamp() + _SKEW < event.received_at.timestamp():
        told, known = (known, told) if any(known) or not user.left else (known, known)
    ids = (told[0] or known[0], told[1] or known[1])
    return user.identified if ids == known else {**user.identified, account: ids}


def ids_after(change: System, user: User, account: str, *, is_new: bool) -> Mapping[str, Ids]:
    """Return the ids by account after a change: the new ones where the user had those before it.

    Whoever changes to another number has other ids everywhere, which are not told yet. A repetition
    tells nothing. `is_new` is whether the change, of that account, tells an id for the first time.
    """
    of_id = change.change is SystemKind.USER_ID
    after = party_ids(change.after)
    after = (after[0] or (identity_in(change.current) if of_id else None), after[1])
    was = {party_ids(change.before)[0], identity_in(change.previous)} - {None}
    has_moved = not of_id and all(left_at(user, each) is None for each in phones_before(change))
    found: dict[str, Ids] = {}
    for each, ids in {account: _NONE, **user.identified}.items():
        if (is_new and each == account) or (ids[0] in was and any(after)):
            found[each] = after if after[0] else (ids[0], after[1])
        elif each in user.identified and not (has_moved and ids[0] != after[0]):
            found[each] = ids
    return found
