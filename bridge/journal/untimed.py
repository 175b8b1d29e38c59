"""Which of the events that come without an id and without a time are new.

The key of such an event ends with the hour of receipt, so the same told twice within an hour is
taken for a repetition, unless another callback told something else of the same thing in between:
a template that goes PAUSED, APPROVED, PAUSED is paused twice. `Latest` remembers what the last
callback told of each thing.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import attrs

from bridge.journal.ledger import Latest, Ledger
from bridge.model import ConsentChange, Event, Handover, Notice, TemplateChange
from bridge.model.frozen import evolved
from bridge.model.keys import is_untimed

_AFTER: Final = "/after/"


def state_of(known: Event, event: Event) -> str:
    """Return the key of what an event tells, as one that told the same has it."""
    has_come_back = is_untimed(event) and not is_untimed(known)
    return known.key.rpartition(_AFTER)[0] if has_come_back else known.key


def follow(event: Event, ledger: Ledger) -> Event | None:
    """Return an event that is new, under the key that it has; None for a repetition.

    An event that was received before the last one of its thing changes nothing.
    """
    known = ledger.knows(event.key)
    thing = _thing(event) if is_untimed(event) else None
    if thing is None:
        return None if known else event
    name = f"{event.domain or ''}/latest/{_digest(thing)}"
    found = ledger.find(name)
    latest = found if isinstance(found, Latest) else None
    at, state = event.received_at.timestamp(), event.key
    if known:
        if latest is None or at < latest.at or state in latest.told:
            return None
        event = evolved(event, key=f"{state}{_AFTER}{_digest(latest.key)}")
        if ledger.knows(event.key):
            return None
    if latest is None or at > latest.at:
        ledger.save(Latest(name=name, at=at, key=event.key, told=(state,)))
    elif at == latest.at:
        ledger.save(attrs.evolve(latest, key=event.key, told=(*latest.told, state)))
    return event


def _thing(event: Event) -> str | None:
    """Return what an event tells the state of, as far as one is told from another."""
    if isinstance(event, TemplateChange):
        what = f"{event.template_id}/{event.aspect}"
    elif isinstance(event, ConsentChange):
        what = f"{event.conversation.id if event.conversation else event.party}/{event.scope}"
    elif isinstance(event, Handover):
        what = event.conversation.id
    elif isinstance(event, Notice):
        what = f"{event.account}/{event.topic}"
    else:
        return None
    return f"{event.kind}/{event.channel}/{what}"


def _digest(text: str) -> str:
    """Return a digest, since a name may tell of a user."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
