"""From the journal to a subscriber: order, isolation, retries, dead letters, bounds."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections import defaultdict
from contextlib import asynccontextmanager, contextmanager, suppress

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.adapter.signing import Secret
from bridge.delivery import Attempt, Delivery, current, delay
from bridge.delivery.attempt import Later
from bridge.errors import JournalError
from bridge.journal.memory import MemoryJournal
from bridge.journal.postgres import PostgresJournal
from bridge.journal.postgres.settings import PostgresSettings
from bridge.journal.protocol import Settlement, Start
from bridge.journal.query import Query
from bridge.journal.sqlite.journal import SqliteJournal
from bridge.model.codec import encode
from bridge.observer import AttemptDetails, Observer, Observers, Result
from bridge.settings import DeliverySettings
from tests.bridge.events import message, notice

AT_ONCE = DeliverySettings(first_delay=0.0, max_delay=0.0, jitter=0.0)
WITHIN = 10.0  # seconds; only a test that fails ever takes that long


@asynccontextmanager
async def delivering(journal, function, *, name="crm", policy=AT_ONCE, wants=None):
    """Serve a subscriber from a journal that is open."""
    cursor = await journal.subscribe(name, start=Start.BEGINNING)
    delivery = Delivery(name, function, cursor, wants=wants or (lambda _: True), policy=policy)
    async with delivery, asyncio.timeout(WITHIN):
        yield delivery


async def end_of(journal) -> int:
    """Return the position of the last entry."""
    return (await journal.follow()).position


class Seen:
    """Collects events and tells when so many have come."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._news = asyncio.Event()

    def add(self, event) -> None:
        self.ids.append(event.message_id)
        self._news.set()

    async def __call__(self, event) -> None:
        self.add(event)

    async def until(self, count: int) -> None:
        while len(self.ids) < count:
            self._news.clear()
            await self._news.wait()


@pytest.fixture
async def journal():
    async with MemoryJournal() as journal:
        yield journal


