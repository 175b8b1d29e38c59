# ruff: noqa: S101, PLR2004 - this is a suite: asserting is what it does, on literal values
"""What every journal must do for operators, as tests; a part of `JournalContract`."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import attrs

from bridge.journal.protocol import (
    Appended,
    Cursor,
    Entry,
    Held,
    Journal,
    Outcome,
    Retry,
    Settlement,
    Standing,
    Start,
)
from bridge.journal.query import Query
from bridge.model import Direction, Event, Status, Template
from bridge.testing.sample_events import (
    ANNE,
    BERT,
    FAILED,
    failed,
    ids,
    message,
    read,
    status,
    unread,
)

_PLENTY: Final = 1000


class Suite(ABC):
    """What all parts of the suite are made of."""

    @abstractmethod
    def make_journal(self, place: Path) -> Journal:
        """Return a journal that is not open yet; the same `place` means the same journal."""

    def again(self, journal: Journal, place: Path) -> Journal:
        """Return a journal for a restart: where it is durable, another one of the same place."""
        return self.make_journal(place) if journal.durable else journal

    async def published(self, journal: Journal, count: int) -> list[Entry]:
        """Return the first entries; waits for them."""
        return await read(await journal.follow(start=Start.BEGINNING), count)

    @asynccontextmanager
    async def serving(
        self, place: Path, *events: Event
    ) -> AsyncIterator[tuple[Journal, Cursor, Sequence[Entry]]]:
        """Open a journal with events that a subscriber `crm` has read."""
        async with self.make_journal(place) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append(events)
            yield journal, cursor, await read(cursor, len(events))


class OperatorsContract(Suite):
    """The part of the suite about what operators do."""

    # --- searching -------------------------------------------------------------------------

    async def test_search_order(self, tmp_path: Path) -> None:
        """A search without filters finds everything in journal order, or the newest first."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([message(name) for name in "abcd"])
            assert ids(await journal.search(Query())) == ["a", "b", "c", "d"]
            assert ids(await journal.search(Query(newest_first=True, limit=2))) == ["d", "c"]

    async def test_search_filters(self, tmp_path: Path) -> None:
        """Each filter lets through what it names, and several only what all of them do."""
        now = datetime.now(UTC)
        half_past = now - timedelta(minutes=90)
        answer = message("c", direction=Direction.OUTBOUND, aliases=("9001",))
        events: dict[str, Event] = {
            "a": attrs.evolve(message("a"), received_at=now - timedelta(hours=3)),
            "b": attrs.evolve(message("b", phone=BERT), received_at=now - timedelta(hours=2)),
            "c": attrs.evolve(answer, content=Template(name="offer"), received_at=now),
            "s": attrs.evolve(status(Status.SENT, "c"), received_at=now),
            "x": attrs.evolve(unread("x"), received_at=now),
        }
        expected = (
            (Query(kinds=("status_change", "unrecognized")), "sx"),
            (Query(channel="rcs"), "x"),
            (Query(account="123456123"), "abcs"),
            (Query(content="template"), "c"),
            (Query(content="text"), "ab"),
            (Query(conversation=f"whatsapp:123456123:{ANNE}"), "acs"),
            (Query(party=BERT), "b"),
            (Query(party=BERT.removeprefix("+")), "b"),
            (Query(party="+16505556666", kinds=("message",)), "abc"),
            (Query(message_id="c"), "cs"),
            (Query(message_id="9001"), "cs"),
            (Query(since=half_past), "csx"),
            (Query(until=half_past), "ab"),
            (Query(reparsed=True), ""),
            (Query(kinds=("notice",)), ""),
        )
        names = {event.key: name for name, event in events.items()}
        async with self.make_journal(tmp_path) as journal:
            await journal.append(list(events.values()))
            for query, found in expected:
                entries = await journal.search(query)
                assert "".join(names[entry.event.key] for entry in entries) == found, query

    async def test_search_between_positions(self, tmp_path: Path) -> None:
        """A search goes on beyond a position, and ends before another."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([message(name) for name in "abcd"])
            a, b, c, d = await journal.search(Query())
            assert list(await journal.search(Query(after=b.position))) == [c, d]
            assert list(await journal.search(Query(before=b.position))) == [a]
            assert await journal.search(Query(after=d.position)) in ([], ())

    async def test_follow_from_a_position(self, tmp_path: Path) -> None:
        """A cursor without a subscriber begins after the position that it is given."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([message(name) for name in "abc"])
            a, *_ = await journal.search(Query())
            assert ids(await read(await journal.follow(start=a.position), 2)) == ["b", "c"]

    async def test_follow_from_where_a_follower_stood(self, tmp_path: Path) -> None:
        """The position of a new cursor at the end is where another can go on from."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([message("a"), message("b")])
            position = (await journal.follow()).position
            await journal.append([message("c")])
            assert ids(await read(await journal.follow(start=position), 1)) == ["c"]

    async def test_mark_reparsed(self, tmp_path: Path) -> None:
        """An unreadable event is marked when its body has been read, and found by the mark."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([unread("x"), unread("y")])
            x, y = await journal.search(Query())
            assert not x.reparsed
            await journal.mark_reparsed([x.position])
            assert await journal.find(x.event.key) == attrs.evolve(x, reparsed=True)
            assert list(await journal.search(Query(reparsed=False))) == [y]

    async def test_scan(self, tmp_path: Path) -> None:
        """A scan goes on to the end of the journal, page after page."""
        events = [message(f"m{n:03}") for n in range(250)]
        async with self.make_journal(tmp_path) as journal:
            await journal.append(events)
            found = [entry.event async for page in journal.scan(Query(limit=7)) for entry in page]
        assert found == events

    # --- outcomes and replays ----------------------------------------------------------------

    async def test_outcomes(self, tmp_path: Path) -> None:
        """Each subscriber's outcome says how far it is with an entry, and what went wrong."""
        async with self.make_journal(tmp_path) as journal:
            cursors = {n: await journal.subscribe(n) for n in ("dead", "done", "held", "pending")}
            await journal.append([message("a")])
            (a,) = await read(cursors["done"], 1)
            retry = Retry(tries=2, due_at=50.5, first_failed_at=40.0, error="KeyError")
            held = (Held(entry=a, retry=retry),)
            await cursors["done"].settle(Settlement(position=a.position))
            await cursors["held"].settle(Settlement(position=a.position, held=held))
            await cursors["dead"].settle(Settlement(position=a.position, dead=(failed(a),)))
            (letter,) = await journal.dead_letters()
            outcomes = await journal.outcomes(a.position)
        assert list(outcomes) == [
            Outcome(subscriber="dead", standing=Standing.DEAD, retry=FAILED, letter=letter.id),
            Outcome(subscriber="done", standing=Standing.DONE),
            Outcome(subscriber="held", standing=Standing.HELD, retry=retry),
            Outcome(subscriber="pending", standing=Standing.PENDING),
        ]

    async def test_replay(self, tmp_path: Path) -> None:
        """An entry is held again for one subscriber, due now and marked; nobody else gets it."""
        events = message("a"), message("b"), message("c")
        async with self.serving(tmp_path, *events) as (journal, crm, (a, b, c)):
            other = await journal.subscribe("other")
            await crm.settle(Settlement(position=b.position, dead=(failed(b),)))
            assert await journal.replay([a.position, b.position, c.position], "crm") == 2
            held = await crm.held(a.lane, 10)
            assert [(one.entry, attrs.evolve(one.retry, due_at=None)) for one in held] == [
                (a, Retry(replayed=True)),
                (b, Retry(replayed=True)),
            ]
            assert all(0 < (one.retry.due_at or 0) <= time.time() for one in held)
            assert await journal.dead_letters() == ()
            assert await other.waiting() == {}
            (outcome, _) = await journal.outcomes(a.position)
            assert (outcome.standing, outcome.retry.replayed) == (Standing.HELD, True)
            assert await journal.replay([a.position], "nobody") == 0

    async def test_a_failed_replay_stays_marked(self, tmp_path: Path) -> None:
        """A replay that fails waits for its next try with its mark."""
        async with self.serving(tmp_path, message("a")) as (_, crm, (a,)):
            held = Held(entry=a, retry=Retry(tries=1, due_at=9.0, error="OSError", replayed=True))
            await crm.settle(Settlement(position=a.position, held=(held,)))
            assert list(await crm.held(a.lane, 10)) == [held]

    # --- purge -----------------------------------------------------------------------------

    async def test_purge(self, tmp_path: Path) -> None:
        """Everything about one number goes, wherever it waits, and a retry does not revive it."""
        events: list[Event] = [
            message("a"),
            message("b", phone=BERT),
            message("c"),
            message("d", direction=Direction.OUTBOUND, aliases=("9001",)),
            message("e"),
        ]
        async with self.serving(tmp_path, *events) as (journal, crm, (a, _, c, *_)):
            settlement = Settlement(position=c.position, held=(Held(entry=a),), dead=(failed(c),))
            await crm.settle(settlement)
            assert await journal.purge(ANNE) == 4
            assert await crm.waiting() == {}
            assert await journal.dead_letters() == ()
            assert await journal.find(events[0].key) is None
            assert await journal.append(events) == Appended(published=0, duplicates=5)
            everything = await journal.follow(start=Start.BEGINNING)
            assert ids(await everything.read(_PLENTY)) == ["b"]
            assert await journal.purge(ANNE) == 0

    async def test_purge_before_it_is_settled(self, tmp_path: Path) -> None:
        """What is purged while it is under way, or tried again, is neither held nor dead then."""
        events = [message(each) for each in "abcd"]
        async with self.serving(tmp_path, *events) as (journal, crm, (a, b, c, d)):
            await crm.settle(Settlement(position=a.position, held=(Held(entry=a),)))
            await journal.purge(ANNE)
            held = tuple(Held(entry=each, retry=Retry(tries=2, due_at=0.0)) for each in (a, b, c))
            await crm.settle(Settlement(position=d.position, held=held, dead=(failed(d),)))
            assert list(await crm.held(a.lane, 1)) == []
            assert await crm.waiting() == {}
            assert await journal.dead_letters() == ()
            (state,) = await journal.subscribers()
            assert (state.held, state.dead) == (0, 0)
