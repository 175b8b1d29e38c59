"""What an operator does to a running bridge: look closely, give again, drop, read once more.

The journal keeps what is changed here, and the deliveries are told, so that it takes effect now.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from bridge.delivery.subscriber import Subscriber
from bridge.errors import BridgeError, UnknownAdapter
from bridge.journal.protocol import Entry, Outcome, SharedJournal
from bridge.journal.query import Query
from bridge.model import Message, StatusChange, Unrecognized
from bridge.runtime import Bridge, Reparsed

_TOGETHER: Final = 500  # changes that share a commit, and letters that are in memory at once
_LONGEST_HISTORY: Final = 100


class UnknownSubscriber(BridgeError):
    """No subscriber of this name runs, or is known."""


class StillRunning(BridgeError):
    """A subscriber that runs cannot be forgotten."""


@attrs.frozen(kw_only=True)
class Described:
    """An entry with all that is known about it.

    `outcomes` leaves out subscribers that run and do not want the event. `history` holds the
    entries about the same message, this one among them, in journal order.
    """

    entry: Entry
    outcomes: Sequence[Outcome]
    history: Sequence[Entry]


@attrs.frozen(kw_only=True)
class Replayed:
    """How many entries each subscriber gets again.

    `unknown` are keys that the journal does not know; `next` is where a search goes on.
    """

    subscribers: Mapping[str, int]
    unknown: Sequence[str] = ()
    next: int | None = None


async def describe(bridge: Bridge, key: str) -> Described | None:
    """Return all that is known about the event with this key, if there is one."""
    entry = await bridge.journal.find(key)
    if entry is None:
        return None
    strangers = {
        subscriber.name
        for subscriber in bridge.bus.subscribers
        if not subscriber.wants(entry.event)
    }
    outcomes = await bridge.journal.outcomes(entry.position)
    return Described(
        entry=entry,
        outcomes=[outcome for outcome in outcomes if outcome.subscriber not in strangers],
        history=await _history(bridge, entry),
    )


async def _history(bridge: Bridge, entry: Entry) -> Sequence[Entry]:
    event = entry.event
    if not isinstance(event, Message | StatusChange):
        return ()
    found: dict[int, Entry] = {}
    for name in (event.message_id, *event.aliases):
        query = Query(
            kinds=(Message.kind, StatusChange.kind), message_id=name, limit=_LONGEST_HISTORY
        )
        found |= {each.position: each for each in await bridge.journal.search(query)}
    return [found[position] for position in sorted(found)]


async def check_known(bridge: Bridge, name: str | None) -> None:
    """Raise `UnknownSubscriber` where the journal has never heard of a name."""
    if name is not None and name not in {each.name for each in await bridge.journal.subscribers()}:
        raise UnknownSubscriber(f"the journal knows no subscriber {name!r}")


async def _letters(
    bridge: Bridge, ids: Sequence[int] | None, subscriber: str | None
) -> Sequence[tuple[int, str]]:
    """Return the ids and subscribers of the named dead letters, or of all there are now."""
    if ids is not None:
        letters = [await bridge.journal.dead_letter(letter) for letter in ids]
        return [(letter.id, letter.subscriber) for letter in letters if letter is not None]
    await check_known(bridge, subscriber)
    # Listed before any is retried: one that dies again at once would come up without end.
    found: list[tuple[int, str]] = []
    last = 0
    while page := await bridge.journal.dead_letters(subscriber, after=last, limit=_TOGETHER):
        found += [(letter.id, letter.subscriber) for letter in page]
        last = page[-1].id
    return found


async def retry(bridge: Bridge, ids: Sequence[int] | None, subscriber: str | None = None) -> int:
    """Give dead letters their tries again, now; return how many there were."""
    letters = await _letters(bridge, ids, subscriber)
    done = 0
    for start in range(0, len(letters), _TOGETHER):
        some = letters[start : start + _TOGETHER]
        done += sum(await asyncio.gather(*(bridge.journal.retry(letter) for letter, _ in some)))
        await _wake(bridge, {name for _, name in some})
    return done


async def drop(bridge: Bridge, ids: Sequence[int] | None, subscriber: str | None = None) -> int:
    """Drop dead letters; return how many there were."""
    letters = await _letters(bridge, ids, subscriber)
    done = 0
    for start in range(0, len(letters), _TOGETHER):
        some = letters[start : start + _TOGETHER]
        done += sum(await asyncio.gather(*(bridge.journal.drop(letter) for letter, _ in some)))
    return done


async def replay(
    bridge: Bridge, keys: Iterable[str], name: str | None = None, *, dry_run: bool = False
) -> Replayed:
    """Give events again to a subscriber, or to every one that runs, as far as it wants them.

    What a subscriber has yet to look at comes anyway, and is not counted. Raises
    `UnknownSubscriber`.
    """
    entries, unknown = await _found(bridge, keys)
    counts = await _replay(bridge, entries, name, dry_run=dry_run)
    return Replayed(subscribers=counts, unknown=unknown)


async def replay_found(
    bridge: Bridge, query: Query, name: str, *, dry_run: bool = False
) -> Replayed:
    """Give what a search finds again to one subscriber, as `replay` does."""
    entries = await bridge.journal.search(query)
    return Replayed(
        subscribers=await _replay(bridge, entries, name, dry_run=dry_run),
        next=entries[-1].position if len(entries) == query.limit else None,
    )


async def _replay(
    bridge: Bridge, entries: Sequence[Entry], name: str | None, *, dry_run: bool
) -> Mapping[str, int]:
    counts: Counter[str] = Counter()
    reached = {state.name: state.position for state in await bridge.journal.subscribers()}
    for subscriber in _running(bridge, name):
        wanted = [
            entry.position
            for entry in entries
            if subscriber.wants(entry.event) and entry.position <= reached.get(subscriber.name, 0)
        ]
        if wanted and dry_run:
            counts[subscriber.name] = len(wanted)
        elif wanted:
            counts[subscriber.name] = await bridge.journal.replay(wanted, subscriber.name)
            await _wake(bridge, {subscriber.name})
    return counts


async def _found(bridge: Bridge, keys: Iterable[str]) -> tuple[list[Entry], list[str]]:
    entries, unknown = [], []
    for key in dict.fromkeys(keys):
        entry = await bridge.journal.find(key)
        if entry is None:
            unknown.append(key)
        else:
            entries.append(entry)
    return entries, unknown


def _running(bridge: Bridge, name: str | None) -> Sequence[Subscriber]:
    subscribers = [
        subscriber for subscriber in bridge.bus.subscribers if name in (None, subscriber.name)
    ]
    if name is not None and not subscribers:
        raise UnknownSubscriber(f"no subscriber {name!r} is running")
    return subscribers


async def reparse(
    bridge: Bridge, keys: Iterable[str], *, dry_run: bool = False
) -> Mapping[str, Reparsed | None]:
    """Read once more what could not be read, by key.

    None stands for what is not there, is not unreadable, or whose adapter is gone.
    """
    done: dict[str, Reparsed | None] = {}
    for key in keys:
        done[key] = None
        entry = await bridge.journal.find(key)
        if entry is not None and isinstance(entry.event, Unrecognized):
            try:
                done[key] = await bridge.reparse(entry, dry_run=dry_run)
            except UnknownAdapter:
                continue
    return done


async def forget(bridge: Bridge, name: str) -> bool:
    """Drop a subscriber with all that it held; return whether there was one.

    Raises `StillRunning`, wherever it runs: what runs would only begin anew.
    """
    if name in bridge.deliveries:
        where = ""
    elif isinstance(bridge.journal, SharedJournal) and await bridge.journal.is_served(name):
        where = " in another process"
    else:
        return await bridge.journal.forget(name)
    raise StillRunning(
        f"subscriber {name!r} is running{where}: take it out of the configuration, restart, "
        "and then forget it"
    )


async def _wake(bridge: Bridge, names: Iterable[str]) -> None:
    for name in names:
        delivery = bridge.deliveries.get(name)
        if delivery is not None:
            await delivery.wake()