class TestOrder:
    async def test_a_conversation_is_delivered_one_at_a_time_and_in_order(self, journal):
        """However long each takes, an event of a conversation starts when the last one ended."""
        order, running = [], 0

        async def function(event):
            nonlocal running
            running += 1
            assert running == 1
            for _ in range(int(event.message_id) % 5):
                await asyncio.sleep(0)
            order.append(int(event.message_id))
            running -= 1

        await journal.append([message(str(n)) for n in range(200)])
        async with delivering(journal, function) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        assert order == list(range(200))

    @pytest.mark.parametrize("engine", [MemoryJournal, SqliteJournal])
    async def test_a_long_conversation_is_in_order_over_a_restart(self, engine, tmp_path):
        """Whatever of it was in memory and whatever was held: who comes next begins with the first.

        Each run is cut off in the midst of an event, some time after it has taken in the last one.
        """
        order, cut_off = [], asyncio.Event()

        async def function(event):
            if event.message_id in {"3", "90", "150"} and event.message_id not in order:
                order.append(event.message_id)
                cut_off.set()
                await asyncio.Event().wait()
            order.append(event.message_id)

        journal = MemoryJournal() if engine is MemoryJournal else SqliteJournal(tmp_path / "j.db")
        async with journal:
            await journal.append([message(str(n)) for n in range(200)])
            for _ in range(3):
                cut_off.clear()
                async with delivering(journal, function) as delivery:
                    await cut_off.wait()
                    while delivery._progress.taken_up_to < await end_of(journal):
                        await asyncio.sleep(0)
            async with delivering(journal, function) as delivery:
                await delivery.drain(up_to=await end_of(journal))
        assert list(dict.fromkeys(order)) == [str(n) for n in range(200)]

    @pytest.mark.parametrize("waits", [False, True])
    @pytest.mark.parametrize("more", [1, 100])
    async def test_what_has_begun_stays_so_whatever_comes_behind_it(self, journal, more, waits):
        """Who takes it up after a cut-off is told, also where the journal came to hold it all.

        So it is whether or not the function has waited for something before.
        """
        noted, told = asyncio.Event(), {}

        async def begin(event):
            if waits:
                await asyncio.sleep(0)
            await delivery.note_begun(event)
            noted.set()
            await asyncio.Event().wait()

        async def take_up(event):
            told[event.message_id] = current().begun

        await journal.append([message("first")])
        async with delivering(journal, begin) as delivery:
            await noted.wait()
            await delivery.wake()
            await journal.append([message(str(n)) for n in range(more)])
            while delivery._progress.taken_up_to < await end_of(journal):
                await asyncio.sleep(0)
        async with delivering(journal, take_up) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        assert told == {"first": True, **{str(n): False for n in range(more)}}

    @pytest.mark.parametrize("fails", [False, True])
    async def test_what_has_begun_and_never_waits_ends_like_any_other(self, fails):
        """It is done with or fails, and nothing of it is held: the next one has its turn."""
        seen = []

        async def function(event):
            seen.append((event.message_id, current().tries))
            await delivery.note_begun(event)
            if fails and current().tries == 0:
                raise RuntimeError

        async with MemoryJournal() as journal:
            await journal.append([message("1"), message("2")])
            async with delivering(journal, function) as delivery:
                await delivery.drain(up_to=await end_of(journal))
            assert seen == sorted((each, tries) for each in "12" for tries in range(fails + 1))
            cursor = await journal.subscribe("crm")
            assert (cursor.position, await cursor.waiting()) == (await end_of(journal), {})

    @pytest.mark.parametrize("behind", [(), ("behind",)], ids=["alone", "with another behind it"])
    async def test_what_was_given_up_does_not_begin(self, journal, behind):
        """A function that ignored its timeout is refused when it begins, and nobody else is begun.

        Else it would have its effect after its event has become a dead letter, and the one at work
        by then would be in doubt.
        """
        letter, told, begun = asyncio.Event(), [], {}

        async def function(event):
            begun[event.message_id] = current().begun
            if event.message_id == "behind":
                letter.set()
                await asyncio.Event().wait()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await letter.wait()
            try:
                await delivery.note_begun(event)
            except TimeoutError as error:
                told.append(str(error))

        async def take_up(event):
            begun[event.message_id] = current().begun

        await journal.append([message("slow"), *map(message, behind)])
        policy = DeliverySettings(tries=1, timeout=0.01)
        async with delivering(journal, function, policy=policy) as delivery:
            while not await journal.dead_letters():
                await asyncio.sleep(0.001)
            if not behind:
                letter.set()
            while not told:
                await asyncio.sleep(0.001)
        async with delivering(journal, take_up) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        assert told == [f"{message('slow').key} was given up before it began"]
        assert begun == dict.fromkeys(["slow", *behind], False)

    async def test_what_has_begun_stays_so_where_nothing_is_tried(self, journal):
        """A try that is put off before it did anything, as where the clock was set back."""
        told = []

        async def function(event):
            told.append(current().begun)
            if len(told) == 1:
                await asyncio.sleep(0)
                await delivery.note_begun(event)
                raise RuntimeError
            if len(told) == 2:
                raise Later(0.0, "it is not time yet", counted=False)

        await journal.append([message()])
        async with delivering(journal, function) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        assert told == [False, True, True]

    async def test_conversations_do_not_wait_for_each_other(self, journal):
        """One conversation hangs; every other one is served meanwhile."""
        seen, release = Seen(), asyncio.Event()

        async def function(event):
            if event.sender.phone == "+10000000000":
                await release.wait()
            seen.add(event)

        await journal.append([message("stuck", user="+10000000000")])
        await journal.append([message(str(n), user=f"+2000000{n:04}") for n in range(300)])
        async with delivering(journal, function) as delivery:
            await seen.until(300)
            assert "stuck" not in seen.ids
            release.set()
            await delivery.drain(up_to=await end_of(journal))
        assert seen.ids[-1] == "stuck"

    @pytest.mark.parametrize("concurrency", [1, 3])
    async def test_no_more_conversations_are_worked_on_than_asked_for(self, journal, concurrency):
        """However many wait, fail and come again, so many functions run at once and no more."""
        running, most, tries = 0, 0, defaultdict(int)

        async def function(event):
            nonlocal running, most
            running += 1
            most = max(most, running)
            tries[event.message_id] += 1
            for _ in range(int(event.message_id) % 4):
                await asyncio.sleep(0)
            running -= 1
            if int(event.message_id) % 3 == 0 and tries[event.message_id] < 3:
                raise ValueError

        await journal.append([message(str(n), user=f"+2000000{n % 40:04}") for n in range(300)])
        policy = attrs.evolve(AT_ONCE, concurrency=concurrency)
        async with delivering(journal, function, policy=policy) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        assert most == concurrency
        assert len(tries) == 300

    async def test_a_long_queue_in_one_conversation_does_not_fill_the_window(self, journal):
        """Thousands of events behind one that hangs do not keep a later conversation waiting."""
        seen, release = Seen(), asyncio.Event()

        async def function(event):
            if event.message_id == "0":
                await release.wait()
            seen.add(event)

        await journal.append([message(str(n)) for n in range(3000)])
        await journal.append([message("other", user="+20000000000")])
        async with delivering(journal, function) as delivery:
            await seen.until(1)
            assert seen.ids == ["other"]
            release.set()
            await seen.until(3001)
            await delivery.drain()
        assert seen.ids[1:] == [str(n) for n in range(3000)]

    @settings(max_examples=30, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=40),
        st.integers(1, 4),
    )
    def test_order_holds_whatever_fails(self, plan, concurrency):
        """For any mix of conversations and failures: each event once, in its lane's order."""

        async def run():
            taken, failures = defaultdict(list), {}

            async def function(event):
                fails = failures[event.message_id]
                failures[event.message_id] = fails - 1
                if fails > 0:
                    raise RuntimeError
                taken[event.sender.phone].append(int(event.message_id))

            events = []
            for number, (lane, fails) in enumerate(plan):
                failures[str(number)] = fails
                events.append(message(str(number), user=f"+1000000000{lane}"))
            policy = DeliverySettings(
                first_delay=0.0, max_delay=0.0, jitter=0.0, concurrency=concurrency
            )
            async with MemoryJournal() as journal:
                await journal.append(events)
                async with delivering(journal, function, policy=policy):
                    while sum(map(len, taken.values())) < len(plan):
                        await asyncio.sleep(0)
            for lane in range(4):
                expected = [number for number, (of, _) in enumerate(plan) if of == lane]
                assert taken[f"+1000000000{lane}"] == expected

        logging.disable(logging.CRITICAL)
        try:
            asyncio.run(run())
        finally:
            logging.disable(logging.NOTSET)


