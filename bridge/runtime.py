"""The bridge itself: it owns the journal, the bus, the adapters and the deliveries.

A callback's way is told by `Bridge.receive`: verify, parse, make durable, and only then reply.
Subscribers are served from the journal, on their own time.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, TypeAlias, TypedDict, TypeVar, Unpack, overload

import attrs
import orjson
from aiohttp import web

from bridge import assembly
from bridge.adapter import Adapter, Callback, Response, Verified
from bridge.adapter.signing import Network
from bridge.assembly import journal_of, subscriber_of
from bridge.delivery import Delivery
from bridge.delivery.bus import Bus
from bridge.delivery.functions import name_of
from bridge.delivery.receivers import Receivers
from bridge.delivery.subscriber import Function, Subscriber, check_options, serving_problems
from bridge.errors import (
    BridgeError,
    CodecError,
    ConfigurationError,
    JournalError,
    MalformedBody,
    MethodRefused,
    NotAuthentic,
    NotRunning,
    Problem,
    UnknownAdapter,
)
from bridge.ingress import request_id
from bridge.ingress.intake import Door
from bridge.ingress.request_id import RequestIds
from bridge.ingress.web import mount
from bridge.journal.protocol import Appended, Entry, Health, Journal, SharedJournal, Start
from bridge.journal.sqlite import SqliteJournal
from bridge.model import (
    Content,
    Direction,
    Event,
    Message,
    Unrecognized,
)
from bridge.observer import Answer, Hook, Received, Tried
from bridge.ops.tracing import Append, Tracing
from bridge.settings import (
    DeliverySettings,
    ServerSettings,
    Settings,
    load,
)

E = TypeVar("E", bound=Event)
E2 = TypeVar("E2", bound=Event)
E3 = TypeVar("E3", bound=Event)
C = TypeVar("C", bound=Content)
R = TypeVar("R")

_Contents: TypeAlias = type[Content] | tuple[type[Content], ...] | None

_PLAIN: Final = DeliverySettings(tries=1)  # for plain receivers
_COMPLAIN_EVERY: Final = 10.0  # seconds
# Looking up an enum's member takes three times as long as a call.
_ACCEPTED: Final = Answer.ACCEPTED
_NOT_STORED: Final = Answer.NOT_STORED
_log: Final = logging.getLogger(__name__)


class Options(TypedDict, total=False):
    """What may be said of a subscriber; see `Bridge.on`.

    With `channel`, `account` or `direction`, only events of that one come. Progress is kept
    under `name`. `start` is "end" or "beginning". `policy` bounds tries, waits and time.
    """

    channel: str | None
    account: str | None
    direction: Direction | str | None
    name: str | None
    start: Start | str
    policy: DeliverySettings | None


@attrs.frozen(kw_only=True)
class Reparsed:
    """What came of reading an unreadable body once more.

    `events` are those that could be read, and `is_whole` says that nothing unreadable is left.
    `appended` is None in a dry run.
    """

    is_whole: bool
    events: tuple[Event, ...] = ()
    appended: Appended | None = None


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
        tracing: Tracing | None = None,
    ) -> None:
        self.bus = Bus()
        self.journal: Journal = SqliteJournal("bridge.db") if journal is None else journal
        self._policy = DeliverySettings() if policy is None else policy
        self.server = ServerSettings() if server is None else server
        self._doors: dict[str, Door] = {}
        self._policies: dict[str, tuple[DeliverySettings, Start]] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._hooks: list[Hook] = []
        self._requests = RequestIds()
        self._tracing = tracing
        self._stack: AsyncExitStack | None = None
        self._receivers = Receivers(self.bus, self._plain_delivery)
        self._complained_at = -math.inf

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
            tracing=Tracing.exporting() if settings.tracing.enabled else None,
        )
        problems: list[Problem] = []
        for name, entry in settings.adapters.items():
            try:
                adapter = assembly.load(entry.type)(name, entry.settings)
                bridge.add_adapter(name, adapter, allow_networks=entry.allow_networks)
            except ConfigurationError as error:
                problems += settings.locate(f"adapters.{name}", error)
        for name, wanted in settings.subscribers.items():
            try:
                bridge.subscribe(
                    subscriber_of(wanted), start=Start(wanted.start), policy=wanted.delivery
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
        return MappingProxyType({name: door.adapter for name, door in self._doors.items()})

    def add_adapter(
        self, name: str, adapter: Adapter, *, allow_networks: Sequence[Network] = ()
    ) -> None:
        """Take callbacks for `name` with this adapter, from these networks only if any are given.

        Raises `ConfigurationError` where the name is taken.
        """
        if isinstance(adapter, type) or not isinstance(adapter, Adapter):
            raise ConfigurationError(f"adapter {name!r}: expected an adapter, not its class")
        if name in self._doors:
            raise ConfigurationError(f"two adapters are called {name!r}")
        reader = adapter if self._tracing is None else self._tracing.reading(adapter)
        self._doors[name] = Door(
            name=name, adapter=adapter, reader=reader, networks=tuple(allow_networks)
        )

    @overload
    def on(
        self, event: type[Message[Any]], /, *, content: type[C], **options: Unpack[Options]
    ) -> Callable[[Callable[[Message[C]], R]], Callable[[Message[C]], R]]: ...

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
        **options: Unpack[Options],
    ) -> Callable[[Callable[[Any], R]], Callable[[Any], R]]: ...

    def on(
        self,
        *events: type[Event] | str,
        content: object = None,
        **options: Unpack[Options],
    ) -> Callable[[Callable[[Any], R]], Callable[[Any], R]]:
        """Subscribe a function to the events of these classes; use `Event` for all of them.

        With `content`, only messages that hold it come, as `Message[Text]` to a type checker;
        `Options` says what else there is to choose. The words of TOML do as well as classes.

        An async function runs on the event loop, a plain one in a thread. Each subscriber has
        its own progress in the journal under its `name`, by default `module:function`. A new
        one begins with what comes next, or with all that is kept if `start` is "beginning".

        Raises `ConfigurationError` for whatever cannot be meant, where the name is taken, and
        where the bridge runs already.
        """
        given: dict[str, Any] = {
            "content": content,
            **{k: v for k, v in options.items() if v is not None},
        }
        # Before there is a function: `@bridge.on` without parentheses never gets one.
        check_options(events, given, ("content", *Options.__annotations__))
        serving: dict[str, Any] = {
            key: given.pop(key) for key in ("start", "policy") if key in given
        }

        def subscribe(function: Callable[[Any], R]) -> Callable[[Any], R]:
            subscriber = Subscriber(
                **{"name": name_of(function), "function": function, "events": events, **given}
            )
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
        mount(app, self, self.server)
        app.cleanup_ctx.append(self._while_running)

    async def _while_running(self, _: web.Application) -> AsyncIterator[None]:
        async with self:
            yield

    def instrument(self, hook: Hook) -> None:
        """Tell a hook of every callback and every try of a delivery, as each happens."""
        self._hooks.append(hook)

    # --- running -------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the journal and start serving the subscribers. Raises `JournalError`."""
        if self._stack is not None:
            raise ConfigurationError("the bridge runs already")
        async with AsyncExitStack() as stack:
            tracing = self._tracing
            if tracing is not None:
                await stack.enter_async_context(tracing)
            await stack.enter_async_context(self.journal)
            for subscriber in self.bus.subscribers:
                policy, start = self._policies[subscriber.name]
                name, function = subscriber.name, subscriber.function
                delivery = Delivery(
                    name,
                    function if tracing is None else tracing.delivering(name, function),
                    await self.journal.subscribe(subscriber.name, start=start),
                    wants=subscriber.wants,
                    policy=policy,
                    observe=self._observe,
                    recall=self._requests.recall,
                )
                self._deliveries[subscriber.name] = await stack.enter_async_context(delivery)
            await stack.enter_async_context(self._receivers)
            for doubt in assembly.doubts(self.bus.subscribers, self.adapters.values()):
                _log.warning("%s", doubt)
            if isinstance(self.journal, SharedJournal):
                self.journal.watch(self._wake)
            self._stack = stack.pop_all()
        return self

    async def _plain_delivery(
        self, name: str, function: Function, wants: Callable[[Event], bool]
    ) -> Delivery:
        cursor = await self.journal.follow()
        return Delivery(
            name,
            function,
            cursor,
            wants=wants,
            policy=_PLAIN,
            recall=self._requests.recall,
            is_plain=True,
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
        stack, self._stack = self._stack, None
        if stack is None:
            return
        try:
            await self._drain()
        finally:
            self._deliveries.clear()
            await stack.aclose()

    async def _drain(self) -> None:
        # What a journal in memory still holds would be gone: deliver all of it first.
        up_to = None if self.journal.durable else (await self.journal.follow()).position
        await self._receivers.opened()
        drains = {
            asyncio.create_task(delivery.drain(up_to=up_to)): delivery.name
            for delivery in (*self._deliveries.values(), *self._receivers.deliveries)
        }
        if not drains:
            return
        _, late = await asyncio.wait(drains, timeout=self.server.drain_timeout)
        for task in late:
            task.cancel()
        if late:
            _log.warning(
                "subscribers did not finish in time",
                extra={"subscribers": sorted(drains[task] for task in late)},
            )

    async def receive(self, name: str, callback: Callback, /) -> Response:
        """Take a callback for an adapter: return its reply once its events are durable.

        Raises `UnknownAdapter`, `MethodRefused`, `NotAuthentic`, `MalformedBody` or
        `JournalError`, and then nothing of the callback has been kept. An adapter that fails on
        an authentic body loses nothing: the whole body becomes an `Unrecognized`.
        """
        if self._stack is None:
            raise NotRunning("enter the bridge (`async with bridge:`) before it receives")
        door = self._doors.get(name)
        if door is None:
            raise UnknownAdapter(f"no adapter is called {name!r}")
        if self._receivers.is_opening:
            await self._receivers.opened()
        is_new = request_id.begin()
        try:
            if self._tracing is None:
                return await self._receive(door, callback, self.journal.append)
            with self._tracing.callback(name):
                append = self._tracing.appending(self.journal.append)
                return await self._receive(door, callback, append)
        finally:
            if is_new:
                request_id.end()

    async def _receive(self, door: Door, callback: Callback, append: Append) -> Response:
        try:
            parsed = door.read(callback)
            if parsed.malformed is not None:
                raise parsed.malformed
        except (NotAuthentic, MethodRefused, MalformedBody) as error:
            _log.info("callback refused", extra={"adapter": door.name, "reason": str(error)})
            self._observe(Received(adapter=door.name, answer=_answer(error)))
            raise
        events = parsed.events
        if not events:
            self._observe(Received(adapter=door.name, answer=_ACCEPTED))
            return parsed.response
        # Before they are in the journal: a subscriber may be faster than what comes after it.
        self._requests.remember(events)
        began = time.perf_counter()
        appended = None
        try:
            try:
                appended = await append(events)
            except CodecError as error:
                _log.error(  # a traceback could show what the body holds
                    "an adapter made an event that is no JSON", extra={"adapter": door.name}
                )
                events = (door.unread(callback.body, callback.received_at, str(error)),)
                appended = await append(events)
        except JournalError as error:
            self._complain(door, error)
            raise
        finally:
            if self._hooks:
                received = Received(
                    adapter=door.name,
                    answer=_NOT_STORED if appended is None else _ACCEPTED,
                    events=events,
                    appended=appended,
                    append_seconds=time.perf_counter() - began,
                )
                for hook in self._hooks:
                    hook(received)
        if _log.isEnabledFor(logging.DEBUG):
            keys = [event.key for event in events]
            _log.debug("callback accepted", extra={"adapter": door.name, "keys": keys})
        return parsed.response

    def _complain(self, door: Door, error: JournalError) -> None:
        """Log why callbacks are not stored; not for each of them, as there may be thousands."""
        now = time.monotonic()
        if now - self._complained_at >= _COMPLAIN_EVERY:
            self._complained_at = now
            _log.error("callback not stored", extra={"adapter": door.name, "reason": str(error)})

    def refused(self, name: str, /) -> None:
        """Count a callback whose body was refused before there was anything to receive."""
        self._observe(Received(adapter=name, answer=Answer.BODY_REFUSED))

    def _observe(self, happening: Received | Tried) -> None:
        for hook in self._hooks:
            hook(happening)

    # --- for operators -------------------------------------------------------------------

    @property
    def deliveries(self) -> Mapping[str, Delivery]:
        """Return the deliveries that run, by their subscribers' names."""
        return MappingProxyType(self._deliveries)

    async def reparse(self, entry: Entry, *, dry_run: bool = False) -> Reparsed:
        """Parse once more, with its adapter as it is now, a body that could not be read.

        New events are appended with the time at which the callback came, and an entry that could
        be read whole is marked as reparsed; a dry run only tells which events there would be.
        Raises `UnknownAdapter` where the adapter is not configured any more, and `JournalError`.
        """
        event = entry.event
        door = self._doors.get(event.source)
        if door is None:
            raise UnknownAdapter(f"no adapter is called {event.source!r}")
        payload = event.raw.encode() if isinstance(event.raw, str) else orjson.dumps(event.raw)
        parsed = door.parse(Verified(payload=payload, received_at=event.received_at))
        news = tuple(
            each
            for each in parsed.events
            if not (isinstance(each, Unrecognized) and each.raw == event.raw)
        )
        readable = parsed.malformed is None and len(news) == len(parsed.events)
        if dry_run:
            return Reparsed(is_whole=readable, events=news)
        appended = await self.journal.append(news)
        if readable:
            await self.journal.mark_reparsed([entry.position])
        return Reparsed(is_whole=readable, events=news, appended=appended)

    async def health(self) -> Health:
        """Return whether a callback would be taken now."""
        if self._stack is None:
            return Health(ready=False, reason="the bridge is not running")
        return await self.journal.health()


def _answer(error: BridgeError) -> Answer:
    match error:
        case NotAuthentic():
            return Answer.NOT_AUTHENTIC
        case MethodRefused():
            return Answer.METHOD_REFUSED
        case _:
            return Answer.MALFORMED
