"""Each delivery in a task and a context of its own, and what a subscriber may decide."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import threading
import time
from contextvars import ContextVar
from datetime import timedelta
from types import SimpleNamespace

import pytest

from bridge.delivery import Delivery
from bridge.errors import Drop, RetryIn
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Standing
from bridge.model import Event, Message
from bridge.observer import After, AttemptDetails, Observer
from bridge.process.clock import Clock
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings
from tests.bridge.delivery.test_misbehaviour import settled
from tests.bridge.events import message

ONCE = DeliverySettings(tries=1)
user: ContextVar[str | None] = ContextVar("user", default=None)


def several(count: int) -> list:
    return [message(str(n), user=f"+1{n % 7:010}") for n in range(count)]


async def delivered(function, events, *, policy=ONCE) -> Bridge:
    """Let a subscriber have events, and return the bridge that has ended."""
    bridge = Bridge(journal=MemoryJournal(), policy=policy)
    bridge.on(Event, name="crm")(function)
    async with bridge:
        await bridge.journal.append(events)
        await settled(bridge, "crm")
    return bridge


class TestContexts:
    @pytest.mark.parametrize("waits", [False, True])
    async def test_a_context_variable_does_not_reach_the_next_event(self, waits):
        """What one event sets, no other event sees, whether the function waits or not."""
        seen = []

        async def function(event):
            seen.append(user.get())
            user.set(event.sender.phone)
            if waits:
                await asyncio.sleep(0)
            assert user.get() == event.sender.phone

        await delivered(function, several(40))
        assert seen == [None] * 40

    async def test_nor_does_that_of_a_thread(self):
        """A plain function runs in a context of its own each time too."""
        seen = []

        def function(event):
            seen.append(user.get())
            user.set(event.sender.phone)

        await delivered(function, several(40))
        assert seen == [None] * 40

    async def test_what_was_set_before_the_start_is_seen(self):
        """The context in which the bridge was entered is what each delivery begins with."""
        seen = []
        token = user.set("the application's")
        try:
            await delivered(lambda event: seen.append(user.get()), several(1))
        finally:
            user.reset(token)
        assert seen == ["the application's"]


class TestTasks:
    @pytest.mark.parametrize("waits", [False, True])
    async def test_who_keeps_its_task_keeps_it_for_itself(self, waits):
        """No two deliveries that hold their tasks have the same one, nor that of the bridge."""
        kept = [asyncio.current_task()]

        async def function(event):
            kept.append(asyncio.current_task())
            if waits:
                await asyncio.sleep(0)
            assert asyncio.current_task() is kept[-1] or waits

        await delivered(function, several(40))
        assert len({id(task) for task in kept}) == 41

    async def test_time_outs_of_a_function_work_from_its_first_step(self):
        """asyncio.timeout holds on to the task in which it is entered."""
        late = []

        async def function(event):
            try:
                async with asyncio.timeout(0.005):
                    await asyncio.Event().wait()
            except TimeoutError:
                late.append(event.message_id)

        bridge = await delivered(function, several(5))
        assert len(late) == 5
        assert await bridge.journal.dead_letters() == ()

    async def test_cancelling_reaches_what_a_function_waits_for(self):
        """Cut off in its first wait, a function's own tasks are cancelled with it."""
        ended = []

        async def child():
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("child")

        async def function(event):
            asyncio.current_task().cancel()
            await asyncio.gather(child())

        await delivered(function, several(1))
        assert ended in ([], ["child"])  # a task that never began has nothing to end

    async def test_the_time_limit_holds_behind_a_plain_decorator(self):
        """What a plain wrapper returns is awaited for as long as an async function is."""

        def logged(function):
            @functools.wraps(function)
            def wrapper(event):
                return function(event)

            return wrapper

        @logged
        async def function(event):
            await asyncio.Event().wait()

        policy = DeliverySettings(tries=1, timeout=0.02)
        bridge = await delivered(function, several(3), policy=policy)
        errors = {letter.retry.error for letter in await bridge.journal.dead_letters()}
        assert errors == {"TimeoutError: no answer within 0.02 s"}

    async def test_what_cannot_be_cancelled_holds_up_nobody(self):
        """Where cancelling raises, the time limits of all other events hold, and it ends.

        As where a function waits for its own task in a `gather`: to cancel it never ends.
        """
        awaited = []

        class Unwilling(asyncio.Future):
            def cancel(self, msg=None):
                raise RecursionError

        async def function(event):
            awaited.append(asyncio.Event().wait() if awaited else Unwilling())
            await awaited[-1]

        policy = DeliverySettings(tries=1, timeout=0.02)
        bridge = await delivered(function, several(7), policy=policy)
        assert len(await bridge.journal.dead_letters()) == 7
        awaited[0].set_result(None)  # else the loop could not end either

    async def test_threads_that_cannot_be_started(self, monkeypatch):
        """The event is tried again, once, and the subscriber goes on where threads can be had."""
        got = []
        bridge = Bridge(
            journal=MemoryJournal(),
            policy=DeliverySettings(tries=2, first_delay=0.01, jitter=0.0, concurrency=1),
        )
        bridge.on(Event, name="crm")(lambda event: got.append(event.key))
        events = several(3)
        async with bridge:
            with monkeypatch.context() as without:
                without.setattr(threading, "excepthook", None)  # Python starts no thread then
                await bridge.journal.append(events[:1])
                await settled(bridge, "crm")
            (state,) = await bridge.journal.subscribers()
            await bridge.journal.append(events[1:])
            async with asyncio.timeout(10):
                await settled(bridge, "crm")
        assert state.dead == 1
        assert got == [event.key for event in events[1:]]

    async def test_a_thread_that_is_late_is_told(self, caplog):
        """A plain function cannot be cut off, but it is said which one is still at work."""
        release = threading.Event()

        def function(event):
            release.wait(10)

        class Released(logging.Handler):
            def emit(self, record):
                release.set()

        handler = Released()
        logging.getLogger("bridge").addHandler(handler)
        try:
            await delivered(function, several(1), policy=DeliverySettings(timeout=0.02))
        finally:
            logging.getLogger("bridge").removeHandler(handler)
        (record,) = caplog.records
        assert "subscriber crm is still at work after its timeout" in record.getMessage()

    @pytest.mark.parametrize("fails", [False, True])
    async def test_progress_goes_on_where_a_thread_is_late(self, fails):
        """A plain function that hangs keeps its conversation alone: the position moves on."""
        release = threading.Event()
        taken: list[str] = []

        def function(event):
            taken.append(event.message_id)
            if event.message_id == "0" and not release.is_set():
                release.wait(10)
                if fails:
                    raise ConnectionError("it was away")

        policy = DeliverySettings(timeout=0.02, first_delay=0, max_delay=0)
        bridge = Bridge(journal=MemoryJournal(), policy=policy)
        bridge.on(Message, name="crm")(function)
        mine = [message(each) for each in "0ab"]
        theirs = [message(each, user="+16505550002") for each in "cd"]
        async with bridge, asyncio.timeout(10):
            await bridge.journal.append([*mine[:2], *theirs])

            async def state():
                return (await bridge.journal.subscribers())[0]

            while len(taken) < 3 or (await state()).held != 2 or (await state()).lag:
                await asyncio.sleep(0)
            await bridge.journal.append(mine[2:])
            while (await state()).held < 3:
                await asyncio.sleep(0)
            assert sorted(taken) == ["0", "c", "d"]
            release.set()
            await settled(bridge, "crm")
            assert (await state()).held == 0
        assert [each for each in taken if each in "0ab"] == ["0"] * (1 + fails) + ["a", "b"]

    async def test_a_bug_of_ours_loses_neither_event_nor_conversation(self, caplog):
        """Where a failure cannot be noted, that is told, and the event comes again in order."""

        class Broken(Clock):
            def time(self):
                if not broken:
                    broken.append(None)
                    raise RuntimeError
                return super().time()

        broken, got = [], []
        events = [message(str(number)) for number in range(4)]
        journal = MemoryJournal()

        async def function(event):
            await asyncio.sleep(0)
            got.append(event.message_id)
            if len(got) == 1:
                raise ValueError

        async with journal:
            cursor = await journal.subscribe("crm")
            async with Delivery(
                "crm",
                function,
                cursor,
                wants=lambda _: True,
                policy=DeliverySettings(),
                clock=Broken(),
            ) as delivery:
                await journal.append(events)
                async with asyncio.timeout(30):
                    await delivery.caught_up(4)
                    while (await journal.subscribers())[0].held:
                        await asyncio.sleep(0.01)
        assert got == ["0", "0", "1", "2", "3"]
        told = [each.getMessage() for each in caplog.records if each.levelno == logging.CRITICAL]
        assert [line.partition(" at ")[0] for line in told] == [
            "subscriber crm: the task 'delivery' ended with RuntimeError"
        ]

    async def test_what_ends_our_tasks_is_told_and_they_are_replaced(self, caplog):
        """A subscriber cancels every task it finds; all events are delivered all the same."""
        seen = []

        async def function(event):
            seen.append(event.message_id)
            if event.message_id == "0":
                for task in asyncio.all_tasks():
                    if "crm" in task.get_name():
                        task.cancel()

        told = []

        class Watching(Observer):
            def died(self, subscriber: str, /) -> None:
                told.append(subscriber)

        bridge = Bridge(journal=MemoryJournal(), policy=DeliverySettings(first_delay=0.0))
        bridge.on(Event, name="crm")(function)
        bridge.observe(Watching())
        with caplog.at_level(logging.CRITICAL):
            async with bridge:
                await bridge.journal.append(several(20))
                await settled(bridge, "crm")
        assert set(told) == {"crm"}
        assert set(seen) == {str(n) for n in range(20)}
        assert {"subscriber crm" in record.getMessage() for record in caplog.records} == {True}

    async def test_an_observer_that_raises_ends_nothing(self):
        """Whatever it raises, before or after the function, every event is delivered once."""
        seen = []

        def leave(error: BaseException | None) -> None:
            raise SystemExit

        class Raising(Observer):
            def attempt(self, details: AttemptDetails, /) -> After:
                if details.tries or details.event.message_id == "0":
                    raise KeyboardInterrupt
                return After(leave)

        bridge = Bridge(journal=MemoryJournal())
        bridge.on(Event, name="crm")(lambda event: seen.append(event.message_id))
        bridge.observe(Raising())
        async with bridge:
            await bridge.journal.append(several(5))
            await settled(bridge, "crm")
        assert sorted(seen) == ["0", "1", "2", "3", "4"]

    async def test_an_observer_is_told_what_was_raised(self):
        """With the exception itself, as whoever reports errors elsewhere needs it."""
        told = []
        error = ValueError()

        async def function(event):
            raise error

        class Watching(Observer):
            def attempt(self, details: AttemptDetails, /) -> After:
                return After(told.append)

        bridge = Bridge(journal=MemoryJournal(), policy=ONCE)
        bridge.on(Event, name="crm")(function)
        bridge.observe(Watching())
        async with bridge:
            await bridge.journal.append(several(1))
            await settled(bridge, "crm")
        assert told == [error]