class TestRetries:
    async def test_a_failing_event_is_tried_again_and_what_follows_waits(self, journal):
        """The second event of the conversation comes after the first has been taken at last."""
        tries, seen = itertools.count(1), Seen()

        async def function(event):
            if event.message_id == "first" and next(tries) < 4:
                raise RuntimeError
            seen.add(event)

        await journal.append([message("first"), message("second")])
        async with delivering(journal, function):
            await seen.until(2)
        assert seen.ids == ["first", "second"]
        assert next(tries) == 5
        assert await journal.dead_letters() == ()

    async def test_after_the_last_try_comes_a_dead_letter_and_the_conversation_goes_on(
        self, journal, caplog
    ):
        """Three tries are three calls; the letter tells error, tries and times, the log no text."""
        seen = Seen()
        calls = []

        async def function(event):
            calls.append(event.message_id)
            if event.message_id == "bad":
                raise ValueError("cannot digest hello")
            seen.add(event)

        policy = DeliverySettings(first_delay=0.0, max_delay=0.0, tries=3)
        await journal.append([message("bad"), message("good")])
        with caplog.at_level(logging.WARNING):
            async with delivering(journal, function, policy=policy):
                await seen.until(1)
        assert calls == ["bad", "bad", "bad", "good"]
        (letter,) = await journal.dead_letters("crm")
        assert letter.retry.tries == 3
        assert letter.retry.error == "ValueError: cannot digest hello"
        assert letter.entry.event.message_id == "bad"
        assert letter.retry.first_failed_at <= letter.retry.failed_at
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "ERROR"]
        assert {record.key for record in caplog.records} == {"message/whatsapp/bad"}
        assert not any("hello" in record.getMessage() for record in caplog.records)

    async def test_with_a_single_try_nothing_is_held(self, journal):
        """One try means a dead letter at once, and the next event follows."""
        seen = Seen()

        async def function(event):
            if event.message_id == "bad":
                raise ValueError
            seen.add(event)

        await journal.append([message("bad"), message("good")])
        async with delivering(journal, function, policy=DeliverySettings(tries=1)):
            await seen.until(1)
        assert len(await journal.dead_letters()) == 1

    async def test_a_hanging_async_function_is_cut_off(self, journal):
        """A try that takes longer than the time-out counts as failed."""

        async def function(event):
            await asyncio.Event().wait()

        policy = DeliverySettings(timeout=0.01, tries=1)
        await journal.append([message()])
        async with delivering(journal, function, policy=policy) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        (letter,) = await journal.dead_letters()
        assert letter.retry.error == "TimeoutError: no answer within 0.01 s"

    @pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, GeneratorExit])
    async def test_a_subscriber_cannot_end_the_program(self, journal, error):
        """sys.exit and the like in a subscriber are failures of that subscriber."""

        async def function(event):
            raise error

        await journal.append([message()])
        async with delivering(journal, function, policy=DeliverySettings(tries=1)) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        (letter,) = await journal.dead_letters()
        assert letter.retry.error.startswith(error.__name__)

    async def test_a_held_event_waits_for_its_time_also_after_a_restart(self, journal):
        """A wait of an hour is still an hour after the delivery started anew, tries kept."""
        failed = asyncio.Event()
        calls = []

        async def function(event):
            calls.append(event.message_id)
            failed.set()
            raise RuntimeError

        policy = DeliverySettings(first_delay=3600.0, max_delay=3600.0, jitter=0.0)
        await journal.append([message("1"), message("2")])
        async with delivering(journal, function, policy=policy):
            await failed.wait()
        async with delivering(journal, function, policy=policy) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        assert calls == ["1"]
        cursor = await journal.subscribe("crm")
        first, second = await cursor.held(message().conversation.id, 10)
        assert (first.entry.event.message_id, first.retry.tries) == ("1", 1)
        assert (second.entry.event.message_id, second.retry.tries) == ("2", 0)

    @pytest.mark.parametrize("engine", ["memory", "sqlite", "postgres"])
    async def test_what_is_held_behind_one_that_hangs_is_given_once_after_a_restart(
        self, engine, tmp_path, request
    ):
        """It comes with its tries, a drain to the end of the journal ends, and nothing lags."""
        tries, cut_off = defaultdict(list), asyncio.Event()

        async def function(event):
            tries[event.message_id].append(current().tries)
            if event.message_id != "hangs":
                cut_off.set()
                raise RuntimeError
            await asyncio.Event().wait()

        async def again(event):
            tries[event.message_id].append(current().tries)

        if engine == "postgres":
            dsn = Secret(request.getfixturevalue("postgres").dsn)
            journal = PostgresJournal(PostgresSettings(dsn=dsn, schema="held_behind"))
        else:
            journal = MemoryJournal() if engine == "memory" else SqliteJournal(tmp_path / "j.db")
        hour = DeliverySettings(first_delay=3600.0, max_delay=3600.0)
        async with journal:
            await journal.append([message("hangs"), message("fails", user="+16505550001")])
            async with delivering(journal, function, policy=hour) as delivery:
                await cut_off.wait()
                while not delivery.held_lanes:
                    await asyncio.sleep(0)
            async with delivering(journal, again, policy=hour) as delivery:
                await delivery.drain(up_to=await end_of(journal))
                assert tries == {"hangs": [0, 0], "fails": [0]}
            (state,) = await journal.subscribers()
            assert (state.lag, state.held) == (0, 1)
            async with delivering(journal, again) as delivery:
                await delivery.wake(at_once=True)
                await delivery.caught_up(await end_of(journal))
        assert tries == {"hangs": [0, 0], "fails": [0, 1]}

    async def test_a_dead_letter_that_is_given_back_is_delivered(self, journal):
        """After the subscriber is mended, a retried dead letter reaches it while it runs."""
        seen, broken = Seen(), True

        async def function(event):
            if broken:
                raise RuntimeError
            seen.add(event)

        await journal.append([message("1")])
        async with delivering(journal, function, policy=DeliverySettings(tries=1)) as delivery:
            while not await journal.dead_letters():
                await asyncio.sleep(0)
            broken = False
            (letter,) = await journal.dead_letters()
            assert await journal.retry(letter.id)
            await delivery.wake()
            await seen.until(1)
        assert seen.ids == ["1"]

    async def test_a_dead_letter_given_back_to_a_busy_conversation_waits_its_turn(self, journal):
        """While an event of the conversation is under way, the retried one is not started."""
        seen, release, started = Seen(), asyncio.Event(), asyncio.Event()
        broken = True

        async def function(event):
            if event.message_id == "bad" and broken:
                raise RuntimeError
            if event.message_id == "slow":
                started.set()
                await release.wait()
            seen.add(event)

        await journal.append([message("bad"), message("slow")])
        async with delivering(journal, function, policy=DeliverySettings(tries=1)) as delivery:
            await started.wait()
            while not await journal.dead_letters():
                await asyncio.sleep(0)
            broken = False
            (letter,) = await journal.dead_letters()
            await journal.retry(letter.id)
            await delivery.wake()
            await delivery.wake()
            assert seen.ids == []
            release.set()
            await seen.until(2)
        assert seen.ids == ["slow", "bad"]

    @given(tries=st.integers(1, 10_000), jitter=st.floats(0, 1))
    def test_the_wait_doubles_up_to_its_limit(self, tries, jitter):
        """Wait n is first_delay times two to the n - 1, at most max_delay, give or take jitter."""
        policy = DeliverySettings(first_delay=1.0, max_delay=600.0, jitter=jitter)
        plain = min(2.0 ** min(tries - 1, 60), 600.0)
        assert plain * (1 - jitter) <= delay(policy, tries) <= plain * (1 + jitter) + 1e-9


