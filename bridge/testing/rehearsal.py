"""`TestBridge`: a bridge's own adapters and subscribers, without network, files or real time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import Any, ClassVar, Final, Self, cast, final

import attrs

from bridge.adapter import Callback, SampleSource
from bridge.adapter.simulation import Said
from bridge.delivery.attempt import Later
from bridge.errors import ConfigurationError
from bridge.journal.memory import MemoryJournal
from bridge.model import Choice, ChoiceSource, Content, Event, Message, Option, Text
from bridge.model.masking import whole_reprs
from bridge.observer import After, Around, AttemptDetails, Observer
from bridge.outbox.webhook import Webhook
from bridge.runtime import Bridge
from bridge.settings import seconds
from bridge.testing.clock import MovableClock
from bridge.testing.samples import Source, find, named, rewritten, sample_of, signed
from bridge.testing.simulated import Providers

USER: Final = "+16505551234"
"""The phone of the user who writes in `say` and `press` by default."""


@attrs.frozen
class _User:
    """Who writes in a test."""

    phone: str
    name: str | None


@final
class TestBridge:
    """Runs a bridge for a test: journal in memory, no server, no network, time that stands still.

    An async context manager around a bridge that is not running. Each call returns once all events
    are delivered. It raises what a subscriber raised: the exception itself, or an ExceptionGroup
    where there are several. Failed attempts are repeated once `sleep` has moved the time far
    enough. An adapter without credentials sends with made-up ones.
    """

    __test__: ClassVar[bool] = False  # pytest would take it for a class of tests

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.clock = MovableClock()
        self._journal = MemoryJournal(clock=self.clock)
        self._failures = _Failures()
        self._providers = Providers(lambda: bridge.adapters, self.clock)
        self._stack = ExitStack()

    async def __aenter__(self) -> Self:
        """Start the bridge. Raises `ConfigurationError` where it runs already."""
        with ExitStack() as stack:
            stack.enter_context(
                self.bridge.rehearsing(
                    self._journal,
                    self.clock,
                    self._providers,
                    self._failures,
                    self._providers.lend(),
                )
            )
            for subscriber in self.bridge.bus.subscribers:
                function: object = subscriber.function
                if isinstance(function, Webhook):
                    stack.enter_context(function.posting_to(self._providers.take_post))
            stack.enter_context(whole_reprs())
            await self.bridge.__aenter__()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        """Deliver the remaining events, stop the bridge, and raise what a subscriber raised."""
        with self._stack:
            try:
                if error is None:
                    await self.deliver()
            finally:
                await self.bridge.__aexit__(kind, error, traceback)

    # --- what goes out -------------------------------------------------------------------------

    @property
    def sent(self) -> list[Content]:
        """Return the contents that a provider has taken, in order."""
        return [message.content for message in self._providers.sent]

    @property
    def messages(self) -> list[Message]:
        """Return the same as whole messages, with their recipients."""
        return list(self._providers.sent)

    @property
    def posted(self) -> list[Any]:
        """Return what webhook subscribers posted: CloudEvents, as JSON."""
        return list(self._providers.posted)

    # --- what a provider brings ----------------------------------------------------------------

    async def say(
        self,
        content: str | Said,
        /,
        *,
        user: str = USER,
        name: str | None = None,
        adapter: str | None = None,
        **fields: object,
    ) -> None:
        """Let a user, by their phone, write to the business: a text, a `Location`, a `Media`.

        `name` is the user's, which comes where the provider's callbacks tell names; RCS's do not.
        `adapter` names the one whose provider brings it, by default the first that can. `fields`
        are those of the message (`forwarded="once"`). Raises ValueError where its callbacks cannot
        tell one of them, or a part of the content.
        """
        said = Text(text=content) if isinstance(content, str) else content
        await self._bring(said, _User(user, name), adapter, fields)

    async def press(
        self,
        option: str,
        /,
        *,
        title: str | None = None,
        user: str = USER,
        name: str | None = None,
        adapter: str | None = None,
        **fields: object,
    ) -> None:
        """Let a user pick an option by its id; otherwise as `say`.

        Without a `title`, the option is one of those that were sent. Raises LookupError where it
        is not.
        """
        title = self._title_of(option) if title is None else title
        choice = Choice(source=ChoiceSource.BUTTON, id=option, title=title)
        await self._bring(choice, _User(user, name), adapter, fields)

    def _title_of(self, option: str) -> str:
        offered = {each.id: each.title for content in self.sent for each in _options(content)}
        if option not in offered:
            raise LookupError(
                f"nothing that was sent has the option {option!r}, but {sorted(offered)}; "
                "give its title to press one that was sent before"
            )
        return offered[option]

    async def trigger(self, *samples: str, **fields: object) -> None:
        """Let the samples of these names arrive in turn, as `bridge trigger` posts them.

        `fields` are those of each event, as for `sample`.
        """
        for name in samples:
            found = find(name, self.bridge.adapters)
            await self.bridge.receive(found.name, found.made(fields, self.clock.now()))
        await self.deliver()

    async def publish(self, *events: Event) -> None:
        """Deliver events that were made by hand or by `sample`."""
        await self._journal.append(events)
        await self.deliver()

    async def _bring(
        self, content: Said, user: _User, adapter: str | None, fields: Mapping[str, object]
    ) -> None:
        name, source = self._chosen(adapter)
        await self.bridge.receive(name, self._callback(name, source, content, user, fields))
        await self.deliver()

    def _callback(
        self,
        name: str,
        adapter: Source,
        content: Said,
        user: _User,
        fields: Mapping[str, object],
    ) -> Callback:
        """Return what the simulated provider sends, or else a sample of the same kind."""
        now = self.clock.now()
        simulation = self._providers.simulation(name)
        if simulation is not None:
            with suppress(LookupError):  # nobody to write to is configured
                body = named(adapter, simulation.say(user.phone, content, now), user.name, now)
                return signed(adapter, rewritten(adapter, body, fields, now), now)
        told = {each.name: getattr(content, each.name) for each in attrs.fields(type(content))}
        found = sample_of(content, name, adapter)
        wanted = {key: value for key, value in told.items() if type(value) in (str, int, float)}
        return found.made({**wanted, "phone": user.phone, **fields}, now, user.name)

    def _chosen(self, name: str | None) -> tuple[str, Source]:
        for each, adapter in self.bridge.adapters.items():
            if name in (None, each) and isinstance(adapter, SampleSource):
                return each, cast("Source", adapter)
        wanted = "no adapter is configured" if name is None else f"there is no adapter {name!r}"
        raise LookupError(f"{wanted} that brings samples; use publish()")

    # --- time ------------------------------------------------------------------------------------

    async def sleep(self, time: float | str) -> None:
        """Move the time by so many seconds, or by a duration such as "1h".

        Timers that become due on the way run in their turn: retries, what waits for a fuller
        account.
        """
        given = seconds(time) if isinstance(time, str) else time
        if given is None:
            raise ConfigurationError(f"expected seconds or a duration such as '1h', found {time!r}")
        until = self.clock.time() + given
        await self._caught_up()
        while self.clock.move(until):
            await self._caught_up()
        await self.deliver()

    async def deliver(self) -> None:
        """Return once all events are delivered; raise what a subscriber raised.

        Messages that wait for a fuller account do not wait any longer.
        """
        await self._caught_up()
        while (due := self._journal.settles_at) is not None:
            self.clock.move(due)
            await self._caught_up()
        self._failures.raise_all()

    async def _caught_up(self) -> None:
        await self.bridge.caught_up()
        while self._providers.arriving:
            name, body = self._providers.arriving.popleft()
            _, adapter = self._chosen(name)
            await self.bridge.receive(name, signed(adapter, body, self.clock.now()))
            await self.bridge.caught_up()


def _options(content: Any) -> Iterator[Option]:  # noqa: ANN401 - whatever a field holds
    """Yield every option in a content, however deep."""
    if isinstance(content, Option):
        yield content
    elif isinstance(content, tuple):
        for each in content:
            yield from _options(each)
    elif attrs.has(type(content)):
        for field in attrs.fields(type(content)):
            yield from _options(getattr(content, field.name))


@final
class _Failures(Observer):
    """Collects what subscribers raise, and not what the outbox puts off."""

    def __init__(self) -> None:
        self._errors: list[BaseException] = []

    def attempt(self, _: AttemptDetails, /) -> Around:
        return After(self._ended)

    def _ended(self, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, Later):
            self._errors.append(error)

    def raise_all(self) -> None:
        errors, self._errors = self._errors, []
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup("several subscribers failed", errors)