class TestDecisions:
    async def test_a_dropped_event_is_a_dead_letter_at_once(self):
        """Drop ends the tries, and its reason is in the dead letter."""
        calls = []

        async def function(event):
            calls.append(event)
            raise Drop("not ours")

        bridge = await delivered(function, several(1), policy=DeliverySettings(tries=5))
        (letter,) = await bridge.journal.dead_letters()
        assert (len(calls), letter.retry.tries) == (1, 1)
        assert letter.retry.error == "Drop: not ours"

    async def test_an_event_is_put_off_for_as_long_as_asked(self):
        """RetryIn says when the next try is, whatever the policy's waits are."""
        calls = []

        async def function(event):
            calls.append(event)
            raise RetryIn(3600)

        bridge = Bridge(
            journal=MemoryJournal(), policy=DeliverySettings(first_delay=0.0, max_delay=0.0)
        )
        bridge.on(Event, name="crm")(function)
        async with bridge:
            await bridge.journal.append(several(1))
            while not (await bridge.journal.subscribers())[0].held:
                await asyncio.sleep(0.005)
            (outcome,) = await bridge.journal.outcomes(1)
        assert outcome.standing is Standing.HELD
        assert 3500 < outcome.retry.due_at - time.time() <= 3600
        assert len(calls) == 1

    @pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan"), "30s", None])
    def test_a_wait_is_a_number_of_seconds(self, seconds):
        """A wait that never ends, or is none, is an error of the subscriber's."""
        with pytest.raises(ValueError, match="a number of seconds from 0 on"):
            RetryIn(seconds)

    def test_a_wait_is_a_timedelta_too(self):
        """What Python's own type for a wait says is a wait of so many seconds."""
        assert RetryIn(timedelta(minutes=2)).seconds == 120.0


