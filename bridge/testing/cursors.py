# ruff: noqa: S101 - this is a suite: asserting is what it does
"""What every subscriber's cursor must do over restarts, as tests; a part of `JournalContract`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import attrs
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bridge.journal.protocol import Cursor, Entry, Held, Journal, Retry, Settlement
from bridge.journal.query import Query
from bridge.testing.operators import Suite
from bridge.testing.sample_events import ANNE, BERT, ids, message

_PATIENCE: Final = 30.0  # seconds
_PLENTY: Final = 1000
_HISTORIES: Final = itertools.count()

_few: Final = st.lists(st.sampled_from((2, 1, 0)), min_size=2, max_size=4)


@attrs.frozen
class _Round:
    """What happens in turn: whose messages come, how many are read, and what becomes of entries.

    Of what is under way, and of what is held, 0 stands for done; 1 and 2 are below.
    """

    users: Sequence[int]
    limit: int = attrs.field(kw_only=True)
    verdicts: Sequence[int] = attrs.field(kw_only=True)
    tries: Sequence[int] = attrs.field(kw_only=True)
    restarts: bool = attrs.field(kw_only=True)


_ROUNDS: Final = st.lists(
    st.builds(
        _Round,
        users=st.lists(st.sampled_from((0, 1)), min_size=1, max_size=3),
        limit=st.sampled_from((3, 2, 1)),
        verdicts=_few,
        tries=_few,
        restarts=st.sampled_from((True, False)),
    ),
    min_size=1,
    max_size=5,
)


@attrs.define
class _Subscriber:
    """A subscriber that settles as a delivery does, and knows what it has yet to be given."""

    journal: Journal
    cursor: Cursor
    name: str
    appended: int = 0
    to_come: list[str] = attrs.field(factory=list)  # messages that it has to be given yet
    under_way: list[Entry] = attrs.field(factory=list)
    held: dict[str, Held] = attrs.field(factory=dict)
    done: set[str] = attrs.field(factory=set)

    async def append(self, users: Sequence[int]) -> None:
        """Append a message of each of these users."""
        for user in users:
            self.appended += 1
            name = f"{self.name}-{self.appended:02}"
            self.to_come.append(name)
            await self.journal.append([message(name, phone=(ANNE, BERT)[user])])

    async def read(self, limit: int) -> None:
        """Read once: in order, and nothing twice but what was done beyond the position."""
        for entry in await self.cursor.read(limit):
            (name,) = ids([entry])
            assert name in self.done or self.to_come.pop(0) == name
            self.under_way.append(entry)

    async def settle(
        self, verdicts: Sequence[int], *released: int, held: Sequence[Held] = ()
    ) -> None:
        """Be done with entries, or (1) have them held, or (2) leave them under way."""
        left, holds = self.under_way[len(verdicts) :], list(held)
        for verdict, entry in zip(verdicts, self.under_way, strict=False):
            (name,) = ids([entry])
            if verdict == 0:
                self.done.add(name)
            elif verdict == 1:
                self.done.discard(name)
                holds.append(Held(entry=entry, retry=Retry(due_at=0.0)))
            else:
                left.append(entry)
        self.under_way = sorted(left, key=lambda entry: entry.position)
        first = min((entry.position - 1 for entry in self.under_way), default=self.cursor.reached)
        await self.cursor.settle(Settlement(position=first, held=holds, released=released))
        self.held |= {ids([each.entry])[0]: each for each in holds}

    async def try_again(self, verdicts: Sequence[int]) -> None:
        """Be done with what is held, or have it held with another try, which (1) had begun."""
        released, again = [], []
        for verdict, name in zip(verdicts, sorted(self.held), strict=False):
            held = self.held.pop(name)
            if verdict == 0:
                self.done.add(name)
                released.append(held.entry.position)
            else:
                tries, begun = held.retry.tries + 1, verdict == 1
                retry = attrs.evolve(held.retry, tries=tries, begun=begun)
                again.append(attrs.evolve(held, retry=retry))
        await self.settle((), *released, held=again)

    def restarted(self, journal: Journal, cursor: Cursor) -> None:
        """Go on with another cursor: what was under way comes again."""
        again = {name for name in ids(self.under_way) if name not in self.done}
        self.to_come = sorted({*self.to_come, *again})
        self.under_way = []
        self.journal, self.cursor = journal, cursor

    async def find_held(self) -> None:
        """Find held what was held, with its tries, once this process is given its lanes."""
        while await self._found() != self.held:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)

    async def _found(self) -> dict[str, Held]:
        lanes = await self.cursor.waiting()
        found = [each for lane in lanes for each in await self.cursor.held(lane, _PLENTY)]
        return {ids([each.entry])[0]: each for each in found}

    async def finish(self) -> None:
        """Take everything, and be done with it: nothing lags any more."""
        (last,) = await self.journal.search(Query(limit=1, newest_first=True))
        while self.cursor.reached < last.position:
            await self.read(_PLENTY)
        assert self.to_come == []
        await self.settle([0] * len(self.under_way))
        await self.try_again([0] * len(self.held))
        while await self._lag():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)

    async def _lag(self) -> int:
        states = {each.name: each for each in await self.journal.subscribers()}
        return states[self.name].lag + states[self.name].held


class CursorContract(Suite):
    """The part of the suite about what a subscriber is given once, and what not at all."""

    @settings(
        max_examples=10,  # a restart may take seconds
        deadline=None,
        suppress_health_check=[
            *(HealthCheck.differing_executors, HealthCheck.function_scoped_fixture),
            HealthCheck.too_slow,
        ],
    )
    @given(rounds=_ROUNDS)
    @example(rounds=[_Round([0, 1, 0], limit=3, verdicts=[2, 1], tries=[], restarts=True)])
    @example(
        rounds=[
            _Round([0, 1], limit=3, verdicts=[2, 1], tries=[1], restarts=True),
            _Round([0, 1], limit=1, verdicts=[0], tries=[1, 0], restarts=True),
        ]
    )
    def test_held_beyond_the_position(self, tmp_path: Path, rounds: Sequence[_Round]) -> None:
        """Whatever is held, also beyond the position, is held after a restart, and read no more.

        Everything else that is not done is read, in order, and in the end nothing lags.
        """
        asyncio.run(self._go(tmp_path, rounds))

    async def _go(self, place: Path, rounds: Sequence[_Round]) -> None:
        name = f"law{next(_HISTORIES)}"
        async with asyncio.timeout(_PATIENCE), AsyncExitStack() as stack:
            journal = await stack.enter_async_context(self.make_journal(place))
            subscriber = _Subscriber(journal, await journal.subscribe(name), name)
            for each in rounds:
                await subscriber.append(each.users)
                if subscriber.to_come:
                    await subscriber.read(each.limit)
                await subscriber.settle(each.verdicts)
                await subscriber.try_again(each.tries)
                if each.restarts:
                    if journal.durable:
                        await stack.aclose()
                        journal = await stack.enter_async_context(self.make_journal(place))
                    subscriber.restarted(journal, await journal.subscribe(name))
                    await subscriber.find_held()
            await subscriber.finish()
            await journal.forget(name)
