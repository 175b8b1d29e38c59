"""A bridge starts, ends, and starts again: with every journal, in any event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress

import pytest
from aiohttp import web

from bridge.errors import ConfigurationError, NotAuthentic, NotRunning, RetryIn
from bridge.ingress.server import listening
from bridge.journal.memory import MemoryJournal
from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Event
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings, ServerSettings
from tests.bridge.events import message
from tests.bridge.fakes import Plain
from tests.bridge.test_runtime import callback

PATIENCE = 60.0


@pytest.fixture(params=["memory", "sqlite", "nats"])
def journal(request, tmp_path):
    """Make a journal of each engine."""
    match request.param:
        case "memory":
            return MemoryJournal()
        case "sqlite":
            return SqliteJournal(tmp_path / "journal.db")
    server = request.getfixturevalue("nats")
    settings = NatsSettings(servers=(server.url,), stream=tmp_path.name, partitions=2)
    return NatsJournal(settings)


class Crm:
    """Collects what it gets, and tells when so much has come."""

    def __init__(self) -> None:
        self.got: list[str] = []

    async def __call__(self, event: Event) -> None:
        self.got.append(event.message_id)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.got) < count:
                await asyncio.sleep(0.001)


def bridge_of(journal, **server) -> tuple[Bridge, Crm]:
    bridge = Bridge(
        journal=journal,
        policy=DeliverySettings(first_delay=0.0),
        server=ServerSettings(**server),
    )
    bridge.add_adapter("plain", Plain())
    crm = Crm()
    bridge.on(Event, name="crm")(crm)
    return bridge, crm


class TestAgain:
    async def run(self, bridge: Bridge, crm: Crm, number: int) -> None:
        async with bridge:
            await bridge.receive("plain", callback(str(number)))
            await crm.until(number)

    def test_in_another_event_loop(self, journal):
        """Each run takes what comes and delivers it, with nothing from the last one in its way."""
        bridge, crm = bridge_of(journal)
        for number in (1, 2, 3):
            asyncio.run(self.run(bridge, crm, number))
        assert crm.got == ["1", "2", "3"]

    async def test_in_the_same_event_loop(self, journal):
        """A bridge that has ended starts like a new one."""
        bridge, crm = bridge_of(journal)
        for number in (1, 2, 3):
            await self.run(bridge, crm, number)
        assert crm.got == ["1", "2", "3"]

    async def test_twice_at_once(self, journal):
        """Of two that start one bridge at once, one is refused, and the other's runs."""
        bridge, crm = bridge_of(journal)
        starts = (bridge.__aenter__(), bridge.__aenter__())
        first, second = await asyncio.gather(*starts, return_exceptions=True)
        assert first is bridge
        assert isinstance(second, ConfigurationError)
        await bridge.receive("plain", callback("1"))
        await crm.until(1)
        await bridge.__aexit__(None, None, None)

    async def test_after_a_start_that_failed(self, tmp_path):
        """Once what was in the way is gone, the same bridge starts."""
        bridge, crm = bridge_of(SqliteJournal(tmp_path / "journal.db"))
        async with SqliteJournal(tmp_path / "journal.db"):
            with pytest.raises(Exception, match="open in another journal or process"):
                await bridge.__aenter__()
            assert bridge.deliveries == {}
        await self.run(bridge, crm, 1)

    async def test_it_is_drained_each_time(self):
        """Having been drained once does not keep a bridge from finishing its work the next time."""
        bridge, crm = bridge_of(MemoryJournal())
        for number in (1, 2):
            async with bridge:
                await bridge.receive("plain", callback(str(number)))
        assert crm.got == ["1", "2"]


async def test_it_has_caught_up_with_nothing_to_do_and_after_a_start(any_journal):
    """`caught_up` returns once all is tried: in an empty journal, amid partitions, after a start.

    What waits for its next try does not keep it waiting, nor what a plain receiver has taken.
    """
    given: list[str] = []

    async def crm(event: Event) -> None:
        given.append(event.key)
        if event.message_id == "fails":
            raise RetryIn(3600)

    def receiver(_: object, *, event: Event) -> None:
        given.append(f"receiver {event.key}")

    for life in (1, 2):
        bridge = Bridge(journal=any_journal())
        bridge.on("message", name="crm", start="beginning")(crm)
        bridge.bus.signal(Event).connect(receiver)
        async with bridge, asyncio.timeout(PATIENCE):
            await bridge.caught_up()
            names = [f"{life}-{number}" for number in range(7)]
            for name in (*names, "fails"):
                await bridge.journal.append([message(name, user=f"+4915112345{name[-1]}")])
            await bridge.caught_up()
        keys = [message(name).key for name in names]
        assert set(keys) <= set(given)
        assert {f"receiver {key}" for key in keys} <= set(given)