class TestIsolation:
    async def test_a_subscriber_that_hangs_does_not_slow_the_others(self, journal):
        """One subscriber never returns from anything; the other gets every event."""
        seen = Seen()

        async def hang(event):
            await asyncio.Event().wait()

        async with delivering(journal, hang, name="hanging"), delivering(journal, seen) as good:
            for number in range(2000):
                await journal.append([message(str(number), user=f"+2000000{number:04}")])
            await good.drain(up_to=await end_of(journal))
        assert len(seen.ids) == 2000

    async def test_a_subscriber_that_hangs_keeps_a_bounded_number_of_events(self, journal):
        """Of ten thousand events, a subscriber that never returns holds one window in memory."""
        entered = asyncio.Event()

        async def hang(event):
            entered.set()
            await asyncio.Event().wait()

        for number in range(10_000):
            await journal.append([message(str(number), user=f"+2000000{number % 97:04}")])
        async with delivering(journal, hang) as delivery:
            await entered.wait()
            for _ in range(2000):  # turns of the loop, many more than it takes to fill
                await asyncio.sleep(0)
            assert len(delivery._progress.under_way) + len(delivery._batch) <= 1024 + 256
            queued = sum(len(lane.entries) for lane in delivery._lanes.by_name.values())
            assert queued <= 1024 + 256

    async def test_large_events_are_counted_by_their_bytes(self, tmp_path):
        """Of 70 MB of events, a subscriber that never returns is given less than 50 MB."""
        given, entered = 0, asyncio.Event()

        async def hang(event):
            entered.set()
            await asyncio.Event().wait()

        async with SqliteJournal(tmp_path / "journal.db") as journal:
            for number in range(70):
                large = message(str(number), user=f"+2000000{number % 2:04}", text="x" * 500_000)
                await journal.append([large])
            cursor = await journal.subscribe("crm", start=Start.BEGINNING)
            read = cursor.read

            async def counted(limit):
                nonlocal given
                entries = await read(limit)
                given += sum(len(encode(entry.event)) for entry in entries)
                return entries

            cursor.read = counted
            delivery = Delivery("crm", hang, cursor, wants=lambda _: True, policy=AT_ONCE)
            async with delivery, asyncio.timeout(WITHIN):
                await entered.wait()
                while given < 32 << 20:
                    await asyncio.sleep(0)
                for _ in range(100):  # reads, many more than the pages that are left
                    await journal.search(Query(limit=1))
        assert given < 50 << 20

    async def test_a_plain_function_that_blocks_does_not_block_the_loop(self, journal):
        """A plain function waits for something that only the event loop can bring about."""
        release, entered = threading.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def function(event):
            loop.call_soon_threadsafe(entered.set)
            release.wait(WITHIN)

        await journal.append([message()])
        async with delivering(journal, function) as delivery:
            await entered.wait()
            release.set()
            await delivery.drain(up_to=await end_of(journal))

    async def test_what_is_not_wanted_is_passed_over(self, journal):
        """Events that the filter leaves out count as done."""
        seen = Seen()
        await journal.append([notice(), message("1"), notice("other")])
        async with delivering(
            journal, seen, wants=lambda event: event.kind == "message"
        ) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        assert seen.ids == ["1"]
        (state,) = await journal.subscribers()
        assert state.lag == 0