async def test_a_retry_comes_though_the_clock_was_set_back(monkeypatch):
    """A day behind, a retry still comes after its wait, and after a restart within max_delay."""
    shift, calls = 86_400.0, []
    clock = SimpleNamespace(time=lambda: time.time() + shift, monotonic=time.monotonic)
    monkeypatch.setattr("bridge.delivery.delivery.time", clock)
    policy = DeliverySettings(tries=5, first_delay=0.01, max_delay=0.05, jitter=0.0)
    bridge = Bridge(journal=MemoryJournal(), policy=policy)

    @bridge.on(Event, name="crm")
    async def function(event):
        calls.append(event)
        if len(calls) in (1, 2):
            raise ValueError

    async with asyncio.timeout(10):
        async with bridge:
            await bridge.journal.append(several(1))
            while not calls:
                await asyncio.sleep(0)
            shift = 0.0
            while len(calls) < 2:
                await asyncio.sleep(0.001)
            shift = 86_400.0
        async with bridge:
            shift = 0.0
            await settled(bridge, "crm")
    assert len(calls) == 3


class TestErrors:
    async def test_a_dead_letter_has_the_lines_and_no_values(self, caplog):
        """File, line and function of each frame; the log names the user's own innermost line."""

        async def function(event):
            json.loads(event.content.text)

        bridge = await delivered(function, [message(text="a secret word")])
        (letter,) = await bridge.journal.dead_letters()
        assert "test_running.py" in letter.retry.trace[0]  # and nothing of the bridge's own
        assert "decoder.py" in letter.retry.trace[-1]
        assert "a secret word" not in "".join(letter.retry.trace)
        (record,) = caplog.records
        assert "test_running.py" in record.where
        assert letter.retry.where == record.where
        for part in ("subscriber crm", message().key, "JSONDecodeError", record.where):
            assert part in record.getMessage()
        assert record.exc_info[0] is json.JSONDecodeError

    async def test_the_lines_of_what_an_error_was_raised_from_follow(self):
        """Headed by its class, since it is often what tells the reason."""

        def inner():
            raise KeyError("a secret word")

        async def function(event):
            try:
                inner()
            except KeyError as error:
                raise RuntimeError from error

        bridge = await delivered(function, several(1))
        (letter,) = await bridge.journal.dead_letters()
        assert "from KeyError" in letter.retry.trace
        assert letter.retry.trace[-1].endswith("inner")

    async def test_a_function_in_c_is_named_where_it_fails(self, caplog):
        """There is no line of Python to tell, so its name has to do."""
        await delivered(len, several(1))
        assert "at builtins:len" in caplog.records[0].getMessage()
