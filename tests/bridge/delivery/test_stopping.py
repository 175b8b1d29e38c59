"""A subscriber that asks for nothing more: nothing is lost, and nobody waits for it."""

from __future__ import annotations

import pytest

from bridge import Bridge, MemoryJournal, Message, RetryIn, SqliteJournal, Stop
from bridge.testing import TestBridge, sample

ANNE, BERT = "+16505551234", "+16505559876"


def text(words: str, phone: str = ANNE) -> Message:
    return sample("whatsapp/text", text=words, phone=phone)


async def test_it_gets_nothing_more(caplog):
    """Neither its conversation nor another one comes after Stop, and one line says why."""
    got = []
    bridge = Bridge()

    @bridge.on(Message, name="stops")
    async def stop(message: Message) -> None:
        got.append(message.content.text)
        raise Stop("the shop is closed")

    others = []
    bridge.on(Message, name="goes on")(lambda message: others.append(message.content.text))
    async with TestBridge(bridge) as test:
        with pytest.raises(Stop):
            await test.publish(text("one"), text("two"))
        await test.publish(text("three", BERT))
        await test.sleep("1d")
        states = {each.name: each for each in await bridge.journal.subscribers()}
    assert got == ["one"]
    assert others == ["one", "two", "three"]
    assert states["stops"].lag + states["stops"].held == 3
    lines = [line for line in caplog.messages if "given nothing more" in line]
    told = "subscriber stops is given nothing more until the bridge starts again"
    assert lines == [f"{told}: Stop: the shop is closed"]


@pytest.mark.parametrize("journal", ["memory", "sqlite"])
async def test_it_goes_on_at_the_next_start(journal, tmp_path):
    """What has waited comes in order when the bridge starts again, without a failed try."""
    kept = MemoryJournal() if journal == "memory" else SqliteJournal(tmp_path / "bridge.db")
    is_open = False
    got = []
    bridge = Bridge(journal=kept)

    @bridge.on(Message, name="stops")
    async def stop(message: Message) -> None:
        if not is_open:
            raise Stop
        got.append(message.content.text)

    async with bridge:
        await bridge.journal.append([text("one"), text("two"), text("three", BERT)])
    is_open = True
    async with bridge:
        await bridge.caught_up()
        assert await kept.dead_letters() == ()
    assert sorted(got) == ["one", "three", "two"]
    assert got.index("one") < got.index("two")


async def test_a_retry_may_stop_too():
    """Stop at a later try leaves the event with the tries that it had."""
    tries = []
    bridge = Bridge()

    @bridge.on(Message, name="stops")
    async def stop(message: Message) -> None:
        tries.append(message.key)
        raise RetryIn(5) if len(tries) == 1 else Stop()

    async with TestBridge(bridge) as test:
        with pytest.raises(RetryIn):
            await test.publish(text("one"))
        with pytest.raises(Stop):
            await test.sleep("1h")
        assert len(tries) == 2
        (page,) = [page async for page in bridge.journal.unsettled("stops") if page]
        assert [held.retry.tries for held in page] == [1]
