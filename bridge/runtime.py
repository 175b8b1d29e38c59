"""The bridge itself: it owns the journal, the bus, the adapters and the deliveries.

A callback's way is told by `Bridge.receive`: verify, parse, make durable, and only then reply.
Subscribers are served from the journal, on their own time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from contextvars import Context, ContextVar, copy_context
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, TypedDict, TypeVar, Unpack, overload

from aiohttp import web
from yarl import URL

from bridge import assembly
from bridge.adapter import Adapter, Callback, Control, MediaSource, Response, Sender
from bridge.adapter.signing import Network
from bridge.assembly import journal_of, subscriber_of
from bridge.clock import SYSTEM_CLOCK, Clock
from bridge.delivery import Delivery
from bridge.delivery.bus import Bus
from bridge.delivery.functions import name_of
from bridge.delivery.pauses import Pauses
from bridge.delivery.receivers import Receivers
from bridge.delivery.state import TIME_TO_LIVE, Remembered, States
from bridge.delivery.subscriber import Function, Subscriber, check_options, serving_problems
from bridge.delivery.transactions import in_transaction
from bridge.errors import ConfigurationError, NotRunning, Problem, Unfetchable
from bridge.ingress import request_id
from bridge.ingress.asgi import Application, AsgiApplication
from bridge.ingress.intake import Intake
from bridge.ingress.request_id import RequestIds
from bridge.ingress.web import mount
from bridge.journal.protocol import Health, Journal, SharedJournal, Start
from bridge.journal.sqlite import SqliteJournal
from bridge.model import Content, Conversation, Direction, Event, Media, Message, Origin, Party
from bridge.observer import Observer, Observers
from bridge.ops.audit import Audit
from bridge.ops.operators import Operators
from bridge.ops.tracing import Tracing
from bridge.outbox.client import Sends
from bridge.outbox.composing import Answering, Asking
from bridge.outbox.keeping import Keeper
from bridge.outbox.media import MAX_SIZE, Downloads, File, Progress
from bridge.outbox.outbox import NAME, Outbox
from bridge.outbox.sending import Sending
from bridge.settings import DeliverySettings, OutboxSettings, ServerSettings, Settings, load

E = TypeVar("E", bound=Event)
E2 = TypeVar("E2", bound=Event)
E3 = TypeVar("E3", bound=Event)
C = TypeVar("C", bound=Content)
C2 = TypeVar("C2", bound=Content)
C3 = TypeVar("C3", bound=Content)
R = TypeVar("R")
T = TypeVar("T", bound=Callable[[Any, Any], Awaitable[object]])

_Contents: TypeAlias = type[Content] | tuple[type[Content], ...] | None

_PLAIN: Final = DeliverySettings(tries=1)  # for plain receivers
_log: Final = logging.getLogger(__name__)


class Options(TypedDict, total=False):
    """What may be said of a subscriber; see `Bridge.on`.

    With `channel`, `account`, `source` (an adapter's name), `domain`, `direction` or `origin`,
    only events of that one come; with `completions` also what completes an earlier message.
    `owned` is True for messages that are ours to answer, False for the copies of what another
    responder answers, None for both. Without it, `on(Message)` gets what is ours and `on(Event)`
    gets both; what was a copy at first comes once it is ours. `when_paused` is True for users'
    messages in paused conversations too, which `on(Event)` gets. Progress is kept under `name`.
    `start` is "end" or "beginning". `policy` bounds tries, waits and time.
    """

    channel: str | None
    account: str | None
    source: str | None
    domain: str | None
    completions: bool
    owned: bool | None
    when_paused: bool
    direction: Direction | str | None
    origin: Origin | str | None
    name: str | None
    start: Start | str
    policy: DeliverySettings | None


_current: Final[ContextVar[Bridge]] = ContextVar("bridge")


class Bridge:
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
        self.bus = Bus()
        self.journal: Journal = SqliteJournal("bridge.db") if journal is None else journal
        self.server = ServerSettings() if server is None else server
        self.settings = Settings(server=self.server)
        self._policy = DeliverySettings() if policy is None else policy
        self._outbox = Outbox(self.journal, outbox or OutboxSettings())
        self._downloads = Downloads(self._outbox.client)
        self._file_sources: dict[str, MediaSource] = {}
        self._pauses = Pauses(
            lambda: self.journal,
            lambda: self._clock,
            (outbox or OutboxSettings()).pause_for_agents,
        )
        self._states = States(lambda: self.journal, lambda: self._clock)
        self._policies: dict[str, tuple[DeliverySettings, Start]] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._clock = SYSTEM_CLOCK
        self._is_drained = False
        request_ids = RequestIds()
        self._observers = Observers(request_ids, Audit())
        self._unobserved = Observers(request_ids)  # plain receivers have ids, and nothing else
        self._running_observers: list[AbstractAsyncContextManager[object]] = []
        self._stack: AsyncExitStack | None = None
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
        return cls.from_settings(
            load(
                path,
                assembly.settings_class,
                installed=assembly.installed(),
                engines=assembly.engines(),
            )
        )

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
        if settings.tracing.enabled:
            bridge.observe(Tracing.exporting())
        problems: list[Problem] = []
        for name, entry in settings.adapters.items():
            try:
                adapter = assembly.load(entry.type)(name, entry.settings)
                bridge.add_adapter(
                    name,
                    adapter,
                    domain=entry.domain,
                    believe_unsigned=entry.believe_unsigned,
                    max_age=entry.max_age,
                    allow_networks=entry.allow_networks,
                )
            except ConfigurationError as error:
                problems += settings.locate(f"adapters.{name}", error)
        for name, wanted in settings.subscribers.items():
            try:
                bridge.subscribe(
                    subscriber_of(wanted, bridge.media_keeper),
                    start=Start(wanted.start),
                    policy=wanted.delivery,
                )
            except ConfigurationError as error:
                problems += settings.locate(f"subscribers.{name}", error)
        if problems:
            raise ConfigurationError(tuple(problems))
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
        allow_networks: Sequence[Network] = (),
    ) -> None:
        """Take callbacks for `name` with this adapter, from these networks only if any are given.

        Its events are of the trust domain `domain`, by default one of the adapter's own: adapters
        that share one may tell of the same messages and users. An event that is dated more than
        `max_age` seconds before it came is kept as `Unrecognized`, imports of history apart.

        Raises `ConfigurationError` where the name is taken, and where an adapter that verifies no
        signatures shares the domain of one that does without `believe_unsigned`.
        """
        if isinstance(adapter, type) or not isinstance(adapter, Adapter):
            raise ConfigurationError(f"adapter {name!r}: expected an adapter, not its class")
        self.intake.add(
            name,
            adapter,
            allow_networks,
            domain=domain,
            believe_unsigned=believe_unsigned,
            max_age=max_age,
        )
        self._outbox.ways.add(name, adapter, self.intake.domain_of(name))
        self._outbox.windows.add(name, adapter)
        self._serve_outbox()

    def send_through(self, name: str, sender: Sender) -> None:
        """Send for an adapter through this, in the place of its own sender, as in a rehearsal."""
        self._outbox.ways.put(name, sender, self.intake.domain_of(name))
        self._serve_outbox()

    def fetch_through(self, name: str, source: MediaSource | None, origin: str) -> None:
        """Fetch files of an adapter's messages by this, in the place of the adapter.

        `origin` is where a simulated provider keeps files, which need not be a public address.
        """
        self._downloads.origins.add(URL(origin).origin())
        if source is not None:
            self._file_sources[name] = source

    def _serve_outbox(self) -> None:
        if self._outbox.ways and NAME not in self._policies:
            for subscriber in (self._outbox.subscriber(), self._outbox.follower()):
                self.bus.add(subscriber)
                self._policies[subscriber.name] = (self._outbox.policy, Start.END)

    @overload
    def on(
        self,
        event: type[Message[Any]],
        /,
        *,
        gather: float | str,
        content: type[C],
        **options: Unpack[Options],
    ) -> Callable[[Callable[[list[Message[C]]], R]], Callable[[list[Message[C]]], R]]: ...

    @overload
    def on(
        self,
        event: type[Message[Any]],
        /,
        *,
        gather: float | str,
        content: tuple[type[Content], ...] | None = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[list[Message]], R]], Callable[[list[Message]], R]]: ...

    @overload
    def on(
        self,
        *events: type[Event] | str,
        transaction: Literal[True],
        content: object = ...,
        **options: Unpack[Options],
    ) -> Callable[[T], T]: ...

    @overload
    def on(
        self, event: type[Message[Any]], /, *, content: type[C], **options: Unpack[Options]
    ) -> Callable[[Callable[[Message[C]], R]], Callable[[Message[C]], R]]: ...

    @overload
    def on(  # type: ignore[overload-overlap] # as below
        self,
        event: type[Message[Any]],
        /,
        *,
        content: tuple[type[C], type[C2]],
        **options: Unpack[Options],
    ) -> Callable[[Callable[[Message[C | C2]], R]], Callable[[Message[C | C2]], R]]: ...

    @overload
    def on(  # type: ignore[overload-overlap] # as below
        self,
        event: type[Message[Any]],
        /,
        *,
        content: tuple[type[C], type[C2], type[C3]],
        **options: Unpack[Options],
    ) -> Callable[[Callable[[Message[C | C2 | C3]], R]], Callable[[Message[C | C2 | C3]], R]]: ...

    @overload
    def on(  # type: ignore[overload-overlap] # a Message is an E too, yet its content is lost there
        self,
        event: type[Message[Any]],
        /,
        *,
        content: tuple[type[Content], ...] | None = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[Message], R]], Callable[[Message], R]]: ...

    @overload
    def on(
        self,
        event: type[E],
        /,
        *,
        content: tuple[type[Content], ...] | None = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[E], R]], Callable[[E], R]]: ...

    @overload
    def on(
        self,
        event: type[E],
        second: type[E2],
        /,
        *,
        content: _Contents = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[E | E2], R]], Callable[[E | E2], R]]: ...

    @overload
    def on(
        self,
        event: type[E],
        second: type[E2],
        third: type[E3],
        /,
        *,
        content: _Contents = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[E | E2 | E3], R]], Callable[[E | E2 | E3], R]]: ...

    @overload
    def on(
        self,
        event: str,
        /,
        *events: str,
        content: str | Sequence[str] | None = ...,
        gather: float | str | None = ...,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[Any], R]], Callable[[Any], R]]: ...

    def on(
        self,
        *events: type[Event] | str,
        content: object = None,
        gather: float | str | None = None,
        transaction: bool = False,
        **options: Unpack[Options],
    ) -> Any:
        """Subscribe a function to the events of these classes; use `Event` for all of them.

        With `content`, only messages that hold it come, as `Message[Text]` to a type checker;
        `Options` says what else there is to choose. The words of TOML do as well as classes.

        With `gather` ("3s"), the function gets a list: the messages that a user sent in a burst,
        once nothing has followed the last of them for so long. They fail and come again together.

        An async function runs on the event loop, a plain one in a thread. Each subscriber has
        its own progress in the journal under its `name`, by default `module:function`. A new
        one begins with what comes next, or with all that is kept if `start` is "beginning".

        With `transaction`, on a journal in PostgreSQL, the function is called with an event and
        an `AsyncConnection` of psycopg in a transaction. What it does with that and its progress
        commit together, or not at all: its effects there happen exactly once.

        Raises `ConfigurationError` for whatever cannot be meant, where the name is taken, and
        where the bridge runs already.
        """
        given: dict[str, Any] = {
            "content": content,
            **({} if gather is None else {"gather": gather}),
            **{k: v for k, v in options.items() if v is not None or k == "owned"},
        }
        # Before there is a function: `@bridge.on` without parentheses never gets one.
        check_options(events, given, ("content", "gather", "transaction", *Options.__annotations__))
        serving: dict[str, Any] = {
            key: given.pop(key) for key in ("start", "policy") if key in given
        }

        def subscribe(function: Callable[..., R]) -> Callable[..., R]:
            own = {"function": function, "events": events, "transaction": transaction}
            subscriber = Subscriber(**{"name": name_of(function), **own, **given})
            self.subscribe(subscriber, **serving)
            return function

        return subscribe

    def subscribe(
        self,
        subscriber: Subscriber,
        *,
        start: Start | str = Start.END,
        policy: DeliverySettings | None = None,
    ) -> None:
        """Add a subscriber, as `on` does. Raises `ConfigurationError`."""
        problems = tuple(serving_problems(start, policy))
        if problems:
            raise ConfigurationError(problems)
        if self._stack is not None:
            raise ConfigurationError(f"subscribe {subscriber.name!r} before the bridge starts")
        self.bus.add(subscriber)
        self._policies[subscriber.name] = (policy or self._policy, Start(start))

    def mount(self, app: web.Application) -> None:
        """Take callbacks in an aiohttp application, and run while it runs."""
        if self.server.trusted_proxies:
            app.middlewares.append(request_id.middleware(self.server.trusted_proxies))
        mount(app, self.intake, self.server)
        app.cleanup_ctx.append(self._while_running)

    def asgi(self, otherwise: Application | None = None, /) -> AsgiApplication:
        """Return an ASGI application that takes callbacks: to mount it, or to serve it by itself.

        In FastAPI, Starlette and Litestar it is mounted, and `lifespan` runs the bridge. Around
        another application (Django, Quart) it takes what comes below `server.prefix`, and runs
        the bridge while that application runs.
        """
        return AsgiApplication(self.intake, self.server, self, otherwise)

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Run while an application does: `FastAPI(lifespan=bridge.lifespan)`."""
        async with self:
            yield

    async def _while_running(self, _: web.Application) -> AsyncIterator[None]:
        async with self:
            yield

    def observe(self, observer: Observer) -> None:
        """Let an observer see every callback and every attempt to deliver, from now on.

        One that is an async context manager too runs while the bridge does. Raises
        `ConfigurationError` where that runs already.
        """
        if isinstance(observer, AbstractAsyncContextManager):
            if self._stack is not None:
                raise ConfigurationError("an observer that has to run comes before the start")
            self._running_observers.append(observer)
        self._observers.add(observer)

    @contextmanager
    def rehearsing(
        self,
        journal: Journal,
        clock: Clock,
        sends: Sends,
        observer: Observer,
        senders: Mapping[str, Sender],
    ) -> Iterator[None]:
        """Use another journal, clock and way out in the block, watched by one more observer.

        `senders` are for adapters that have none of their own. The observer sees the attempts of
        plain receivers too. Raises `ConfigurationError` where
        the bridge runs.
        """
        if self._stack is not None:
            raise ConfigurationError("the bridge runs already: test it while it does not")
        before = self.journal, self._clock, self._outbox.sends
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
        self._outbox.journal = journal
        self._clock = self._outbox.clock = clock
        self._outbox.sends = sends
        self._outbox.ways.forget_limits()

    # --- running -------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the journal and start serving the subscribers. Raises `JournalError`.

        A bridge that has ended may start again, also in another event loop.
        """
        if self._stack is not None:
            raise ConfigurationError("the bridge runs already")
        self._deliveries.clear()
        self._is_drained = False
        async with AsyncExitStack() as stack:
            for observer in self._running_observers:
                await stack.enter_async_context(observer)
            await stack.enter_async_context(self.journal)
            await stack.enter_async_context(self._outbox)
            await stack.enter_async_context(self._downloads)
            for subscriber in self.bus.subscribers:
                function: object = subscriber.function
                if isinstance(function, AbstractAsyncContextManager):
                    await stack.enter_async_context(function)
            if not all(each.when_paused for each in self.bus.subscribers):
                await stack.enter_async_context(self._pauses)
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
                    clock=self._clock,
                    gather=subscriber.gather,
                    pauses=None if subscriber.when_paused else self._pauses,
                )
                if subscriber.name == NAME:
                    self._outbox.delivery = delivery
                self._deliveries[subscriber.name] = await delivery.__aenter__()
            await stack.enter_async_context(self._receivers)
            for doubt in assembly.doubts(self.bus.subscribers, self.adapters.values()):
                _log.warning("%s", doubt)
            if isinstance(self.journal, SharedJournal):
                self.journal.watch(self._wake)
            self.intake.open()
            self._stack = stack.pop_all()
        return self

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
            is_plain=True,
            clock=self._clock,
        )

    async def _wake(self, subscriber: str) -> None:
        delivery = self._deliveries.get(subscriber)
        if delivery is not None:
            await delivery.wake()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish what is under way, for at most `drain_timeout` seconds, and stop."""
        self.intake.close()
        stack, self._stack = self._stack, None
        if stack is None:
            return
        try:
            await self.drain(self.server.drain_timeout)
        finally:
            await stack.aclose()

    async def drain(self, within: float) -> None:
        """Let subscribers finish what they are at work on, for at most so many seconds.

        They are given nothing new from now on, unless the journal is in memory: what that holds
        would be lost, so they are given all of it. Then leaving the bridge waits no more.
        """
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
        """Return when every event so far has been tried, and what failed waits for its next try."""
        await self._receivers.opened()
        end = -1
        while end != (end := (await self.journal.follow()).position):  # a subscriber may append
            await asyncio.gather(*(each.caught_up(end) for each in self._served))

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

    async def receive(self, name: str, callback: Callback, /) -> Response:
        """Take a callback for an adapter: return its reply once its events are durable.

        Raises `UnknownAdapter`, `MethodRefused`, `NotAuthentic`, `MalformedBody` or
        `JournalError`, and then nothing of the callback has been kept. An adapter that fails on
        an authentic body loses nothing: the whole body becomes an `Unrecognized`.
        """
        return await self.intake.receive(name, callback)

    # --- sending -------------------------------------------------------------------------

    @classmethod
    def current(cls) -> Bridge:
        """Return the bridge whose subscriber calls this, for one that `bridge serve` runs.

        Raises `NotRunning` elsewhere.
        """
        bridge = _current.get(None)
        if bridge is None:
            raise NotRunning("no bridge has called this: only its subscribers have a current one")
        return bridge

    async def reply(
        self, message: Message, content: Content | str, /, **options: Unpack[Answering]
    ) -> Sending:
        """Answer a user's message, on its channel and from its account.

        Returns as soon as the answer is durable; it is sent by and by, in order within the
        conversation, and `Sending.outcome` tells what became of it. A subscriber that is given
        its event again sends nothing again: an answer without a `key` has one made of the
        subscriber's name, the event's key, and how many were sent for it before.

        With `quote` the user's message is quoted; `Asking` says what else there is. Raises
        `Unsendable` where the channel cannot carry it or it may not go, `ConfigurationError`
        where the adapter lacks what sending takes, `KeyConflict`, `NotRunning` and
        `JournalError`.
        """
        self._check_running()
        return await self._outbox.reply(message, content, **options)

    async def send(
        self, to: str | Party, content: Content | str, /, *, via: str, **options: Unpack[Asking]
    ) -> Sending:
        """Send to a phone number or a provider's user id, as `reply` does.

        `via` names a configured adapter, an account, or a channel; `"ADAPTER:ACCOUNT"` is both.
        """
        self._check_running()
        return await self._outbox.send(to, content, via=via, **options)

    async def react(
        self, message: Message, emoji: str | None, /, *, key: str | None = None
    ) -> Sending:
        """Put a reaction on a user's message, or take it back with None, as `reply` does."""
        self._check_running()
        return await self._outbox.react(message, emoji, key=key)

    async def mark_read(self, message: Message, /, *, typing: bool = False) -> Sending | None:
        """Show the user that the message was read, and with `typing` that an answer is coming.

        Returns None where the channel shows no such thing. Otherwise as `reply`.
        """
        self._check_running()
        return await self._outbox.mark_read(message, typing=typing)

    async def fetch(
        self,
        message: Message,
        /,
        *,
        to: Path | None = None,
        max_size: int = MAX_SIZE,
        progress: Progress | None = None,
    ) -> File:
        """Fetch the file of a message from its provider, into memory or to a path.

        A file appears at its path once it is whole; its size and checksum are those that the
        provider told. `max_size` is in bytes; `progress` is called with how many have come and
        how many there are. Raises `Unfetchable` where trying again will not help, `Unanswered`
        where it may, and `ConfigurationError` where the adapter lacks credentials.
        """
        self._check_running()
        if not isinstance(message.content, Media):
            raise Unfetchable(f"a {message.content.kind} has no file")
        name = message.source
        source = self._file_sources.get(name) or self.intake.adapters.get(name)
        return await self._downloads.fetch(
            message.content, source, to=to, max_size=max_size, progress=progress
        )

    def media_keeper(self, folder: str | Path, /) -> Keeper:
        """Return a function to subscribe to messages, which keeps their files in a folder.

        Each file that is kept is told by a `Notice` with the topic "media_kept".
        """
        return Keeper(Path(folder), self.fetch, self._publish)

    async def _publish(self, events: Sequence[Event]) -> None:
        await self.journal.append(events)

    async def window(self, conversation: Message | Conversation | str, /) -> datetime | None:
        """Return until when a free-form message may go to a conversation's user.

        It has closed where that is over. None where the channel has no such limit, or the journal
        knows of no message of the user's. Raises `JournalError`.
        """
        return await self._outbox.windows.until(_id_of(conversation))

    @asynccontextmanager
    async def state(
        self,
        conversation: Message | Conversation | str,
        /,
        *,
        name: str | None = None,
        ttl: float | str = TIME_TO_LIVE,
    ) -> AsyncIterator[Remembered]:
        """Give what is remembered of a conversation: a dictionary to read and to change.

        What has changed is durable once the block has ended; where the block raises, nothing is
        kept. It is JSON of at most 64 KiB, and is forgotten `ttl` (seconds, or "30d") after its
        last change, when it is left empty, and with `purge`. Each `name`, by default the calling
        subscriber's, has one of its own, which one block at a time in this process has open.

        Raises `CodecError` for what is no JSON or too large, `ConfigurationError`, `NotRunning`
        and `JournalError`.
        """
        self._check_running()
        async with self._states.opened(_id_of(conversation), name, ttl) as remembered:
            yield remembered

    async def take(self, conversation: Message | Conversation | str, /) -> None:
        """Make a conversation that several responders share ours to answer.

        Done when this returns, and told by a `Handover`. Raises `Unsendable` where the provider
        refuses, or documents no such thing, `Unanswered` where it does not respond,
        `ConfigurationError`, `NotRunning` and `JournalError`.
        """
        await self._control(conversation, Control.TAKE)

    async def pass_to(
        self,
        conversation: Message | Conversation | str,
        to: str | None = None,
        /,
        *,
        metadata: str | None = None,
    ) -> None:
        """Hand a conversation to another responder, as `take` does.

        `to` is the provider's word for which one, by default its own choice; `metadata` is what
        that one is told.
        """
        await self._control(conversation, Control.PASS, to=to, metadata=metadata)

    async def release(self, conversation: Message | Conversation | str, /) -> None:
        """Let the provider decide who answers a conversation next, as `take` does."""
        await self._control(conversation, Control.RELEASE)

    async def _control(
        self, conversation: Message | Conversation | str, action: Control, **options: str | None
    ) -> None:
        self._check_running()
        if isinstance(conversation, Conversation):
            conversation = conversation.id
        await self._outbox.control(conversation, action, **options)

    async def pause(
        self, conversation: Message | Conversation | str, /, *, for_: timedelta | float | str
    ) -> datetime:
        """Keep a conversation from the bots, for at most 7 days; return until when.

        Functions get no messages of its user meanwhile, nor afterwards those that came in the
        pause, unless they say `when_paused=True`. A pause is durable when this returns, and a
        `Notice` in the conversation; a later one takes the place of an earlier one. Raises
        `ConfigurationError`, `NotRunning` and `JournalError`.
        """
        self._check_running()
        return await self._pauses.pause(_id_of(conversation), for_)

    async def resume(self, conversation: Message | Conversation | str, /) -> None:
        """End a conversation's pause, if there is one. Raises `NotRunning` and `JournalError`."""
        self._check_running()
        await self._pauses.resume(_id_of(conversation))

    def _check_running(self) -> None:
        if self._stack is None:
            raise NotRunning("enter the bridge (`async with bridge:`) before it is used")

    # --- for operators -------------------------------------------------------------------

    @property
    def deliveries(self) -> Mapping[str, Delivery]:
        """Return the deliveries that run, by their subscribers' names."""
        return MappingProxyType(self._deliveries)

    async def health(self) -> Health:
        """Return whether a callback would be taken now."""
        return await self.intake.health()


def _id_of(conversation: Message | Conversation | str) -> str:
    if isinstance(conversation, Message):
        conversation = conversation.conversation
    return conversation if isinstance(conversation, str) else conversation.id
