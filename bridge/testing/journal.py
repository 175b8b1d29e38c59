# ruff: noqa: S101, PLR2004 - this is a suite: asserting is what it does, on literal values
"""What every journal must do, as tests: subclass `JournalContract` and say how to make one.

Each test's docstring is the sentence that it proves. Positions are the journal's own: the suite
only asks that they grow.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bridge.errors import CodecError, JournalError
from bridge.journal.protocol import Appended, Held, Retry, Settlement, Start
from bridge.journal.states import State
from bridge.model.keys import conversation_id, message_key
from bridge.testing.correlation import CorrelationContract
from bridge.testing.cursors import CursorContract
from bridge.testing.operators import OperatorsContract
from bridge.testing.sample_events import (
    ACCOUNT,
    ANNE,
    ANNES_ID,
    BERT,
    FAILED,
    failed,
    ids,
    message,
    read,
    unwritable,
)


class JournalContract(CorrelationContract, CursorContract, OperatorsContract):
    """The suite; a subclass supplies `make_journal`."""

    # --- appending -------------------------------------------------------------------------

    async def test_append_publishes_once(self, tmp_path: Path) -> None:
        """An event that is appended again, or twice at once, counts as a duplicate."""
        async with self.make_journal(tmp_path) as journal:
            first = await journal.append([message("a"), message("a"), message("b")])
            second = await journal.append([message("b"), message("c")])
            entries = await self.published(journal, 3)
        assert first == Appended(published=2, duplicates=1)
        assert second == Appended(published=1, duplicates=1)
        assert ids(entries) == ["a", "b", "c"]

    async def test_append_nothing(self, tmp_path: Path) -> None:
        """An empty append succeeds and says so."""
        async with self.make_journal(tmp_path) as journal:
            assert await journal.append([]) == Appended(published=0, duplicates=0)

    async def test_positions_grow(self, tmp_path: Path) -> None:
        """Entries come out as they were appended, in growing positions."""
        events = [message(f"m{number}") for number in range(20)]
        async with self.make_journal(tmp_path) as journal:
            for event in events:
                await journal.append([event])
            entries = await self.published(journal, 20)
        assert [entry.event for entry in entries] == events
        positions = [entry.position for entry in entries]
        assert positions == sorted(set(positions))
        assert positions[0] >= 1

    async def test_lanes(self, tmp_path: Path) -> None:
        """The messages of one conversation share a lane, and those of another do not."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([message("a"), message("b", phone=BERT), message("c")])
            lanes = [e.lane for e in await self.published(journal, 3)]
        assert lanes == [
            f"whatsapp:123456123:{ANNE}",
            f"whatsapp:123456123:{BERT}",
            f"whatsapp:123456123:{ANNE}",
        ]

    async def test_concurrent_appends(self, tmp_path: Path) -> None:
        """Of many that append the same event at once, exactly one publishes it."""
        async with self.make_journal(tmp_path) as journal:
            done = await asyncio.gather(
                *(journal.append([message(f"m{n % 10}")]) for n in range(100))
            )
        assert sum(one.published for one in done) == 10
        assert sum(one.duplicates for one in done) == 90

    async def test_unwritable_event_fails_alone(self, tmp_path: Path) -> None:
        """An append that does not fit into JSON fails whole, and its neighbours succeed."""
        async with self.make_journal(tmp_path) as journal:
            bad, good = await asyncio.gather(
                journal.append([message("a"), unwritable("x")]),
                journal.append([message("b")]),
                return_exceptions=True,
            )
            again = await journal.append([message("a")])
        assert isinstance(bad, CodecError)
        assert good == Appended(published=1, duplicates=0)
        assert again == Appended(published=1, duplicates=0)

    async def test_find(self, tmp_path: Path) -> None:
        """An event is found by its key, and what was never appended is not."""
        event = message("a")
        async with self.make_journal(tmp_path) as journal:
            await journal.append([message("b"), event])
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
        assert (during.ready, during.reason, during.spooled) == (True, None, None)
        assert not before.ready
        assert before.reason
        assert not after.ready
        assert after.reason

    async def test_closed(self, tmp_path: Path) -> None:
        """A journal that is not open takes nothing."""
        with pytest.raises(JournalError):
            await self.make_journal(tmp_path).append([message("a")])

    def test_another_event_loop(self, tmp_path: Path) -> None:
        """A journal that was closed can be opened again, in another event loop as well."""
        journal = self.make_journal(tmp_path)

        async def use(name: str) -> bool:
            async with journal:
                crm, follower = await journal.subscribe("crm"), await journal.follow()
                await journal.append([message(name)])
                for cursor in (crm, follower):
                    (entry,) = await read(cursor, 1)
                    assert ids([entry]) == [name]
                    await cursor.settle(Settlement(position=entry.position))
                return (await journal.health()).ready

        assert [asyncio.run(use(name)) for name in "ab"] == [True, True]

    # --- subscribers -----------------------------------------------------------------------

    async def test_start(self, tmp_path: Path) -> None:
        """A new subscriber begins at the end, or at the beginning where it asks for that."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([message("a")])
            late = await journal.subscribe("late")
            early = await journal.subscribe("early", start=Start.BEGINNING)
            await journal.append([message("b")])
            assert ids(await read(late, 1)) == ["b"]
            assert ids(await read(early, 2)) == ["a", "b"]

    async def test_read_waits(self, tmp_path: Path) -> None:
        """A cursor at the end waits for the next event."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            reading = asyncio.create_task(read(cursor, 1))
            await asyncio.sleep(0)
            await journal.append([message("a")])
            assert ids(await reading) == ["a"]

    async def test_read_is_bounded(self, tmp_path: Path) -> None:
        """A read gives no more than it was asked for, and goes on where it stopped."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.subscribe("crm")
            await journal.append([message(f"m{n}") for n in range(5)])
            assert len(await cursor.read(2)) <= 2
            cursor = await journal.subscribe("crm")
            assert ids(await read(cursor, 5)) == ["m0", "m1", "m2", "m3", "m4"]

    async def test_unsettled_comes_again(self, tmp_path: Path) -> None:
        """A subscriber that subscribes again gets what it was given and has not settled."""
        async with self.serving(tmp_path, message("a"), message("b")) as (journal, crm, (a, _)):
            await crm.settle(Settlement(position=a.position))
            again = await journal.subscribe("crm", start=Start.BEGINNING)
            assert ids(await read(again, 1)) == ["b"]

    async def test_subscribers_are_independent(self, tmp_path: Path) -> None:
        """A settlement of one subscriber does not move another."""
        async with self.make_journal(tmp_path) as journal:
            one = await journal.subscribe("one")
            two = await journal.subscribe("two")
            await journal.append([message("a"), message("b")])
            entries = await read(one, 2)
            await one.settle(Settlement(position=entries[-1].position))
            assert ids(await read(two, 2)) == ["a", "b"]
            states = {state.name: state for state in await journal.subscribers()}
        assert states["one"].lag == 0
        assert states["two"].lag == 2
        assert states["one"].position == entries[-1].position

    async def test_follow_is_nobodys(self, tmp_path: Path) -> None:
        """A cursor without a subscriber settles and holds, and the journal keeps nothing of it."""
        async with self.make_journal(tmp_path) as journal:
            cursor = await journal.follow()
            await journal.append([message("a"), message("b"), message("c")])
            a, b, c = await read(cursor, 3)
            due = Held(entry=a, retry=Retry(tries=1, due_at=7.0))
            held = (Held(entry=b), due, Held(entry=c))
            await cursor.settle(Settlement(position=c.position, held=held))
            assert await cursor.waiting() == {a.lane: 7.0}
            assert [one.entry for one in await cursor.held(a.lane, 2)] == [a, b]
            await cursor.settle(
                Settlement(position=c.position, released=(a.position,), dead=(failed(b),))
            )
            assert [one.entry for one in await cursor.held(a.lane, 2)] == [c]
            assert cursor is not await journal.follow()
            assert await journal.subscribers() == ()
            assert await journal.dead_letters() == ()

    async def test_forget(self, tmp_path: Path) -> None:
        """A forgotten subscriber leaves nothing behind and begins anew."""
        async with self.serving(tmp_path, message("a"), message("b")) as (journal, crm, (a, b)):
            held = (Held(entry=a, retry=Retry(due_at=1.0)),)
            await crm.settle(Settlement(position=b.position, held=held, dead=(failed(b),)))
            assert await journal.forget("crm") is True
            assert await journal.forget("crm") is False
            assert await journal.subscribers() == ()
            assert await journal.dead_letters() == ()
            again = await journal.subscribe("crm", start=Start.BEGINNING)
            assert await again.waiting() == {}
            assert ids(await read(again, 2)) == ["a", "b"]

    # --- held entries and dead letters -----------------------------------------------------

    async def test_held(self, tmp_path: Path) -> None:
        """A lane waits for its first held entry, and gives its entries in order."""
        events = message("a"), message("b", phone=BERT), message("c")
        async with self.serving(tmp_path, *events) as (journal, crm, (a, b, c)):
            retry = Retry(tries=2, due_at=50.5, first_failed_at=40.0, error="KeyError")
            first = Held(entry=a, retry=retry)
            other = Held(entry=b, retry=Retry(tries=1, due_at=60.0, error="OSError"))
            held = (Held(entry=c), first, other)
            await crm.settle(Settlement(position=c.position, held=held))
            assert await crm.waiting() == {a.lane: 50.5, b.lane: 60.0}
            assert list(await crm.held(a.lane, 10)) == [first, Held(entry=c)]
            assert list(await crm.held(a.lane, 1)) == [first]
            (state,) = await journal.subscribers()
            assert (state.held, state.dead, state.lag) == (3, 0, 0)

    async def test_held_is_replaced_and_released(self, tmp_path: Path) -> None:
        """Settling a held entry anew replaces what was known; releasing it lets its lane go."""
        async with self.serving(tmp_path, message("a")) as (_, crm, (a,)):
            for retry in (Retry(due_at=1.0), Retry(tries=1, due_at=9.0, error="OSError")):
                held = Held(entry=a, retry=retry)
                await crm.settle(Settlement(position=a.position, held=(held,)))
                assert list(await crm.held(a.lane, 10)) == [held]
            await crm.settle(Settlement(position=a.position, released=(a.position,)))
            assert await crm.waiting() == {}

    async def test_what_is_released_is_not_held(self, tmp_path: Path) -> None:
        """What one settlement holds and also releases, or has as dead, is not held afterwards."""
        async with self.serving(tmp_path, message("a"), message("b")) as (journal, crm, (a, b)):
            held = (Held(entry=a), Held(entry=b))
            await crm.settle(
                Settlement(
                    position=b.position, held=held, released=(a.position,), dead=(failed(b),)
                )
            )
            assert await crm.waiting() == {}
            (state,) = await journal.subscribers()
            assert (state.held, state.dead) == (0, 1)

    async def test_any_error_can_be_kept(self, tmp_path: Path) -> None:
        """An error's text is kept whatever it holds, a lone surrogate as a question mark."""
        async with self.serving(tmp_path, message("a")) as (_, crm, (a,)):
            held = Held(entry=a, retry=Retry(tries=1, error="\0 \ud800 ü"))
            await crm.settle(Settlement(position=a.position, held=(held,)))
            assert [each.retry.error for each in await crm.held(a.lane, 1)] == ["\0 ? ü"]

    async def test_dead_letters(self, tmp_path: Path) -> None:
        """A dead letter tells its error, tries and times, and can be listed page by page."""
        async with self.serving(tmp_path, message("a"), message("b")) as (journal, crm, (a, b)):
            bot = await journal.subscribe("bot")
            await crm.settle(Settlement(position=b.position, dead=(failed(a), failed(b))))
            await bot.settle(Settlement(position=b.position, dead=(failed(a),)))
            first, second, third = await journal.dead_letters()
            assert (first.entry, first.retry) == (a, FAILED)
            assert [x.subscriber for x in (first, second, third)] == ["crm", "crm", "bot"]
            assert list(await journal.dead_letters("crm")) == [first, second]
            assert list(await journal.dead_letters("crm", after=first.id)) == [second]
            assert list(await journal.dead_letters(limit=1)) == [first]
            assert await journal.dead_letter(second.id) == second
            assert {s.name: s.dead for s in await journal.subscribers()} == {"bot": 1, "crm": 2}

    async def test_retry(self, tmp_path: Path) -> None:
        """A dead letter that is retried is held once more, as replayed, with none of its tries."""
        async with self.serving(tmp_path, message("a")) as (journal, crm, (a,)):
            # Behind what is still under way, as where an earlier entry takes long.
            await crm.settle(Settlement(position=a.position - 1, dead=(failed(a),)))
            (letter,) = await journal.dead_letters()
            assert await journal.retry(letter.id) is True
            assert await journal.retry(letter.id) is False
            assert await journal.dead_letters() == ()
            (held,) = await crm.held(a.lane, 10)
            assert held == Held(entry=a, retry=Retry(due_at=held.retry.due_at, replayed=True))
            assert held.retry.due_at is not None

    async def test_drop(self, tmp_path: Path) -> None:
        """A dead letter that is dropped is gone, and is not held either."""
        async with self.serving(tmp_path, message("a")) as (journal, crm, (a,)):
            await crm.settle(Settlement(position=a.position, dead=(failed(a),)))
            (letter,) = await journal.dead_letters()
            assert await journal.drop(letter.id) is True
            assert await journal.drop(letter.id) is False
            assert await journal.dead_letters() == ()
            assert await crm.waiting() == {}

    # --- what subscribers remember of conversations ------------------------------------------

    async def test_states(self, tmp_path: Path) -> None:
        """The state written last for a conversation and a name is read, also after a restart."""
        first, second, other, odd, elsewhere = (
            _state('{"step":1}'),
            _state('{"step":2,"said":"h\u00e9llo"}'),
            _state('{"x":[]}', name="*"),
            _state('{"z":null}', name="crm: *.> ü"),
            _state('{"y":{}}', phone=BERT),
        )
        async with self.make_journal(tmp_path) as journal:
            assert await journal.read_state(first.conversation, "bot") is None
            for state in (first, other, odd, elsewhere, second):
                await journal.write_state(state)
            for state in (second, other, odd, elsewhere):
                assert await journal.read_state(state.conversation, state.name) == state
        reopened = self.again(journal, tmp_path)
        async with reopened:
            found = [state async for page in reopened.states() for state in page]
            assert sorted(found, key=repr) == sorted((second, other, odd, elsewhere), key=repr)
            for name, expected in (("bot", {second, elsewhere}), ("*", {other}), ("crm", set())):
                assert {each async for page in reopened.states(name) for each in page} == expected

    async def test_largest_state(self, tmp_path: Path) -> None:
        """A state of 64 KiB can be kept."""
        state = _state(f'{{"x":"{"y" * (65_536 - 8)}"}}')
        assert len(state.value) == 65_536
        async with self.make_journal(tmp_path) as journal:
            await journal.write_state(state)
            assert await journal.read_state(state.conversation, state.name) == state

    async def test_erased_state(self, tmp_path: Path) -> None:
        """A state that is erased is gone, and those of other names and conversations stay."""
        gone, other, elsewhere = _state(), _state(name="crm"), _state(phone=BERT)
        async with self.make_journal(tmp_path) as journal:
            for state in (gone, other, elsewhere):
                await journal.write_state(state)
            for _ in range(2):
                await journal.erase_state(gone.conversation, gone.name)
            assert await journal.read_state(gone.conversation, gone.name) is None
            for state in (other, elsewhere):
                assert await journal.read_state(state.conversation, state.name) == state

    async def test_purged_state(self, tmp_path: Path) -> None:
        """A purge erases what is remembered of the subject's conversations, under every name."""
        names = [_state(name=name) for name in ("bot", "crm")]
        # A user id that the journal knows to be hers, and her group, which is not hers alone.
        by_id, group = _state(phone=ANNES_ID), _state(phone="group")
        other = _state(phone=BERT)
        async with self.make_journal(tmp_path) as journal:
            await journal.append([message("a", user_id=ANNES_ID)])
            for state in (*names, by_id, group, other):
                await journal.write_state(state)
            await journal.purge(ANNE)
            found = [state async for page in journal.states() for state in page]
        assert sorted(found, key=repr) == sorted((group, other), key=repr)

    async def test_purged_state_of_another_number(self, tmp_path: Path) -> None:
        """A conversation that began under a number which the user has no more is erased too."""
        async with self.make_journal(tmp_path) as journal:
            await journal.append([message("a", user_id=ANNES_ID)])
            await journal.append([message("b", phone=ANNE, user_id="US.another")])
            state = _state()
            await journal.write_state(state)
            await journal.purge(ANNES_ID)
            assert await journal.read_state(state.conversation, state.name) is None

    @pytest.mark.parametrize("subject", [ANNE, "US.third"])
    async def test_next_user_of_a_purged_number(self, tmp_path: Path, subject: str) -> None:
        """Whoever has the number next shares no conversation with those who had it before."""
        async with self.make_journal(tmp_path) as journal:
            for name, user_id in (("a", ANNES_ID), ("b", "US.second"), ("c", "US.third")):
                await journal.append([message(name, phone=ANNE, user_id=user_id)])
            await journal.purge(subject)
            await journal.append([message("d", phone=ANNE)])
            for name, user_id in (("e", ANNES_ID), ("f", "US.second")):
                await journal.append([message(name, phone="", user_id=user_id)])
            lanes = [entry.lane for entry in await self.published(journal, 3)]
        expected = [conversation_id("whatsapp", ACCOUNT, ANNE)]
        expected += [conversation_id("whatsapp", ACCOUNT, each) for each in (ANNES_ID, "US.second")]
        assert lanes == expected


def _state(value: str = "{}", *, name: str = "bot", phone: str = ANNE) -> State:
    return State(
        conversation=conversation_id("whatsapp", ACCOUNT, phone),
        name=name,
        value=value.encode(),
        expires_at=time.time() + 3600,
    )