class Told:
    """A cursor that notes how far the journal has been told."""

    def __init__(self, cursor) -> None:
        self._cursor = cursor
        self.told = cursor.position

    def __getattr__(self, name):
        return getattr(self._cursor, name)

    async def settle(self, settlement: Settlement) -> None:
        await self._cursor.settle(settlement)
        self.told = settlement.position


class TestProgress:
    @pytest.mark.parametrize("waits", [False, True])
    async def test_little_comes_again_after_a_kill_amid_a_backlog(self, journal, waits):
        """Also where each call blocks the event loop for longer than progress may wait."""
        await journal.append([message(str(n), user=f"+1{n:010}") for n in range(20)])
        cursor = Told(await journal.subscribe("crm", start=Start.BEGINNING))
        behind, done = [], 0

        async def function(_):
            nonlocal done
            if waits:
                await asyncio.sleep(0)
            behind.append(done - cursor.told)
            time.sleep(0.03)  # noqa: ASYNC251 - that is what it is about
            done += 1

        policy = DeliverySettings(concurrency=1)
        delivery = Delivery("crm", function, cursor, wants=lambda _: True, policy=policy)
        async with delivery, asyncio.timeout(WITHIN):
            await delivery.drain(up_to=await end_of(journal))
        assert done == 20
        assert max(behind) <= 2

    async def test_it_resumes_where_it_stopped(self, journal):
        """What was taken before a restart does not come again, what came meanwhile does."""
        seen = Seen()
        await journal.append([message("1")])
        async with delivering(journal, seen) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        await journal.append([message("2")])
        async with delivering(journal, seen) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        assert seen.ids == ["1", "2"]

    async def test_draining_to_the_end_leaves_only_what_waits_for_its_next_try(self, journal):
        """Entries that were held only because their queue was long are delivered by a drain."""
        seen = Seen()

        async def function(event):
            if event.message_id == "bad":
                raise RuntimeError
            seen.add(event)

        await journal.append([message(str(n)) for n in range(500)])
        await journal.append([message("bad", user="+20000000000")])
        policy = DeliverySettings(first_delay=3600.0, max_delay=3600.0)
        async with delivering(journal, function, policy=policy) as delivery:
            await delivery.drain(up_to=await end_of(journal))
        assert seen.ids == [str(n) for n in range(500)]
        (state,) = await journal.subscribers()
        assert (state.lag, state.held) == (0, 1)

    async def test_what_was_under_way_comes_again(self, journal):
        """An event whose delivery was cut off by the end is delivered after the restart."""
        started = asyncio.Event()

        async def hang(event):
            started.set()
            await asyncio.Event().wait()

        seen = Seen()
        await journal.append([message("1")])
        async with delivering(journal, hang):
            await started.wait()
        async with delivering(journal, seen):
            await seen.until(1)
        assert seen.ids == ["1"]

    async def test_draining_takes_in_nothing_new_and_finishes_what_is_under_way(self, journal):
        """After a drain began, an event that is appended stays in the journal."""
        seen, started, release = Seen(), asyncio.Event(), asyncio.Event()

        async def function(event):
            started.set()
            await release.wait()
            seen.add(event)

        await journal.append([message("1")])
        async with delivering(journal, function) as delivery:
            await started.wait()
            draining = asyncio.create_task(delivery.drain())
            await asyncio.sleep(0)
            await journal.append([message("2")])
            release.set()
            await draining
        assert seen.ids == ["1"]
        (state,) = await journal.subscribers()
        assert state.lag == 1


