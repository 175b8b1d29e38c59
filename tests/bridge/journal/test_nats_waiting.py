"""Events that wait on NATS: for any process to publish, once, and gone from the stream then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from bridge.journal.nats import NatsJournal
from bridge.journal.nats.settings import NatsSettings
from bridge.journal.protocol import Appended, Entry, Start
from bridge.model import Message, Party
from bridge.testing.sample_events import read
from tests.bridge.journal.accounts import poorly, told
from tests.bridge.journal.nats_servers import NatsServer

ANNE = "+4917012345678"


@pytest.fixture
def make(nats: NatsServer, tmp_path: Path):
    def make() -> NatsJournal:
        settings = NatsSettings(servers=(nats.url,), stream=tmp_path.name, partitions=1)
        return NatsJournal(settings)

    return make


def now(message: Message, **fields) -> Message:
    return attrs.evolve(message, received_at=datetime.now(UTC), **fields)


def poor(number: str, phone: str = ANNE, *, settle: float = 30.0) -> Message:
    account = poorly(told(f"wamid.{number}", party=Party(phone=phone)), f"90{number}")
    return now(account, settle=settle)


async def published(journal: NatsJournal, count: int) -> Sequence[Entry]:
    return await read(await journal.follow(start=Start.BEGINNING), count)


def ids(entries: Sequence[Entry]) -> list[str]:
    return [entry.event.message_id for entry in entries]


async def waiting(journal: NatsJournal) -> int:
    """Return how many messages of queues the stream holds."""
    subject = f"{journal._names.waiting}*"
    return len(await journal._broker.next_of(journal._names.stream, subject, 1, 1000))


async def crash(journal: NatsJournal) -> None:
    """Stop everything at once, as a process that is killed."""
    for task in journal._tasks:
        task.cancel()
    await asyncio.gather(*journal._tasks, return_exceptions=True)


async def test_another_process_publishes_what_a_dead_one_left(make):
    """What waits when its process dies is published in time by one that lives."""
    async with make() as dies:
        await dies.append([poor("1", settle=0.2), told("wamid.2", party=Party(phone=ANNE))])
        await crash(dies)
        async with make() as lives:
            assert ids(await published(lives, 2)) == ["wamid.1", "wamid.2"]


async def test_what_has_waited_is_gone(make):
    """Once it is published, nothing of a queue stays in the stream, and none comes back."""
    full = told("wamid.1", party=Party(phone=ANNE))
    async with make() as journal:
        await journal.append([poor("1"), told("wamid.2", party=Party(phone=ANNE))])
        assert await waiting(journal)
        await journal.append([full])
        await journal.append([poor("3", "+4917099999999")])
    async with make() as journal:
        await until_gone(journal, 1)
        await journal.append([told("wamid.3", party=Party(phone="+4917099999999"))])
    async with make() as journal:
        await until_gone(journal, 0)
        assert ids(await published(journal, 3)) == ["wamid.1", "wamid.2", "wamid.3"]
        assert await journal.append([poor("1"), full]) == Appended(published=0, duplicates=2)


async def until_gone(journal: NatsJournal, left: int) -> None:
    async with asyncio.timeout(20):
        while await waiting(journal) > left:
            await asyncio.sleep(0.01)


async def test_two_processes_publish_it_once(make):
    """Both know when a queue is due, and one of them publishes it."""
    async with make() as one, make() as two:
        await one.append([poor("1", settle=0.5)])
        behind = told("wamid.2", party=Party(phone=ANNE))
        assert await two.append([behind]) == Appended(published=1, duplicates=0)
        assert ids(await published(one, 2)) == ["wamid.1", "wamid.2"]
        again = await asyncio.gather(one.append([poor("1")]), two.append([poor("1"), behind]))
        await one.append([told("wamid.3", party=Party(phone=ANNE))])
        assert [each.published for each in again] == [0, 0]
        assert ids(await published(two, 3)) == ["wamid.1", "wamid.2", "wamid.3"]


async def test_the_accounts_come_to_two_processes(make):
    """The full account ends the waiting of a poor one that another process took."""
    async with make() as one, make() as two:
        await one.append([poor("1", settle=0.3)])
        full = told("wamid.1", party=Party(phone=ANNE, name="Ana"))
        assert await two.append([full]) == Appended(published=0, duplicates=1)
        (entry,) = await published(one, 1)
        assert (entry.event.sender, entry.event.aliases) == (full.sender, ("901",))
        await two.append([poor("2", settle=0.3)])  # due after what the first one knows of
        assert ids(await published(two, 2)) == ["wamid.1", "wamid.2"]


async def test_nothing_is_published_before_its_time(make):
    """A process that remembers an earlier queue of a lane does not hurry the next one."""
    async with make() as one, make() as two:
        await one.append([poor("1", settle=0.3)])
        await two.append([told("wamid.1", party=Party(phone=ANNE))])
        await two.append([poor("2", settle=30.0)])
        await one.append([poor("3", "+4917099999999", settle=0.6)])  # due after the first was
        assert ids(await published(two, 2)) == ["wamid.1", "wamid.3"]
        assert await two.find(poor("2").key) is None


async def test_more_than_the_server_takes_as_one(make):
    """An append that changes a thousand things is written in parts, and comes out whole."""
    phones = [f"+49170{number:07}" for number in range(128)]
    first = [now(told(f"wamid.a{p}", party=Party(user_id=f"DE.{p}"))) for p in phones]
    second = [now(told(f"wamid.b{p}", party=Party(phone=p))) for p in phones]
    joins = [
        now(
            told(f"wamid.c{p}", party=Party(phone=p, user_id=f"DE.{p}")), aliases=(f"7{p}", f"8{p}")
        )
        for p in phones
    ]
    async with make() as journal:
        await journal.append(first)
        await journal.append(second)
        appended = await journal.append(joins)
        entries = await published(journal, 4 * 128)
    assert appended == Appended(published=128, duplicates=0)
    assert len({entry.event.key for entry in entries}) == 4 * 128