class TestElsewhere:
    async def test_another_loop_is_refused_before_anything_is_kept(self):
        """A callback that is given to a bridge from another thread's loop leaves no event."""
        bridge, crm = bridge_of(MemoryJournal())
        raised: list[BaseException] = []

        def elsewhere():
            try:
                asyncio.run(bridge.receive("plain", callback("1")))
            except NotRunning as error:
                raised.append(error)

        async with bridge:
            thread = threading.Thread(target=elsewhere)
            thread.start()
            await asyncio.to_thread(thread.join)
        assert [str(error).partition(":")[0] for error in raised] == [
            "the bridge runs in another event loop"
        ]
        assert crm.got == []

    async def test_what_is_sent_from_another_loop_is_refused_before_it_is_kept(self):
        """A plain function that runs a loop of its own is told what to do, and nothing goes out."""
        bridge, crm = bridge_of(MemoryJournal())
        told = []

        @bridge.on(Event, name="plain")
        def answer(event):
            for use in (
                bridge.reply(event, "hello"),
                bridge.send("+16505551234", "hello", via="plain"),
                bridge.pause(event, for_=60),
                bridge.state(event).__aenter__(),
            ):
                try:
                    asyncio.run(use)
                except NotRunning as error:
                    told.append(str(error).partition(":")[0])

        async with bridge:
            await bridge.receive("plain", callback("1"))
            await bridge.caught_up()
            assert [state async for page in bridge.journal.states() for state in page] == []
        assert told == ["the bridge runs in another event loop"] * 4
        assert crm.got == ["1"]

    @pytest.mark.parametrize(
        "end",
        [lambda each: each.__aexit__(None, None, None), lambda each: each.drain(1)],
        ids=["left", "drained"],
    )
    async def test_it_is_not_ended_from_another_loop(self, end):
        """A teardown that runs in a loop of its own is refused, and the bridge takes and delivers.

        As where a test's fixture ends in another loop than it began in.
        """
        bridge, crm = bridge_of(MemoryJournal())

        def elsewhere():
            with pytest.raises(NotRunning, match="the bridge runs in another event loop"):
                asyncio.run(asyncio.wait_for(end(bridge), PATIENCE))

        async with bridge:
            await asyncio.to_thread(elsewhere)
            await bridge.receive("plain", callback("1"))
            await crm.until(1)

    async def test_a_thread_may_pass_callbacks_on(self):
        """What the error advises works: the bridge's own loop takes the callback."""
        bridge, crm = bridge_of(MemoryJournal())
        loop = asyncio.get_running_loop()

        def elsewhere():
            taken = bridge.receive("plain", callback("1"))
            return asyncio.run_coroutine_threadsafe(taken, loop).result(PATIENCE)

        async with bridge:
            response = await asyncio.to_thread(elsewhere)
        assert response.status == 200
        assert crm.got == ["1"]


class TestAdapters:
    def test_none_is_added_to_an_application(self):
        """An adapter that comes after the routes would never get a callback: it is refused."""
        bridge, _ = bridge_of(MemoryJournal())
        bridge.mount(web.Application())
        with pytest.raises(ConfigurationError, match="add adapter 'late' before"):
            bridge.add_adapter("late", Plain())

    async def test_none_is_added_to_a_server(self):
        """Nor does a server learn of it any more."""
        bridge, _ = bridge_of(MemoryJournal())
        async with bridge, listening(bridge.intake, ServerSettings(port=0)):
            with pytest.raises(ConfigurationError, match="add adapter 'late' before"):
                bridge.add_adapter("late", Plain())


async def test_a_start_that_is_cancelled_leaves_nothing_open(tmp_path):
    """Wherever it is cancelled, no task and no lock is left, and the next start works."""
    path = tmp_path / "journal.db"
    before = asyncio.all_tasks()
    threads = set(threading.enumerate())
    for turns in (*range(100), *(100 << n for n in range(12))):  # its threads take their time
        bridge, _ = bridge_of(SqliteJournal(path))
        starting = asyncio.create_task(bridge.__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        try:
            await starting
        except asyncio.CancelledError:
            assert not (await bridge.health()).ready
        else:
            await bridge.__aexit__(None, None, None)
            break
        async with asyncio.timeout(PATIENCE):
            while asyncio.all_tasks() - before:
                await asyncio.sleep(0.001)
    else:
        pytest.fail("it never started")
    async with SqliteJournal(path):
        pass
    # The executors of the event loop and of `bridge.process.threads` keep their threads.
    left = {each.name for each in set(threading.enumerate()) - threads}
    assert {name for name in left if not name.startswith(("asyncio_", "bridge_"))} == set()


async def test_refusals_do_not_flood_the_log(caplog):
    """Of a thousand forged callbacks in a row the log has one line."""
    bridge, _ = bridge_of(MemoryJournal())
    with caplog.at_level(logging.INFO):
        async with bridge:
            for _ in range(1000):
                with pytest.raises(NotAuthentic):
                    await bridge.receive("plain", callback("1", tail="wrong"))
    assert [record.message for record in caplog.records].count("callback refused") == 1


async def test_those_who_do_not_finish_are_ended_together(caplog):
    """Ten subscribers that ignore their cancellation are all cancelled before one is waited for."""
    turns, cancelled_in = 0, []
    entered = 0

    async def stubborn(event: Event) -> None:
        nonlocal entered
        entered += 1
        while len(cancelled_in) < 10:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled_in.append(turns)

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    bridge, _ = bridge_of(MemoryJournal(), drain_timeout=0.0)
    for number in range(10):
        bridge.on(Event, name=f"stubborn {number}")(stubborn)
    counting = asyncio.create_task(count_turns())
    async with bridge:
        await bridge.receive("plain", callback("1"))
        while entered < 10:
            await asyncio.sleep(0)
    counting.cancel()
    assert len(cancelled_in) == 10
    assert cancelled_in[-1] - cancelled_in[0] < 10  # one by one, it would be a second each
    (record,) = [record for record in caplog.records if "not finished after" in record.message]
    assert record.subscribers == [f"stubborn {number}" for number in range(10)]


def test_the_event_loop_ends_too():
    """`asyncio.run` returns although a subscriber swallows its cancellation for ever."""

    async def run() -> None:
        entered = asyncio.Event()

        async def stubborn(event: Event) -> None:
            entered.set()
            while True:
                with suppress(BaseException):
                    await asyncio.Event().wait()

        bridge, _ = bridge_of(MemoryJournal(), drain_timeout=0.0)
        bridge.on(Event, name="stubborn")(stubborn)
        async with bridge:
            await bridge.receive("plain", callback("1"))
            await entered.wait()

    asyncio.run(run())
