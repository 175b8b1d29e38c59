"""The way in for a callback: verify, parse, append, respond.

Where an adapter fails on an authentic body, the whole body is kept as an `Unrecognized`; where it
fails to verify, the callback is not authentic.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NoReturn

import attrs
import orjson

from bridge.adapter import (
    Adapter,
    Callback,
    Parsed,
    Response,
    Verified,
    build,
)
from bridge.adapter.signing import Network
from bridge.delivery.attempt import callback_id, request_id, turn
from bridge.delivery.receivers import Receivers
from bridge.errors import (
    BodyRefused,
    BridgeError,
    CodecError,
    ConfigurationError,
    JournalError,
    MalformedBody,
    MethodRefused,
    NotAuthentic,
    NotRunning,
    UnknownAdapter,
)
from bridge.ingress.configured import Configured
from bridge.ingress.growth import FEW, TOO_LARGE, bounded, may_grow
from bridge.ingress.request_id import RECENT, forget_older
from bridge.journal.protocol import Appended, Health, Journal
from bridge.model import Event, Unrecognized
from bridge.model.keys import in_domain
from bridge.observer import UNWATCHED, AppendDetails, Observers
from bridge.process.throttle import Throttle
from bridge.settings import Stale

_MANY: Final = 100  # events of one body

_CRASH: Final = "an adapter failed: this is a bug in it"
_BITS: Final = 40  # of a number that names a callback

# Only to tell callbacks apart; the system's own randomness takes longer than all of the rest.
_new_number: Final = random.Random().getrandbits  # noqa: S311

_log: Final = logging.getLogger(__name__)


class Intake:
    """Takes callbacks for the configured adapters, and appends their events to the journal.

    It is open while the journal is; `receive` runs in the journal's event loop.
    """

    def __init__(self, journal: Journal, observers: Observers, receivers: Receivers) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_mounted = False
        self.journal = journal
        self.request_ids: dict[str, int | str | None] = {}
        self._observers = observers
        self._receivers = receivers
        self._configured: dict[str, Configured] = {}
        self._throttle = Throttle(_log)

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """Return the configured adapters by name."""
        return MappingProxyType({name: one.adapter for name, one in self._configured.items()})

    def add(
        self,
        name: str,
        adapter: Adapter,
        networks: Sequence[Network] = (),
        *,
        domain: str | None = None,
        believe_unsigned: bool = False,
        max_age: float | None = None,
        stale: Stale = "mark",
        accounts: Collection[str] = (),
    ) -> None:
        """Take callbacks for the adapter `name`; the parameters are those of `Bridge.add_adapter`.

        Raises `ConfigurationError` where the name is taken or the domain cannot be shared.
        """
        if self._is_mounted:
            raise ConfigurationError(f"add adapter {name!r} before the callbacks are mounted")
        if name in self._configured:
            raise ConfigurationError(f"two adapters are called {name!r}")
        one = Configured(name, adapter, networks, domain, believe_unsigned=believe_unsigned)
        one.max_age = timedelta(seconds=max_age) if max_age else None
        one.publishes_stale = stale == "mark"
        one.accounts = frozenset(accounts) or None
        one.check(self._configured.values())
        self._configured[name] = one

    def domain_of(self, name: str) -> str:
        """Return the trust domain of an adapter's events. Raises `UnknownAdapter`."""
        return self._find(name).domain

    def mount(self) -> Mapping[str, Adapter]:
        """Return the configured adapters; from now on none can be added."""
        self._is_mounted = True
        return self.adapters

    def open(self) -> None:
        """Receive in the running event loop."""
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Receive nothing more."""
        self._loop = None

    async def receive(self, name: str, callback: Callback) -> Response:
        """Return the response to a callback, once its events are durable.

        Raises the errors of `Bridge.receive`.
        """
        if asyncio.get_running_loop() is not self._loop:
            self._refuse_to_receive()
        one = self._find(name)
        with _named(), self._watched(one):
            parsed = self._read(one, callback)
            if parsed.events:
                await self._append(one, callback, parsed.events)
            return parsed.response

    def _watched(self, one: Configured) -> AbstractContextManager[Any]:
        watch = self._observers.callback
        return watch(one.details) if watch else UNWATCHED

    def _read(self, one: Configured, callback: Callback) -> Parsed:
        """Return what is in a callback. Raises `NotAuthentic`, `MethodRefused`, `MalformedBody`."""
        try:
            verified = self._verify(one, callback)
            parsed = self._parse(one, verified, one.domain)
            if parsed.malformed is not None:
                raise parsed.malformed
        except (NotAuthentic, MethodRefused, MalformedBody) as error:
            self._tell_of_refusal(one.name, callback, error)
            raise
        events = parsed.events
        if len(events) > FEW and may_grow(events, len(callback.body)):
            bound = self._bounded(one, verified, events)
            parsed = build.parsed(events=bound, response=parsed.response)
        return parsed

    def admit(self, name: str, head: Callback) -> None:
        """Refuse a callback before its body is read, where its head tells enough.

        Raises `UnknownAdapter`, `MethodRefused` or `NotAuthentic`, as `receive` would.
        """
        one = self._find(name)
        try:
            one.check_head(head)
            if one.admit is not None:
                one.admit(head)
        except (NotAuthentic, MethodRefused) as error:
            with _named(), self._watched(one):
                self._tell_of_refusal(name, head, error)
                raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - `verify` is asked as well
            self._tell_of_crash(one, "admit", error)

    def _tell_of_refusal(self, name: str, callback: Callback, error: BridgeError) -> None:
        fields = {"adapter": name, "reason": str(error), "client": str(callback.client)}
        self._throttle.log(logging.INFO, "callback refused", key=f"refused {name}", **fields)

    def _tell_of_crash(self, one: Configured, step: str, error: BaseException) -> None:
        """Log that an adapter failed on an unauthenticated callback, once in a while."""
        fields = one.crash(step, error)
        key = f"{one.name} {step} {fields['where']}"
        self._throttle.log(logging.ERROR, _CRASH, key=key, **fields)

    def _verify(self, one: Configured, callback: Callback) -> Verified:
        """Return what is authentic. Raises `NotAuthentic` or `MethodRefused`."""
        one.check_head(callback)
        try:
            watch, verify = self._observers.verify, one.adapter.verify
            verified: object = (
                watch.around(one.details, verify, callback) if watch else verify(callback)
            )
        except NotAuthentic:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - unverified is not authentic
            self._tell_of_crash(one, "verify", error)
            raise NotAuthentic("the callback could not be verified") from None
        if type(verified) is not Verified:
            self._tell_of_crash(one, "verify", TypeError())
            raise NotAuthentic("the callback could not be verified")
        return verified

    def _parse(
        self, one: Configured, verified: Verified, domain: str, *, of_any_age: bool = False
    ) -> Parsed:
        """Return what is in an authentic body, as of a trust domain; never raises."""
        try:
            watch, parse = self._observers.parse, one.adapter.parse
            parsed = watch.around(one.details, parse, verified) if watch else parse(verified)
            # One event can stand for many items (see `bridge.adapter.unread`).
            if len(parsed.events) >= _MANY:
                parsed = _without_repetitions(parsed)
            return build.parsed(
                events=one.placed(parsed.events, verified, domain, of_any_age=of_any_age),
                response=parsed.response,
                malformed=parsed.malformed,
            )
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the body is authentic
            _log.error(_CRASH, extra=one.crash("parse", error))
            reason = f"the adapter failed with {type(error).__name__}"
            unread = one.unread(verified.payload, verified.received_at, reason)
            return Parsed(events=(in_domain(unread, domain),))

    def _bounded(
        self, one: Configured, verified: Verified, events: tuple[Event, ...]
    ) -> tuple[Event, ...]:
        """Return events that do not take too much room, and say where they would have."""
        unread = one.unread(verified.payload, verified.received_at, TOO_LARGE)
        whole = in_domain(unread, one.domain)
        bound = bounded(events, len(verified.payload), whole)
        if bound[-1] is whole:
            self._throttle.log(
                logging.WARNING,
                "the events of a body would take too much room: it is kept whole",
                key=f"growth {one.name}",
                adapter=one.name,
                events=len(events),
            )
        return bound

    async def _append(self, one: Configured, callback: Callback, events: Sequence[Event]) -> None:
        """Make events durable. Raises `JournalError`."""
        if self._receivers.opening:
            await self._receivers.opened()
        try:
            try:
                appended = await self._append_once(one, callback, events)
            except CodecError as error:
                # A traceback could show what the body holds.
                _log.error("an adapter made an event that is no JSON", extra={"adapter": one.name})
                unread = one.unread(callback.body, callback.received_at, str(error))
                events = (in_domain(unread, one.domain),)
                appended = await self._append_once(one, callback, events)
        except JournalError as error:
            fields = {"adapter": one.name, "reason": str(error)}
            self._throttle.log(logging.ERROR, "callback not stored", **fields)
            raise
        if appended.duplicates and self._is_shared(one.domain):
            await self._log_others(one, events)
        if _log.isEnabledFor(logging.DEBUG):
            keys = [event.key for event in events]
            _log.debug("callback accepted", extra={"adapter": one.name, "keys": keys})

    def _append_once(
        self, one: Configured, callback: Callback, events: Sequence[Event]
    ) -> Awaitable[Appended]:
        called, names = request_id.get() or callback_id(), self.request_ids
        for event in events:
            names.setdefault(event.key, called)
        if len(names) > RECENT:
            forget_older(names)
        if self._observers.append:
            return self._append_watched(AppendDetails(one.name, events, callback=callback))
        return self.journal.append(events)

    async def _append_watched(self, details: AppendDetails) -> Appended:
        with self._observers.append(details):
            details.appended = await self.journal.append(details.events)
        return details.appended

    def _is_shared(self, domain: str) -> bool:
        return sum(each.domain == domain for each in self._configured.values()) > 1

    async def _log_others(self, one: Configured, events: Sequence[Event]) -> None:
        """Log that one of these events came through another adapter of the domain before."""
        for event in events:
            entry = None
            with suppress(JournalError):  # the events are durable all the same
                entry = await self.journal.find(event.key)
            if entry is not None and entry.event.source != one.name:
                self._throttle.log(
                    logging.WARNING,
                    "duplicate from another adapter than the original's",
                    key=f"duplicate {one.name}",
                    adapter=one.name,
                    original=entry.event.source,
                    event_key=event.key,
                )
                return

    def refuse(self, name: str, error: BodyRefused) -> None:
        """Tell observers of a callback whose body was refused before it was received."""
        one = self._find(name)
        with suppress(BodyRefused), _named(), self._watched(one):
            raise error

    def parse_again(self, event: Unrecognized) -> Parsed:
        """Parse again a body that its adapter could not read.

        Its events are of the event's own domain, whatever the adapter's has become. Raises
        `UnknownAdapter` where the adapter is not configured any more.
        """
        payload = event.raw.encode() if isinstance(event.raw, str) else orjson.dumps(event.raw)
        verified = Verified(payload=payload, received_at=event.received_at)
        one = self._find(event.source)
        return self._parse(one, verified, event.domain or one.domain)

    def preview(self, name: str, payload: bytes, received_at: datetime) -> Parsed:
        """Return what an adapter makes of a body; nothing is kept. Raises `UnknownAdapter`."""
        one = self._find(name)
        verified = Verified(payload=payload, received_at=received_at)
        return self._parse(one, verified, one.domain, of_any_age=True)

    def _refuse_to_receive(self) -> NoReturn:
        if self._loop is None or self._loop.is_closed():
            raise NotRunning("enter the bridge (`async with bridge:`) before it receives")
        raise NotRunning(
            "the bridge runs in another event loop: call `receive` there, as with "
            "`asyncio.run_coroutine_threadsafe`"
        )

    async def health(self) -> Health:
        """Return whether a callback would be taken now."""
        if self._loop is None or self._loop.is_closed():
            return Health(ready=False, reason="the bridge is not running")
        return await self.journal.health()

    def _find(self, name: str) -> Configured:
        one = self._configured.get(name)
        if one is None:
            raise UnknownAdapter(f"no adapter is called {name!r}")
        return one


class _Naming:
    """The block in which a callback has its id; the next callback of the task gets another one."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Give the callback an id; most are never written out."""
        request_id.set(_new_number(_BITS))

    def __exit__(self, *_: object) -> None:
        """Forget the id."""
        request_id.set(None)


_NAMING: Final = _Naming()


def _named() -> AbstractContextManager[Any]:
    """Return the block for a callback, which gets an id unless the request has one already."""
    if request_id.get() is not None:
        return UNWATCHED
    under_way = turn.get()  # where a subscriber gives a callback on
    return _NAMING if under_way is None or under_way.request_id is None else UNWATCHED


def _without_repetitions(parsed: Parsed) -> Parsed:
    distinct = {id(event): event for event in parsed.events}
    return attrs.evolve(parsed, events=tuple(distinct.values()))
