"""Whatever a subscriber raises, returns, swallows or cancels hurts only itself, and is told."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.delivery.functions import is_async
from bridge.journal.memory import MemoryJournal
from bridge.model import Event, Message
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings, ServerSettings
from tests.bridge.delivery.misbehaving import DELIVERED, KINDS, Released
from tests.bridge.events import message

WITHIN = 20.0  # seconds; only a test that fails ever takes that long
QUICK = DeliverySettings(
    tries=2, first_delay=0.0, max_delay=0.02, jitter=0.0, timeout=0.4, concurrency=4
)


def a_bridge(journal=None, policy=QUICK) -> Bridge:
    return Bridge(
        journal=journal or MemoryJournal(),
        policy=policy,
        server=ServerSettings(drain_timeout=0.2),
    )


async def settled(bridge: Bridge, name: str) -> None:
    """Return when a subscriber has nothing left to do."""
    async with asyncio.timeout(WITHIN):
        while True:
            (state,) = [s for s in await bridge.journal.subscribers() if s.name == name]
            if not state.lag and not state.held:
                return
            await asyncio.sleep(0.005)


def users(event: Message) -> str:
    return event.sender.phone or ""


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"blocks"}))
async def test_each_kind_is_told_and_the_next_event_comes(kind, caplog):
    """An event of each misbehaviour ends as it should, by name in the log; the next is delivered.

    The next event of the same conversation and those of others come all the same.
    """
    seen: list[str] = []
    act, released = KINDS[kind], Released()

    def plain(event):
        if event.message_id == "bad":
            return act(event, released)
        seen.append(event.message_id)
        return None

    async def waiting(event):
        if event.message_id == "bad":
            return await act(event, released)
        seen.append(event.message_id)
        return None

    bridge = a_bridge()
    bridge.on(Message, name="crm")(waiting if is_async(act) else plain)
    with caplog.at_level(logging.WARNING):
        async with bridge:
            await bridge.journal.append([message("bad"), message("next")])
            await bridge.journal.append([message(f"n{n}", user=f"+2{n:010}") for n in range(20)])
            await settled(bridge, "crm")
            letters = await bridge.journal.dead_letters()
            released.event.set()  # the loop does not end before its tasks do
    assert sorted(seen) == sorted(["next", *(f"n{n}" for n in range(20))])
    if kind in DELIVERED:
        assert letters == ()
    else:
        (letter,) = letters
        assert letter.entry.event.message_id == "bad"
        last = [r for r in caplog.records if "a dead letter" in r.getMessage()][-1]
        assert "subscriber crm" in last.getMessage()
        assert message("bad").key in last.getMessage()
        assert (
            "misbehaving.py:" in last.getMessage() or "test_misbehaviour.py:" in last.getMessage()
        )
    assert not [r for r in caplog.records if r.levelno >= logging.CRITICAL]


KIND = st.sampled_from(sorted(KINDS))


@settings(max_examples=12, deadline=None)
@given(kinds=st.lists(KIND, min_size=1, max_size=24), is_plain=st.booleans())
def test_a_sound_subscriber_gets_everything_beside_any_other(kinds, is_plain):
    """Beside a subscriber of any mix of misbehaviours, under load and over a restart.

    The sound one gets everything once and in order, the other's events end as dead letters or
    deliveries, none of our tasks ends, and leaving takes the drain limit and two seconds at most.
    """
    logging.disable(logging.ERROR)
    try:
        asyncio.run(_beside(kinds, is_plain=is_plain))
    finally:
        logging.disable(logging.NOTSET)


async def _beside(kinds, *, is_plain):
    released, got = Released(), defaultdict(list)
    acts = {str(n): KINDS[kind] for n, kind in enumerate(kinds)}
    bridge = a_bridge()

    @bridge.on(Event, name="sound", policy=DeliverySettings())
    async def sound(event):
        await asyncio.sleep(0)
        got[users(event)].append(event.message_id)

    def bad(event):
        act = acts[event.message_id]
        return None if is_plain and is_async(act) else act(event, released)

    async def bad_async(event):
        result = acts[event.message_id](event, released)
        return await result if inspect.isawaitable(result) else result

    blocking = [n for n, act in acts.items() if act is KINDS["blocks"]]
    if is_plain:
        bridge.on(Event, name="bad")(bad)
    else:
        for n in blocking:  # it would block the event loop, which is not promised to go on
            acts[n] = KINDS["hangs"]
        bridge.on(Event, name="bad")(bad_async)
    died = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: died.append(context))
    events = [message(str(n), user=f"+1{n % 5:010}") for n in range(len(kinds))]
    half = len(events) // 2
    try:
        for part in (events[:half], events[half:]):
            await bridge.__aenter__()
            await bridge.journal.append(part)
            if part is not events[:half]:
                await settled(bridge, "sound")
                if not (is_plain and blocking):
                    await settled(bridge, "bad")
            async with asyncio.timeout(0.2 + 2.0):
                await bridge.__aexit__(None, None, None)
        released.event.set()
        async with bridge:
            await settled(bridge, "bad")
    finally:
        released.event.set()
    for lane in got:
        assert got[lane] == [e.message_id for e in events if users(e) == lane]
    assert sum(map(len, got.values())) == len(events)
    assert died == []
