"""What a group of appends changes in the ledger, over what the engine has stored.

An engine subclasses `Overlay` and reads what is stored; what is new is collected here until the
engine writes it. An append that fails by itself is undone without touching the others of its
group, and a record that several of them change is written once.

Ids stand for keys and names in what engines keep: short, and no personal data. The digest of a key
is the hash of what follows its trust domain, combined with that of the domain. So a key of which
only the digest is kept can still be moved into a domain.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from random import getrandbits
from typing import Any, Final, Generic, TypeVar

from bridge.journal.ledger import (
    Known,
    Latest,
    Ledger,
    Queue,
    Record,
    Settled,
    Track,
    User,
    opened,
)
from bridge.journal.waiting import Published
from bridge.model import Event

Id = TypeVar("Id", bytes, str)
T = TypeVar("T")

_NOTHING: Final = object()
_RECORDS: Final = (User, Track, Latest)  # a union would be built at each look
SIZE: Final = 16
"""How many bytes a digest has."""
_DOMAINS: Final = 256  # whose hashes are cached
_NAMES: Final = 8192  # whose digests are cached
_SETTLED: Final = 8192  # conversations of which it is noted whose they are
MOST_TIES: Final = 8
"""How many names lead to each other at most: a user who is joined to another one adds one."""
_blank: Final = blake2b(digest_size=SIZE).copy  # in less time than a new one takes
_number: Final = int.from_bytes


def digest(name: str) -> bytes:
    """Return the digest of a key or a name, which begins with its domain and a slash."""
    domain, _, rest = name.partition("/")
    found = _blank()
    try:
        found.update(rest.encode())  # in half the time that naming the error handler takes
    except UnicodeEncodeError:
        found.update(rest.encode("utf-8", "surrogatepass"))
    return (_number(found.digest()) ^ _hashes_of_domains[domain]).to_bytes(SIZE)


def moved(found: bytes, domain: str) -> bytes:
    """Return the digest of a key in a domain; `found` is the hash of the key without it."""
    return (_number(found) ^ _hashes_of_domains[domain]).to_bytes(SIZE)


def hashed(text: str) -> bytes:
    """Return the hash of a text: BLAKE2b."""
    found = _blank()
    found.update(text.encode("utf-8", "surrogatepass"))
    return found.digest()


def make_room(kept: dict[Any, Any], most: int) -> None:
    """Take some of what is kept away once it is `most`; safe in any thread.

    Users mostly come in turn. If all of it went, or the oldest, then of users who are a few too
    many none would be found when they come again; so most of them are. What goes are neighbours, as
    to free memory here and there takes twice as long.
    """
    while kept and len(kept) >= most:
        size = len(kept) // 8 + 1
        start = size * getrandbits(3)
        # All of the keys, as another thread may add one before an iterator is used.
        for key in list(kept)[start : start + size]:
            kept.pop(key, None)


class Ids(dict[str, T]):
    """What stands for keys and names, each made when it is asked for; `most` of them are kept."""

    def __init__(self, make: Callable[[str], T], *, most: int = sys.maxsize) -> None:
        super().__init__()
        self._make = make
        self._most = most

    def __missing__(self, text: str) -> T:
        """Make what stands for a key or a name, and keep it."""
        make_room(self, self._most)
        found = self[text] = self._make(text)
        return found


_hashes_of_domains: Final = Ids(lambda domain: _number(hashed(domain)), most=_DOMAINS)
# Of the same users again and again. What is in a dictionary is found in half the time that an
# `lru_cache` takes.
digest_of_name: Final = Ids(digest, most=_NAMES).__getitem__


class Overlay(Ledger, Generic[Id]):
    """The `Ledger` of one group of appends: after each of them either `accept` or `undo` it.

    `Id` is what the engine keeps in the place of keys and names; `ids` returns it for each, and
    `id_of_name` for a record's name alone, where that is quicker.
    `stored_queue` returns what is stored of a lane, and `stored_lane` the lane in which the event
    of a key is stored to wait. An id in the place of a record is a tie. `lanes` says where the
    event of a key waits; None: it does not any more. `at_hand` are stored records that need not be
    read, as far as there are any. What the engine has looked up in vain may be in `unknown`, keys
    that are neither stored as known nor stored to wait, and in `missing`, names without a record.
    An engine whose records nobody else changes gives `settled`, in which notes of conversations
    outlive the group; where a group fails, it clears that.
    """

    def __init__(
        self,
        ids: dict[str, Id],
        *,
        stored_queue: Callable[[str], Queue | None],
        stored_lane: Callable[[Id], str | None],
        id_of_name: Callable[[str], Id] | None = None,
        at_hand: Mapping[Id, Record | Id] | None = None,
        settled: dict[str, Settled] | None = None,
    ) -> None:
        self._is_noting = settled is not None
        self.settled: dict[str, Settled] = {} if settled is None else settled
        self.ids: dict[str, Id] = ids
        self._id_of_name: Callable[[str], Id] = id_of_name or ids.__getitem__
        self._at_hand: Mapping[Id, Record | Id] = {} if at_hand is None else at_hand
        self._stored_queue = stored_queue
        self._stored_lane: Callable[[Id], str | None] = stored_lane
        self.claims: dict[Id, Id | None] = {}
        self.records: dict[Id, Record | Id] = {}
        self.queues: dict[str, Queue] = {}
        self.lanes: dict[Id, str | None] = {}
        self.unknown: set[Id] = set()
        self.missing: set[Id] = set()
        self._published: list[Published] = []
        self._events: dict[Id, Event] = {}  # of those, the ones before `_indexed`
        self._indexed = 0
        self._accepted = 0  # of those published
        self._claimed: dict[Id, Id | None] = {}
        self._before: list[tuple[dict[Any, Any], Any, Any]] = []  # to be undone, the last first

    # --- what the engine reads ---------------------------------------------------------------

    def has_key(self, key: Id) -> bool:
        """Return whether a key is stored as known."""
        raise NotImplementedError

    def stored_event(self, key: Id) -> Event | Id | None:
        """Return the event that is stored under a key, or the key that this one is another of."""
        raise NotImplementedError

    def stored_record(self, name: Id) -> Record | Id | None:
        """Return what is stored under a name: a record, or the name that it is tied to."""
        raise NotImplementedError

    # --- the ledger --------------------------------------------------------------------------

    def knows(self, key: str) -> bool:
        """See `Ledger.knows`."""
        name = self.ids[key]
        if name in self.claims:
            return True
        if name in self.unknown:
            return bool(self.lanes) and self.lanes.get(name) is not None
        return self.has_key(name) or self._lane_of(name) is not None

    def claim(self, key: str, of: str | None = None) -> None:
        """See `Ledger.claim`."""
        name = self.ids[key]
        self.claims[name] = self._claimed[name] = None if of is None else self.ids[of]

    def known(self, key: str) -> Known | None:
        """See `Ledger.known`."""
        name = self.ids[key]
        for _ in range(2):  # another key of an event leads to its own
            lane = self._lane_of(name)
            queue = None if lane is None else self.queue(lane)
            for item in () if queue is None else queue.items:
                if any(self.ids[each] == name for each in item.keys):
                    return Known(event=item.event, lane=lane)
            found = self._event_of(name)
            if isinstance(found, Event):
                return Known(event=found)
            if found is None:
                return None
            name = found
        return None

    def _event_of(self, name: Id) -> Event | Id | None:
        for event, _ in self._published[self._indexed :]:
            self._events[self.ids[event.key]] = event
        self._indexed = len(self._published)
        if name in self._events:
            return self._events[name]
        return self.claims[name] if name in self.claims else self.stored_event(name)

    def _lane_of(self, name: Id) -> str | None:
        return self.lanes[name] if name in self.lanes else self._stored_lane(name)

    def find(self, name: str) -> Record | None:
        """See `Ledger.find`."""
        own = self._id_of_name(name)
        found = self.records.get(own) or self._at_hand.get(own)
        if found is None:
            if own in self.missing:
                return None
            found = self.stored_record(own)
        for _ in range(MOST_TIES):
            if found is None or isinstance(found, _RECORDS):
                return found
            found = self.records.get(found) or self.stored_record(found)
        return None

    def save(self, record: Record) -> None:
        """See `Ledger.save`."""
        own = self._id_of_name(record.name)
        if type(record) is User and (own not in self.missing or own in self.records):
            self.unsettle(record)  # else nothing has been noted of somebody new
        self._change(self.records, own, record)

    def open(self, settled: Settled, until: datetime) -> None:
        """See `Ledger.open`."""
        user, (account, _) = settled.user, settled.place
        self.save(opened(user, {**user.reply_until, account: until.timestamp()}))

    def tie(self, name: str, to: Record) -> None:
        """See `Ledger.tie`."""
        own, other = self._id_of_name(name), self._id_of_name(to.name)
        is_new = own in self.missing and own not in self.records
        if not is_new and self.records.get(own, self._at_hand.get(own)) != other:
            self.settled.clear()  # it may have been another user's
        self._change(self.records, own, other)

    def unsettle(self, user: User | None) -> None:
        """See `Ledger.unsettle`."""
        if user is None:
            self.settled.clear()
            return
        for conversation in user.conversations.values():
            self.settled.pop(conversation, None)

    def note_settled(self, settled: Settled) -> None:
        """See `Ledger.note_settled`."""
        if self._is_noting:
            make_room(self.settled, _SETTLED)
            _, conversation = settled.place
            self.settled[conversation] = settled

    def queue(self, lane: str) -> Queue | None:
        """See `Ledger.queue`."""
        queue = self.queues.get(lane) or self._stored_queue(lane)
        return queue if queue is not None and queue.items else None

    def put(self, queue: Queue) -> None:
        """See `Ledger.put`."""
        before = self.queue(queue.lane)
        if before is None and not queue.items:
            return
        for item in before.items if before is not None else ():
            for key in item.keys:
                self._change(self.lanes, self.ids[key], None)
        for item in queue.items:
            for key in item.keys:
                self._change(self.lanes, self.ids[key], queue.lane)
        self._change(self.queues, queue.lane, queue)

    def _change(self, mapping: dict[Any, Any], key: object, value: object) -> None:
        self._before.append((mapping, key, mapping.get(key, _NOTHING)))
        mapping[key] = value

    # --- the group ---------------------------------------------------------------------------

    def learn(self, ids: Iterable[Id]) -> None:
        """Make keys known, of which only the ids are told, unless they are or wait."""
        for key in ids:
            if key not in self.claims and not self.has_key(key) and self._lane_of(key) is None:
                self.claims[key] = self._claimed[key] = None

    def publish(self, published: Sequence[Published]) -> None:
        """Take note of what the append publishes."""
        self._published += published

    def changed(self, mapping: Mapping[Any, Any]) -> Iterator[Any]:
        """Return what the last append has changed: keys of `records`, `queues` or `lanes`."""
        return (key for changed, key, _ in self._before if changed is mapping)

    def accept(self) -> dict[Id, Id | None]:
        """Keep what the last append changed, and return its claims."""
        claims, self._claimed = self._claimed, {}
        self._before.clear()
        self._accepted = len(self._published)
        return claims

    def undo(self) -> None:
        """Forget what the last append changed."""
        for key in self._claimed:
            del self.claims[key]
        self._claimed.clear()
        if self._before:
            self.settled.clear()
        for mapping, key, value in reversed(self._before):
            if value is _NOTHING:
                del mapping[key]
            else:
                mapping[key] = value
        self._before.clear()
        del self._published[self._accepted :]
        self._events, self._indexed = {}, 0
