"""The bridge itself: it owns the journal, the bus, the adapters and the deliveries.

`Bridge.receive` verifies and parses a callback, makes its events durable, and only then responds.
Subscribers read the journal at their own speed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    contextmanager,
)
from contextvars import Context, ContextVar, copy_context
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from yarl import URL

from bridge import assembly, installed
from bridge.adapter import Adapter, Callback, MediaSource, Response, Sender
from bridge.adapter.signing import Network
from bridge.delivery import Delivery
from bridge.delivery.catching_up import caught_up
from bridge.delivery.receivers import Receivers
from bridge.delivery.subscriber import Function
from bridge.delivery.subscribers import Subscribers
from bridge.delivery.transactions import in_transaction
from bridge.errors import ConfigurationError, NotRunning
from bridge.ingress.embedding import Embedded
from bridge.ingress.intake import Intake
from bridge.installed import journal_of
from bridge.journal.protocol import Health, Journal, SharedJournal, Start
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Event
from bridge.observer import Observer, Observers
from bridge.ops.audit import Audit
from bridge.ops.operators import Operators
from bridge.outbox.client import Sends
from bridge.outbox.conversations import Conversations
from bridge.outbox.ways import NAME
from bridge.process import logs
from bridge.process.clock import Clock
from bridge.process.forked import end_in, forks
from bridge.settings import (
    DeliverySettings,
    OutboxSettings,
    PaceSettings,
    ServerSettings,
    Settings,
    Stale,
)

_PLAIN: Final = DeliverySettings(tries=1)  # for plain receivers
_log: Final = logging.getLogger(__name__)
_current: Final[ContextVar[Bridge]] = ContextVar("bridge")


class Bridge(Subscribers, Conversations, Embedded):
    """Takes callbacks, keeps their events, and hands them to subscribers.

    An async context manager: subscribe first, then enter, then `receive`. Without a `journal`
    events are kept in `bridge.db` in the working directory. `policy` is for subscribers that
    bring none of their own. On leaving, what is under way gets `server.drain_timeout` to end.
    """

    def __init__(
        self,
        *,
        journal: Journal | None = None,
        policy: DeliverySettings | None = None,
        server: ServerSettings | None = None,
        outbox: OutboxSettings | None = None,
    ) -> None:
        assembly.check_parts(journal, policy=policy, server=server, outbox=outbox)
        Subscribers.__init__(self, DeliverySettings() if policy is None else policy)
        journal = SqliteJournal("bridge.db") if journal is None else journal
        Conversations.__init__(self, journal, OutboxSettings() if outbox is None else outbox)
        self.server = ServerSettings() if server is None else server
        self.settings = Settings(server=self.server)
        self._deliveries: dict[str, Delivery] = {}
        self._is_drained = False
        self._has_outbox = False
        self._observers = Observers(Audit())
        self._unobserved = Observers()  # of plain receivers, which are watched in rehearsals only
        self._running_observers: list[AbstractAsyncContextManager[object]] = []
        self._entered_in: asyncio.AbstractEventLoop | None = None
        self._stack = AsyncExitStack()
        self._forked = ExitStack()
        self._receivers = Receivers(self.bus, self._plain_delivery)
        self.intake = Intake(self.journal, self._observers, self._receivers)
        self.operators = Operators(
            self.journal,
            self.bus,
            self._deliveries,
            self.intake,
            observers=self._observers,
            outbox=self._outbox,
        )

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Make a bridge as a TOML file describes it. Raises `ConfigurationError`."""
        return cls.from_settings(installed.read(path))

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make a bridge with everything that the settings name.

        Raises `ConfigurationError` with every adapter that refuses its settings and every
        subscriber whose function cannot be imported.
        """
        bridge = cls(
            journal=journal_of(settings.journal),
            policy=settings.delivery,
            server=settings.server,
            outbox=settings.outbox,
        )
        bridge.settings = settings
        assembly.assemble(settings, bridge)
        return bridge

    # --- who takes part ------------------------------------------------------------------

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """Return the configured adapters by name."""
        return self.intake.adapters

    def add_adapter(
        self,
        name: str,
        adapter: Adapter,
        *,
        domain: str | None = None,
        believe_unsigned: bool = False,
        max_age: float | None = None,
        stale: Stale = "mark",
        accounts: Collection[str] = (),
        allow_networks: Sequence[Network] = (),
        pace: Mapping[str, PaceSettings] = MappingProxyType({}),
    ) -> None:
        """Take callbacks for `name` with this adapter, from these networks only if any are given.

        Its events are of the trust domain `domain`, by default one of the adapter's own: adapters
        that share one may tell of the same messages and users. An event that is dated
        more than `max_age` seconds before it came, imports of history apart, is marked
        (`Event.stale`), or with `stale="unrecognized"` its body is kept as `Unrecognized`. With
        `accounts`, so are bodies with events of other accounts. `pace` is how fast messages go out,
        by the name of a channel or an account.

        Raises `ConfigurationError` where the name is taken, and where an adapter that verifies no
        signatures shares the domain of one that does without `believe_unsigned`.
        """
        self.intake.add(
            name,
            adapter,
            allow_networks,
            domain=domain,
            believe_unsigned=believe_unsigned,
            max_age=max_age,
            stale=stale,
            accounts=accounts,
        )
        self._outbox.ways.add(name, adapter, self.intake.domain_of(name), pace)
        self._outbox.windows.add(name, adapter)
        self._sources[name] = adapter
        self._serve_outbox()

    def send_through(self, name: str, sender: Sender) -> None:
        """Send an adapter's messages through another sender than its own, as in a rehearsal."""
        self._outbox.ways.put(name, sender, self.intake.domain_of(name))
        self._serve_outbox()

    def fetch_through(self, name: str, source: MediaSource | None, origin: str) -> None:
        """Fetch the files of an adapter's messages through another source than the adapter.

        `origin` is where a simulated provider keeps files, which need not be a public address.
        """
        self._downloads.origins.add(URL(origin).origin())
        if source is not None:
            self._sources[name] = source

    def _serve_outbox(self) -> None:
        if self._outbox.ways and not self._has_outbox:
            self._has_outbox = True
            for subscriber in self._outbox.dispatch.subscribers():
                self.bus.add(subscriber)
                self._policies[subscriber.name] = (self._outbox.dispatch.policy, Start.END)

    def observe(self, observer: Observer) -> None:
        """Let an observer see every callback and every attempt to deliver, from now on.

        One that is an async context manager too runs while the bridge does. Raises
        `ConfigurationError` where that runs already, and for what is no observer.
        """
        running = observer if isinstance(observer, AbstractAsyncContextManager) else None
        if running is not None and self._is_running:
            raise ConfigurationError("an observer that has to run comes before the start")
        self._observers.add(observer)
        if running is not None:
            self._running_observers.append(running)

    @contextmanager
    def rehearsing(
        self,
        journal: Journal,
        clock: Clock,
        sends: Sends,
        observer: Observer,
        senders: Mapping[str, Sender],
    ) -> Iterator[None]:
        """Use another journal, clock and HTTP client in the block, and one more observer.

        `senders` are for adapters that have none of their own. The observer sees the attempts of
        plain receivers too. Raises `ConfigurationError` where the bridge runs.
        """
        if self._is_running:
            raise ConfigurationError("the bridge runs already: test it while it does not")
        before = self.journal, self._clock, self._outbox.dispatch.sends
        self._use(journal, clock, sends)
        watched = self._observers, self._unobserved
        for observers in watched:
            observers.add(observer)
        for name, sender in senders.items():
            self.send_through(name, sender)
        try:
            yield
        finally:
            for name in senders:
                self._outbox.ways.remove(name)
            for observers in watched:
                observers.remove(observer)
            self._use(*before)

    def _use(self, journal: Journal, clock: Clock, sends: Sends) -> None:
        self.journal = self.intake.journal = self.operators.journal = journal
        dispatch = self._outbox.dispatch
        dispatch.journal, dispatch.sends = journal, sends
        self._clock = dispatch.clock = clock
        dispatch.ways.forget_limits()

    # --- running -------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the journal and start serving the subscribers. Raises `JournalError`.

        A bridge that has ended may start again, also in another event loop; so may one whose
        loop was closed before it, which it says.
        """
        if self._entered_in is not None:
            if not self._entered_in.is_closed():
                raise ConfigurationError("the bridge runs already")
            _log.critical("the bridge's event loop was closed before it, which now begins anew")
            self._has_stopped()
        self._entered_in = asyncio.get_running_loop()  # nothing else may start it meanwhile
        try:
            await self._start()
        except BaseException:
            self._entered_in = None
            raise
        return self

    async def _start(self) -> None:
        logs.guard()
        self._deliveries.clear()
        self._is_drained = False
        async with AsyncExitStack() as stack:
            for observer in self._running_observers:
                await stack.enter_async_context(observer)
            await stack.enter_async_context(self.journal)
            await stack.enter_async_context(self._outbox.dispatch)
            await stack.enter_async_context(self._downloads)
            for subscriber in self.bus.subscribers:
                function: object = subscriber.function
                if isinstance(function, AbstractAsyncContextManager):
                    await stack.enter_async_context(function)
            if not all(each.when_paused for each in self.bus.subscribers):
                await stack.enter_async_context(self._pauses)
            loop = asyncio.get_running_loop()
            self._forked.enter_context(forks.letting_go(partial(end_in, loop)))
            stack.callback(self._has_stopped)
            stack.push_async_callback(self._close_deliveries)
            for subscriber in self.bus.subscribers:
                policy, start = self._policies[subscriber.name]
                cursor = await self.journal.subscribe(subscriber.name, start=start)
                function = subscriber.function
                if subscriber.transaction:
                    function = in_transaction(subscriber.name, function, cursor)
                delivery = self._subscribers_context().run(
                    Delivery,
                    subscriber.name,
                    function,
                    cursor,
                    wants=subscriber.wants,
                    policy=policy,
                    observers=self._observers,
                    request_id_of=self.intake.request_ids.get,
                    clock=self._clock,
                    gather=subscriber.gather,
                    pauses=None if subscriber.when_paused else self._pauses,
                    in_transactions=subscriber.transaction,
                )
                if subscriber.name == NAME:
                    self._outbox.dispatch.serve_with(delivery)
                self._deliveries[subscriber.name] = delivery
            self._loop = loop  # a function may use the bridge from its first event on
            if isinstance(self.journal, SharedJournal):  # what it is given to serve may hold events
                self.journal.watch(self._wake)
            for delivery in self._deliveries.values():
                await delivery.__aenter__()
            await stack.enter_async_context(self._receivers)
            for doubt in assembly.doubts(self.bus.subscribers, self.adapters.values()):
                _log.warning("%s", doubt)
            self.intake.open()
            self._stack = stack.pop_all()

    def _has_stopped(self) -> None:
        self._loop = None
        self._forked.close()

    async def _close_deliveries(self) -> None:
        # All at once: each waits a moment for functions that do not end.
        closing = (each.__aexit__(None, None, None) for each in self._deliveries.values())
        await asyncio.gather(*closing)

    def _subscribers_context(self) -> Context:
        """Return a context in which this bridge is the current one."""
        context = copy_context()
        context.run(_current.set, self)
        return context

    async def _plain_delivery(
        self, name: str, function: Function, wants: Callable[[Event], bool]
    ) -> Delivery:
        cursor = await self.journal.follow()
        return self._subscribers_context().run(
            Delivery,
            name,
            function,
            cursor,
            wants=wants,
            policy=_PLAIN,
            observers=self._unobserved,
            request_id_of=self.intake.request_ids.get,
            is_plain=True,
            clock=self._clock,
        )

    async def _wake(self, subscriber: str) -> None:
        delivery = self._deliveries.get(subscriber)
        if delivery is not None:
            await delivery.wake()

    async def __aexit__(self, *_: object) -> None:
        """Finish what is under way, for at most `drain_timeout` seconds, and stop.

        Raises `NotRunning` in another event loop.
        """
        self._refuse_elsewhere()
        self.intake.close()
        if self._entered_in is None:
            return
        if self._entered_in.is_closed():  # and whatever there was to leave went with it
            self._entered_in = None
            self._has_stopped()
            return
        stack, self._entered_in = self._stack.pop_all(), None
        try:
            await self.drain(self.server.drain_timeout)
        finally:
            await stack.aclose()

    async def drain(self, within: float) -> None:
        """Let subscribers finish what they are at work on, for at most so many seconds.

        They are given nothing new from now on, unless the journal is in memory: what that holds
        would be lost, so they are given all of it. Then leaving the bridge waits no more.
        """
        self._refuse_elsewhere()
        if self._is_drained:
            return
        self._is_drained = True
        try:
            async with asyncio.timeout(within):
                await self._receivers.opened()
                outbox = self._deliveries.get(NAME)
                await self._drain(each for each in self._served if each is not outbox)
                # Last, since the others may have sent something meanwhile.
                await self._drain(() if outbox is None else (outbox,))
        except TimeoutError:
            late = self.at_work
            _log.warning(
                "not finished after %g seconds: %s",
                round(within, 1),
                ", ".join(f"{name} with {', '.join(keys)}" for name, keys in late.items())
                or "some subscribers",
                extra={"subscribers": sorted(late)},
            )

    async def caught_up(self) -> None:
        """Return when every event so far has been tried, and what failed waits for its next try.

        Where processes share a journal, also those that another process is given.
        """
        await self._receivers.opened()
        await caught_up(self.journal, self._deliveries.values(), self._receivers.deliveries)

    async def _drain(self, deliveries: Iterable[Delivery]) -> None:
        up_to = None if self.journal.durable else (await self.journal.follow()).position
        await asyncio.gather(*(each.drain(up_to=up_to) for each in deliveries))

    @property
    def _served(self) -> Sequence[Delivery]:
        return (*self._deliveries.values(), *self._receivers.deliveries)

    @property
    def at_work(self) -> Mapping[str, Sequence[str]]:
        """Return which subscribers are at work now, and the keys of their events."""
        return {each.name: each.at_work for each in self._served if each.at_work}

    def receive(self, name: str, callback: Callback, /) -> Coroutine[Any, Any, Response]:
        """Take a callback for an adapter: return its reply once its events are durable.

        Raises `UnknownAdapter`, `MethodRefused`, `NotAuthentic`, `MalformedBody` or `NotRunning`,
        and then nothing of the callback has been kept; and `JournalError` where nobody knows that
        its events are durable: received again, each comes out once. An adapter that fails on an
        authentic body loses nothing: the whole body becomes an `Unrecognized`.
        """
        return self.intake.receive(name, callback)

    @classmethod
    def current(cls) -> Bridge:
        """Return the bridge whose subscriber calls this, for one that `bridge serve` runs.

        Raises `NotRunning` elsewhere.
        """
        bridge = _current.get(None)
        if bridge is None:
            raise NotRunning("no bridge has called this: only its subscribers have a current one")
        return bridge

    # --- for operators -------------------------------------------------------------------

    @property
    def deliveries(self) -> Mapping[str, Delivery]:
        """Return the deliveries that run, by their subscribers' names."""
        return MappingProxyType(self._deliveries)

    async def health(self) -> Health:
        """Return whether a callback would be taken now."""
        return await self.intake.health()