class Fragile:
    """A cursor in front of a real one that fails as a full disk would, so many times each."""

    def __init__(self, cursor, failures: int) -> None:
        self._cursor = cursor
        self.at_work = cursor.at_work
        self._left = defaultdict(lambda: failures)

    @property
    def position(self) -> int:
        return self._cursor.position

    @property
    def reached(self) -> int:
        return self._cursor.reached

    def _trip(self, name: str) -> None:
        self._left[name] -= 1
        if self._left[name] >= 0:
            raise JournalError("disk full")

    async def read(self, limit: int):
        self._trip("read")
        return await self._cursor.read(limit)

    async def settle(self, settlement: Settlement) -> None:
        self._trip("settle")
        await self._cursor.settle(settlement)

    async def waiting(self):
        return await self._cursor.waiting()

    async def held(self, lane: str, limit: int):
        self._trip("held")
        return await self._cursor.held(lane, limit)


async def test_a_journal_in_trouble_is_asked_again(journal, monkeypatch, caplog):
    """Reading, saving and fetching what is held each fail; in the end all is done."""
    monkeypatch.setattr("bridge.delivery.delivery._AFTER_JOURNAL_ERROR", 0.0)
    seen, failed = Seen(), []

    async def function(event):
        if event.message_id == "1" and not failed:
            failed.append(event)
            raise RuntimeError
        seen.add(event)

    await journal.append([message("1"), message("2")])
    cursor = await journal.subscribe("crm", start=Start.BEGINNING)
    delivery = Delivery("crm", function, Fragile(cursor, 2), wants=lambda _: True, policy=AT_ONCE)
    with caplog.at_level(logging.ERROR):
        async with delivery, asyncio.timeout(WITHIN):
            await seen.until(2)
            while (await journal.subscribers())[0].held:
                await asyncio.sleep(0)
    assert seen.ids == ["1", "2"]
    assert {record.message for record in caplog.records} >= {
        "subscriber crm cannot read the journal: disk full",
        "subscriber crm cannot reach what is held: disk full",
    }


