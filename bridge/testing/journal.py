# ruff: noqa: S101, PLR2004 - this is a suite: asserting is what it does, on literal values
"""What every journal must do, as tests: subclass `JournalContract` and say how to make one.

Each test's docstring is the sentence that it proves. Positions are the journal's own: the suite
only asks that they grow.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import attrs

from bridge.errors import CodecError, JournalError
from bridge.journal.base import (
    Appended,
    Cursor,
    Entry,
    Failure,
    Health,
    Held,
    Journal,
    Outcome,
    Settlement,
    Standing,
    Start,
)
from bridge.journal.query import Query
from bridge.keys import conversation_id, event_key, message_key, status_key
from bridge.model import (
    Conversation,
    Direction,
    Event,
    Message,
    Notice,
    Origin,
    Party,
    Role,
    Status,
    StatusChange,
    Template,
    Text,
    Unrecognized,
)

_NOON: Final = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
_ANNE: Final = "+16505551234"
_BERT: Final = "+16505559876"
_PATIENCE: Final = 30.0
_PLENTY: Final = 1000


def _message(
    message_id: str,
    *,
    phone: str = _ANNE,
    direction: Direction = Direction.INBOUND,
    aliases: tuple[str, ...] = (),
) -> Message:
    user, business = Party(phone=phone), Party(phone="+16505556666", role=Role.BUSINESS)
    inbound = direction is Direction.INBOUND
    return Message(
        key=message_key("whatsapp", message_id),
        source="contract",
        channel="whatsapp",
        account="123456123",
        occurred_at=_NOON,
        received_at=_NOON + timedelta(seconds=1),
        raw={"id": message_id, "from": phone.removeprefix("+")},
        message_id=message_id,
        aliases=aliases,
        direction=direction,
        origin=Origin.USER if inbound else Origin.API,
        conversation=Conversation(id=conversation_id("whatsapp", "123456123", phone)),
        sender=user if inbound else business,
        recipient=business if inbound else user,
        content=Text(text="hello"),
    )


def _status(status: Status, message_id: str, *, resolved: bool = True) -> StatusChange:
    channel = "whatsapp" if resolved else "incs"
    return StatusChange(
        key=status_key(channel, message_id, status),
        source="contract",
        channel=channel,
        account="123456123" if resolved else None,
        occurred_at=_NOON,
        received_at=_NOON + timedelta(seconds=1),
        raw={"id": message_id, "status": status},
        message_id=message_id,
        status=status,
        provider_status=status,
        resolved=resolved,
    )


def _unwritable(identity: str) -> Notice:
    return Notice(
        key=event_key("notice", "whatsapp", identity),
        source="contract",
        channel="whatsapp",
        occurred_at=_NOON,
        received_at=_NOON,
        raw=object(),  # type: ignore[arg-type] # what an adapter must not do
        topic="quality",
    )


def _unread(identity: str) -> Unrecognized:
    return Unrecognized(
        key=event_key("unrecognized", "rcs", identity),
        source="contract",
        channel="rcs",
        occurred_at=_NOON,
        received_at=_NOON,
        raw={"n": identity},
        reason="no id",
    )


async def _read(cursor: Cursor, count: int) -> list[Entry]:
    """Return the next entries, however few the cursor gives at a time."""
    entries: list[Entry] = []
    async with asyncio.timeout(_PATIENCE):
        while len(entries) < count:
            entries += await cursor.read(count - len(entries))
    return entries


def _ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.event.message_id for entry in entries if isinstance(entry.event, Message)]


def _failure(entry: Entry) -> Failure:
    return Failure(entry=entry, tries=5, first_failed_at=100.0, failed_at=160.5, error="ValueError")


class JournalContract(ABC):
    """The suite; a subclass supplies `make_journal`."""

    @abstractmethod
    def make_journal(self, place: Path) -> Journal:
        """Return a journal that is not open yet; the same `place` means the same journal."""

    # --- appending -------------------------------------------------------------------------

    async def test_append_publishes_once(self, tmp_path: Path) -> None:
        """An event that is appended again, or twice at once, counts as a duplicate."""
        async with self.make_journal(tmp_path) as journal:
            first = await journal.append([_message("a"), _message("a"), _message("b")])
            second = await journal.append([_message("b"), _message("c")])
            cursor = await journal.follow(start=Start.BEGINNING)
            entries = await _read(cursor, 3)
        assert first == Appended(published=2, duplicates=1)
        assert second == Appended(published=1, duplicates=1)
        assert _ids(entries) == ["a", "b", "c"]

    async def test_append_nothing(self, tmp_path: Path) -> None:
        """An empty append succeeds and says so."""
        async with self.make_journal(tmp_path) as journal:
            assert await journal.append([]) == Appended(published=0, duplicates=0)

    async def test_positions_grow(self, tmp_path: Path) -> None:
        """Entries come out as they were appended, in growing positions."""
        events = [_message(f"m{number}") for number in range(20)]
        async with self.make_journal(tmp_path) as journal:
            for event in events:
                await journal.append([event])
            entries = await _read(await journal.follow(start=Start.BEGINNING), 20)
        assert [entry.event for entry in entries] == events
        positions = [entry.position for entry in entries]
        assert positions == sorted(set(positions))
        assert positions[0] >= 1

    async def test_lanes(self, tmp_path: Path) -> None:
        """The messages of one conversation share a lane, and those of another do not."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([_message("a"), _message("b", phone=_BERT), _message("c")])
            lanes = [e.lane for e in await _read(await journal.follow(start=Start.BEGINNING), 3)]
        assert lanes == [
            f"whatsapp:123456123:{_ANNE}",
            f"whatsapp:123456123:{_BERT}",
            f"whatsapp:123456123:{_ANNE}",
        ]

    async def test_concurrent_appends(self, tmp_path: Path) -> None:
        """Of many that append the same event at once, exactly one publishes it."""
        async with self.make_journal(tmp_path) as journal:
            done = await asyncio.gather(
                *(journal.append([_message(f"m{n % 10}")]) for n in range(100))
            )
        assert sum(one.published for one in done) == 10
        assert sum(one.duplicates for one in done) == 90

    async def test_unwritable_event_fails_alone(self, tmp_path: Path) -> None:
        """An append that does not fit into JSON fails whole, and its neighbours succeed."""
        async with self.make_journal(tmp_path) as journal:
            bad, good = await asyncio.gather(
                journal.append([_message("a"), _unwritable("x")]),
                journal.append([_message("b")]),
                return_exceptions=True,
            )
            again = await journal.append([_message("a")])
        assert isinstance(bad, CodecError)
        assert good == Appended(published=1, duplicates=0)
        assert again == Appended(published=1, duplicates=0)

    async def test_find(self, tmp_path: Path) -> None:
        """An event is found by its key, and what was never appended is not."""
        event = _message("a")
        async with self.make_journal(tmp_path) as journal:
            await journal.append([_message("b"), event])
            found = await journal.find(event.key)
            missing = await journal.find(message_key("whatsapp", "never"))
        assert found is not None
        assert found.event == event
        assert missing is None

    async def test_health(self, tmp_path: Path) -> None:
        """A journal is ready while it is open, and otherwise says why not."""
        journal = self.make_journal(tmp_path)
        before = await journal.health()
        async with journal:
            during = await journal.health()
        after = await journal.health()
        assert during == Health(ready=True)
        assert not before.ready
        assert before.reason
        assert not after.ready
        assert after.reason

    async def test_closed(self, tmp_path: Path) -> None:
        """A journal that is not open takes nothing."""
        journal = self.make_journal(tmp_path)
        try:
            await journal.append([_message("a")])
        except JournalError:
            return
        raise AssertionError("a closed journal took an event")

    # --- correlation -----------------------------------------------------------------------

    async def test_status_moves_on(self, tmp_path: Path) -> None:
        """Every observation is published, and a late one does not move the message back."""
        async with self.make_journal(tmp_path) as journal:
            for status in (Status.SENT, Status.READ, Status.DELIVERED, Status.READ):
                await journal.append([_status(status, "a")])
            entries = await _read(await journal.follow(start=Start.BEGINNING), 3)
        seen = [
            (entry.event.status, entry.event.advanced, entry.event.current)
            for entry in entries
            if isinstance(entry.event, StatusChange)
        ]
        assert seen == [
            (Status.SENT, True, Status.SENT),
            (Status.READ, True, Status.READ),
            (Status.DELIVERED, False, Status.READ),
        ]

    async def test_tie_known(self, tmp_path: Path) -> None:
        """Once the two ids are tied, a status under INCS's number is the channel's status."""
        out = _message("a", direction=Direction.OUTBOUND, aliases=("9001",))
        async with self.make_journal(tmp_path) as journal:
            await journal.append([out])
            await journal.append([_status(Status.DELIVERED, "9001", resolved=False)])
            again = await journal.append([_status(Status.DELIVERED, "a")])
            entries = await _read(await journal.follow(start=Start.BEGINNING), 2)
        assert again == Appended(published=0, duplicates=1)
        change = entries[1].event
        assert isinstance(change, StatusChange)
        assert (change.key, change.message_id) == ("status/whatsapp/a/delivered", "a")
        assert (change.channel, change.account, change.resolved) == ("whatsapp", "123456123", True)
        assert change.aliases == ("9001",)
        assert entries[1].lane == entries[0].lane

    async def test_tie_learned_late(self, tmp_path: Path) -> None:
        """Learning the tie later does not publish the same status twice."""
        out = _message("a", direction=Direction.OUTBOUND, aliases=("9001",))
        async with self.make_journal(tmp_path) as journal:
            await journal.append([_status(Status.DELIVERED, "9001", resolved=False)])
            await journal.append([out])
            again = await journal.append([_status(Status.DELIVERED, "a")])
            later = await journal.append([_status(Status.SENT, "a")])
            entries = await _read(await journal.follow(start=Start.BEGINNING), 3)
        assert again == Appended(published=0, duplicates=1)
        assert later == Appended(published=1, duplicates=0)
        first, last = entries[0].event, entries[2].event
        assert isinstance(first, StatusChange)
        assert isinstance(last, StatusChange)
        assert first.resolved is False
        assert (last.advanced, last.current) == (False, Status.DELIVERED)

    # --- subscribers -----------------------------------------------------------------------

    async def test_start(self, tmp_path: Path) -> None:
        """A new subscriber begins at the end, or at the beginning where it asks for that."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([_message("a")])
            late = await journal.subscribe("late")
            early = await journal.subscribe("early", start=Start.BEGINNING)
            await journal.append([_message("b")])
            assert _ids(await _read(late, 1)) == ["b"]
            assert _ids(await _read(early, 2)) == ["a", "b"]

    async def test_read_waits(self, tmp_path: Path) -> None:
        """A cursor at the end waits for the next event."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            reading = asyncio.create_task(_read(cursor, 1))
            await asyncio.sleep(0)
            await journal.append([_message("a")])
            assert _ids(await reading) == ["a"]

    async def test_read_is_bounded(self, tmp_path: Path) -> None:
        """A read gives no more than it was asked for, and goes on where it stopped."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([_message(f"m{n}") for n in range(5)])
            assert len(await cursor.read(2)) <= 2
            cursor = await journal.subscribe("crm")
            assert _ids(await _read(cursor, 5)) == ["m0", "m1", "m2", "m3", "m4"]

    async def test_unsettled_comes_again(self, tmp_path: Path) -> None:
        """Who subscribes again gets what it was given and has not settled."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([_message("a"), _message("b")])
            entries = await _read(cursor, 2)
            await cursor.settle(Settlement(position=entries[0].position))
            again = await journal.subscribe("crm", start=Start.BEGINNING)
            assert _ids(await _read(again, 1)) == ["b"]

    async def test_subscribers_are_independent(self, tmp_path: Path) -> None:
        """What one subscriber settles does not move another."""
        async with self.make_journal(tmp_path) as journal:
            one = await journal.subscribe("one")
            two = await journal.subscribe("two")
            await journal.append([_message("a"), _message("b")])
            entries = await _read(one, 2)
            await one.settle(Settlement(position=entries[-1].position))
            assert _ids(await _read(two, 2)) == ["a", "b"]
            states = {state.name: state for state in await journal.subscribers()}
        assert states["one"].lag == 0
        assert states["two"].lag == 2
        assert states["one"].position == entries[-1].position

    async def test_follow_is_nobodys(self, tmp_path: Path) -> None:
        """A cursor that belongs to nobody settles and holds without being kept."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.follow()
            await journal.append([_message("a"), _message("b"), _message("c")])
            a, b, c = await _read(cursor, 3)
            held = (Held(entry=b), Held(entry=a, tries=1, due_at=7.0), Held(entry=c))
            await cursor.settle(Settlement(position=c.position, held=held))
            assert await cursor.waiting() == {a.lane: 7.0}
            assert [one.entry for one in await cursor.held(a.lane, 2)] == [a, b]
            await cursor.settle(
                Settlement(position=c.position, released=(a.position,), dead=(_failure(b),))
            )
            assert [one.entry for one in await cursor.held(a.lane, 2)] == [c]
            assert cursor is not await journal.follow()
            assert await journal.subscribers() == ()
            assert await journal.dead_letters() == ()

    async def test_forget(self, tmp_path: Path) -> None:
        """A forgotten subscriber leaves nothing behind and begins anew."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([_message("a"), _message("b")])
            a, b = await _read(cursor, 2)
            await cursor.settle(
                Settlement(
                    position=b.position, held=(Held(entry=a, due_at=1.0),), dead=(_failure(b),)
                )
            )
            assert await journal.forget("crm") is True
            assert await journal.forget("crm") is False
            assert await journal.subscribers() == ()
            assert await journal.dead_letters() == ()
            again = await journal.subscribe("crm", start=Start.BEGINNING)
            assert await again.waiting() == {}
            assert _ids(await _read(again, 2)) == ["a", "b"]

    # --- held entries and dead letters -----------------------------------------------------

    async def test_held(self, tmp_path: Path) -> None:
        """A lane waits for its first held entry, and gives its entries in order."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([_message("a"), _message("b", phone=_BERT), _message("c")])
            a, b, c = await _read(cursor, 3)
            first = Held(entry=a, tries=2, due_at=50.5, first_failed_at=40.0, error="KeyError")
            held = (Held(entry=c), first, Held(entry=b, tries=1, due_at=60.0, error="OSError"))
            await cursor.settle(Settlement(position=c.position, held=held))
            assert await cursor.waiting() == {a.lane: 50.5, b.lane: 60.0}
            assert list(await cursor.held(a.lane, 10)) == [first, Held(entry=c)]
            assert list(await cursor.held(a.lane, 1)) == [first]
            (state,) = await journal.subscribers()
            assert (state.held, state.dead, state.lag) == (3, 0, 0)

    async def test_held_is_replaced_and_released(self, tmp_path: Path) -> None:
        """Settling a held entry anew replaces what was known; releasing it lets its lane go."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([_message("a")])
            (a,) = await _read(cursor, 1)
            await cursor.settle(Settlement(position=a.position, held=(Held(entry=a, due_at=1.0),)))
            later = Held(entry=a, tries=1, due_at=9.0, first_failed_at=1.0, error="OSError")
            await cursor.settle(Settlement(position=a.position, held=(later,)))
            assert list(await cursor.held(a.lane, 10)) == [later]
            await cursor.settle(Settlement(position=a.position, released=(a.position,)))
            assert await cursor.waiting() == {}

    async def test_dead_letters(self, tmp_path: Path) -> None:
        """A dead letter tells its error, tries and times, and can be listed page by page."""
        async with self.make_journal(tmp_path) as journal:
            crm = await journal.subscribe("crm")
            bot = await journal.subscribe("bot")
            await journal.append([_message("a"), _message("b")])
            a, b = await _read(crm, 2)
            await crm.settle(Settlement(position=b.position, dead=(_failure(a), _failure(b))))
            await bot.settle(Settlement(position=b.position, dead=(_failure(a),)))
            first, second, third = await journal.dead_letters()
            assert first.failure == _failure(a)
            assert [x.subscriber for x in (first, second, third)] == ["crm", "crm", "bot"]
            assert list(await journal.dead_letters("crm")) == [first, second]
            assert list(await journal.dead_letters("crm", after=first.id)) == [second]
            assert list(await journal.dead_letters(limit=1)) == [first]
            assert {s.name: s.dead for s in await journal.subscribers()} == {"bot": 1, "crm": 2}

    async def test_retry(self, tmp_path: Path) -> None:
        """A dead letter that is retried is held once more, with its tries given back."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([_message("a")])
            (a,) = await _read(cursor, 1)
            await cursor.settle(Settlement(position=a.position, dead=(_failure(a),)))
            (letter,) = await journal.dead_letters()
            assert await journal.retry(letter.id) is True
            assert await journal.retry(letter.id) is False
            assert await journal.dead_letters() == ()
            (held,) = await cursor.held(a.lane, 10)
            assert (held.entry, held.tries, held.error) == (a, 0, None)
            assert held.due_at is not None

    async def test_drop(self, tmp_path: Path) -> None:
        """A dead letter that is dropped is gone, and is not held either."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([_message("a")])
            (a,) = await _read(cursor, 1)
            await cursor.settle(Settlement(position=a.position, dead=(_failure(a),)))
            (letter,) = await journal.dead_letters()
            assert await journal.drop(letter.id) is True
            assert await journal.drop(letter.id) is False
            assert await journal.dead_letters() == ()
            assert await cursor.waiting() == {}

    async def test_retried_is_replayed(self, tmp_path: Path) -> None:
        """A dead letter that is given back says that its subscriber may have had it before."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([_message("a")])
            (a,) = await _read(cursor, 1)
            await cursor.settle(Settlement(position=a.position, dead=(_failure(a),)))
            (letter,) = await journal.dead_letters()
            await journal.retry(letter.id)
            (held,) = await cursor.held(a.lane, 10)
            assert held.replayed

    # --- searching -------------------------------------------------------------------------

    async def test_search_order(self, tmp_path: Path) -> None:
        """A search without filters finds everything in journal order, or the newest first."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([_message(name) for name in "abcd"])
            assert _ids(await journal.search(Query())) == ["a", "b", "c", "d"]
            assert _ids(await journal.search(Query(newest_first=True, limit=2))) == ["d", "c"]

    async def test_search_filters(self, tmp_path: Path) -> None:
        """Each filter lets through what it names, and several only what all of them do."""
        now = datetime.now(UTC)
        half_past = now - timedelta(minutes=90)
        answer = _message("c", direction=Direction.OUTBOUND, aliases=("9001",))
        events: dict[str, Event] = {
            "a": attrs.evolve(_message("a"), received_at=now - timedelta(hours=3)),
            "b": attrs.evolve(_message("b", phone=_BERT), received_at=now - timedelta(hours=2)),
            "c": attrs.evolve(answer, content=Template(name="offer"), received_at=now),
            "s": attrs.evolve(_status(Status.SENT, "c"), received_at=now),
            "x": attrs.evolve(_unread("x"), received_at=now),
        }
        expected = (
            (Query(kinds=("status_change", "unrecognized")), "sx"),
            (Query(channel="rcs"), "x"),
            (Query(account="123456123"), "abcs"),
            (Query(content="template"), "c"),
            (Query(content="text"), "ab"),
            (Query(conversation=f"whatsapp:123456123:{_ANNE}"), "acs"),
            (Query(party=_BERT), "b"),
            (Query(party="+16505556666", kinds=("message",)), "abc"),
            (Query(message_id="c"), "cs"),
            (Query(message_id="9001"), "cs"),
            (Query(since=half_past), "csx"),
            (Query(until=half_past), "ab"),
            (Query(mended=True), ""),
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
            await journal.append([_message(name) for name in "abcd"])
            a, b, c, d = await journal.search(Query())
            assert list(await journal.search(Query(after=b.position))) == [c, d]
            assert list(await journal.search(Query(before=b.position))) == [a]
            assert await journal.search(Query(after=d.position)) in ([], ())

    async def test_follow_from_a_position(self, tmp_path: Path) -> None:
        """A cursor of nobody's begins beyond the position that it is given."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([_message(name) for name in "abc"])
            a, *_ = await journal.search(Query())
            assert _ids(await _read(await journal.follow(start=a.position), 2)) == ["b", "c"]

    async def test_mend(self, tmp_path: Path) -> None:
        """What could not be read is marked when its body has been read, and found by the mark."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([_unread("x"), _unread("y")])
            x, y = await journal.search(Query())
            assert not x.mended
            await journal.mend([x.position])
            assert await journal.find(x.event.key) == attrs.evolve(x, mended=True)
            assert list(await journal.search(Query(mended=False))) == [y]

    # --- outcomes and replays ----------------------------------------------------------------

    async def test_outcomes(self, tmp_path: Path) -> None:
        """Each subscriber's outcome says how far it is with an entry, and what went wrong."""
        async with self.make_journal(tmp_path) as journal:
            cursors = {n: await journal.subscribe(n) for n in ("dead", "done", "held", "pending")}
            await journal.append([_message("a")])
            (a,) = await _read(cursors["done"], 1)
            held = Held(entry=a, tries=2, due_at=50.5, first_failed_at=40.0, error="KeyError")
            await cursors["done"].settle(Settlement(position=a.position))
            await cursors["held"].settle(Settlement(position=a.position, held=(held,)))
            await cursors["dead"].settle(Settlement(position=a.position, dead=(_failure(a),)))
            (letter,) = await journal.dead_letters()
            outcomes = await journal.outcomes(a.position)
        assert list(outcomes) == [
            Outcome(
                subscriber="dead",
                standing=Standing.DEAD,
                tries=5,
                first_failed_at=100.0,
                failed_at=160.5,
                error="ValueError",
                letter=letter.id,
            ),
            Outcome(subscriber="done", standing=Standing.DONE),
            Outcome(
                subscriber="held",
                standing=Standing.HELD,
                tries=2,
                due_at=50.5,
                first_failed_at=40.0,
                error="KeyError",
            ),
            Outcome(subscriber="pending", standing=Standing.PENDING),
        ]

    async def test_replay(self, tmp_path: Path) -> None:
        """What a subscriber has had is held again, due now, and marked; nobody else gets it."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            other = await journal.subscribe("other")
            await journal.append([_message("a"), _message("b"), _message("c")])
            a, b, c = await _read(cursor, 3)
            await cursor.settle(Settlement(position=b.position, dead=(_failure(b),)))
            assert await journal.replay([a.position, b.position, c.position], "crm") == 2
            first, second = await cursor.held(a.lane, 10)
            assert (first.entry, first.tries, first.replayed) == (a, 0, True)
            assert (second.entry, second.error, second.replayed) == (b, None, True)
            assert first.due_at is not None
            assert first.due_at <= time.time()
            assert await journal.dead_letters() == ()
            assert await other.waiting() == {}
            (outcome, _) = await journal.outcomes(a.position)
            assert (outcome.standing, outcome.replayed) == (Standing.HELD, True)
            assert await journal.replay([a.position], "nobody") == 0

    async def test_a_failed_replay_stays_marked(self, tmp_path: Path) -> None:
        """A replay that fails waits for its next try with its mark."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([_message("a")])
            (a,) = await _read(cursor, 1)
            failed = Held(entry=a, tries=1, due_at=9.0, error="OSError", replayed=True)
            await cursor.settle(Settlement(position=a.position, held=(failed,)))
            assert list(await cursor.held(a.lane, 10)) == [failed]

    # --- purge -----------------------------------------------------------------------------

    async def test_purge(self, tmp_path: Path) -> None:
        """Everything about one number goes, wherever it waits, and a retry does not revive it."""
        events: list[Event] = [
            _message("a"),
            _message("b", phone=_BERT),
            _message("c"),
            _message("d", direction=Direction.OUTBOUND, aliases=("9001",)),
            _message("e"),
        ]
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append(events)
            a, _, c, *_ = await _read(cursor, 5)
            await cursor.settle(
                Settlement(position=c.position, held=(Held(entry=a),), dead=(_failure(c),))
            )
            assert await journal.purge(_ANNE) == 4
            assert await cursor.waiting() == {}
            assert await journal.dead_letters() == ()
            assert await journal.find(events[0].key) is None
            assert await journal.append(events) == Appended(published=0, duplicates=5)
            everything = await journal.follow(start=Start.BEGINNING)
            assert _ids(await everything.read(_PLENTY)) == ["b"]
            assert await journal.purge(_ANNE) == 0