class TestAttempts:
    async def test_a_subscriber_knows_which_try_it_is_in(self, journal):
        """The first try says so, and each one after it how many have failed."""
        attempts = []

        async def function(event):
            attempts.append(current())
            if len(attempts) < 3:
                raise ValueError

        await journal.append([message("a")])
        async with delivering(journal, function):
            while len(attempts) < 3:
                await asyncio.sleep(0)
        assert attempts == [Attempt(tries=0), Attempt(tries=1), Attempt(tries=2)]

    async def test_a_function_in_a_thread_knows_it_too(self, journal):
        """A plain function asks in its thread, and is told the same."""
        attempts = []

        def function(event):
            attempts.append(current())
            if len(attempts) < 2:
                raise ValueError

        await journal.append([message("a")])
        async with delivering(journal, function):
            while len(attempts) < 2:
                await asyncio.sleep(0)
        assert attempts == [Attempt(tries=0), Attempt(tries=1)]

    async def test_what_is_new_after_a_replay_is_not_marked(self, journal):
        """The mark belongs to a try: whoever served a replay serves new events as new ones."""
        marked, seen = [], Seen()

        async def function(event):
            await asyncio.sleep(0)  # so that the workers change places
            if current().replayed:
                marked.append(event.message_id)
            seen.add(event)

        old = [message(f"old{n}", user=f"+1000000{n:04}") for n in range(20)]
        await journal.append(old)
        async with delivering(journal, function) as delivery:
            await seen.until(20)
            await delivery.drain(up_to=20)
        async with delivering(journal, function) as delivery:
            assert await journal.replay(range(1, 21), "crm") == 20
            await delivery.wake()
            await seen.until(40)
            await journal.append([message(f"n{n}", user=f"+2000000{n:04}") for n in range(20)])
            await seen.until(60)
        assert sorted(marked) == sorted(event.message_id for event in old)

    async def test_a_replay_is_marked_in_each_of_its_tries(self, journal):
        """A replayed event stays marked while it fails, and the next event is not."""
        attempts = []

        async def function(event):
            attempts.append((event.message_id, current()))
            if len(attempts) == 2:
                raise ValueError

        await journal.append([message("a")])
        async with delivering(journal, function) as delivery:
            while (await journal.subscribers())[0].lag:
                await asyncio.sleep(0)
            assert await journal.replay([1], "crm") == 1
            await delivery.wake()
            while len(attempts) < 3:
                await asyncio.sleep(0)
            await journal.append([message("b")])
            await delivery.drain(up_to=await end_of(journal))
        assert attempts == [
            ("a", Attempt()),
            ("a", Attempt(tries=0, replayed=True)),
            ("a", Attempt(tries=1, replayed=True)),
            ("b", Attempt()),
        ]

    def test_elsewhere_it_is_a_first_one(self):
        """Called by hand, as in a test of its own, a subscriber sees a first try."""
        assert current() == Attempt(tries=0, replayed=False)

    async def test_every_try_is_told(self, journal):
        """Who measures hears of each try: one that failed, one that was the last, one that went."""
        told = []

        class Noting(Observer):
            @contextmanager
            def attempt(self, details):
                try:
                    yield
                finally:
                    told.append(details)

        async def function(event):
            if event.message_id == "bad":
                raise ValueError

        await journal.append([message("bad"), message("good")])
        cursor = await journal.subscribe("crm", start=Start.BEGINNING)
        policy = DeliverySettings(first_delay=0.0, jitter=0.0, tries=2)
        delivery = Delivery(
            "crm",
            function,
            cursor,
            wants=lambda _: True,
            policy=policy,
            observers=Observers(Noting()),
        )
        async with delivery, asyncio.timeout(WITHIN):
            while delivery.held_lanes or len(told) < 3:
                await asyncio.sleep(0)
        bad, good = message("bad"), message("good")
        assert told == [
            AttemptDetails("crm", bad, 0, Result.FAILED),
            AttemptDetails("crm", bad, 1, Result.DEAD),
            AttemptDetails("crm", good, 0, Result.DONE),
        ]


async def test_what_comes_during_a_retry_is_delivered_after_it(journal):
    """An event that arrives, and is saved, while its conversation's retry runs is not forgotten."""
    seen, tries, go_on = Seen(), 0, asyncio.Event()

    async def function(event):
        nonlocal tries
        if event.message_id == "1":
            tries += 1
            if tries == 1:
                raise ValueError
            await go_on.wait()
        seen.add(event)

    await journal.append([message("1")])
    async with delivering(journal, function):
        while tries < 2:
            await asyncio.sleep(0)
        await journal.append([message("2")])
        while (await journal.subscribers())[0].held < 2:
            await asyncio.sleep(0)
        go_on.set()
        await seen.until(2)
    assert seen.ids == ["1", "2"]


async def test_what_was_read_and_not_begun_with_comes_again(journal):
    """Of events that a delivery has read when it is told to end, none counts as delivered."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def function(event):
        entered.set()
        await go_on.wait()

    await journal.append([message(str(n), user=f"+2000000{n:04}") for n in range(5)])
    policy = attrs.evolve(AT_ONCE, concurrency=1)
    async with delivering(journal, function, policy=policy) as delivery:
        await entered.wait()
        draining = asyncio.create_task(delivery.drain())
        await asyncio.sleep(0)
        go_on.set()
        await draining
    seen = Seen()
    async with delivering(journal, seen):
        await seen.until(4)
    assert seen.ids == ["1", "2", "3", "4"]
