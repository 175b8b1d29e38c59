"""Observers see what happens, in its order, and hurt nobody, whatever they do."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import orjson
import pytest

from bridge.adapter import Callback
from bridge.errors import ConfigurationError, NotAuthentic
from bridge.journal.memory import MemoryJournal
from bridge.journal.protocol import Appended
from bridge.model import Message
from bridge.observer import Observer, Observers, Result
from bridge.runtime import Bridge
from bridge.settings import DeliverySettings
from tests.bridge.fakes import TOKEN, Plain

HOOKS = ("callback", "verify", "parse", "append", "attempt")


def callback(tail: str = TOKEN) -> Callback:
    body = orjson.dumps({"messages": [{"id": "1", "text": "hello"}]})
    return Callback(body=body, tail=tail, received_at=datetime.now(UTC))


async def run(*observers: Observer, function=None, tail: str = TOKEN) -> list[str]:
    """Let a bridge take a callback; return the ids that its subscriber `crm` got."""
    got: list[str] = []

    async def crm(message: Message) -> None:
        got.append(message.message_id)

    bridge = Bridge(
        journal=MemoryJournal(), policy=DeliverySettings(tries=2, first_delay=0.0, jitter=0.0)
    )
    bridge.add_adapter("plain", Plain())
    bridge.on(Message, name="crm")(function or crm)
    for observer in observers:
        bridge.observe(observer)
    async with bridge:
        await bridge.receive("plain", callback(tail))
    return got


class Noting(Observer):
    """Notes when each context is entered and left, with what, and what is known then."""

    def __init__(self) -> None:
        self.notes: list[tuple] = []

    @contextmanager
    def _note(self, hook, details):
        self.notes.append(("enter", hook))
        try:
            yield
        except BaseException as error:
            self.notes.append(("leave", hook, type(error).__name__, details))
            raise
        self.notes.append(("leave", hook, None, details))


for _hook in HOOKS:
    setattr(Noting, _hook, lambda self, details, hook=_hook: self._note(hook, details))


async def test_a_callback_is_watched_from_its_first_step_to_its_last():
    """Each step is entered within the callback and left before the next; its result is known."""
    noting = Noting()
    await run(noting)
    taken = [note for note in noting.notes if note[1] != "attempt"]
    assert [note[:2] for note in taken] == [
        ("enter", "callback"),
        *((end, step) for step in ("verify", "parse", "append") for end in ("enter", "leave")),
        ("leave", "callback"),
    ]
    assert all(note[2] is None for note in taken if note[0] == "leave")
    (appended,) = [note[3] for note in taken if note[:2] == ("leave", "append")]
    assert [event.message_id for event in appended.events] == ["1"]
    assert appended.appended == Appended(published=1, duplicates=0)


async def test_each_attempt_is_watched_with_what_became_of_it():
    """A try that fails and the last one that follows are told apart, and see the exception."""

    async def crm(message: Message) -> None:
        raise ValueError

    noting = Noting()
    await run(noting, function=crm)
    left = [note for note in noting.notes if note[:2] == ("leave", "attempt")]
    seen = [(error, details.tries, details.result) for _, _, error, details in left]
    assert seen == [("ValueError", 0, Result.FAILED), ("ValueError", 1, Result.DEAD)]


async def test_a_refusal_passes_through_those_who_watch():
    """A callback that is not authentic is one to its observers and to its sender alike."""
    noting = Noting()
    with pytest.raises(NotAuthentic):
        await run(noting, tail="wrong")
    left = [note[:3] for note in noting.notes if note[0] == "leave"]
    assert left == [("leave", step, "NotAuthentic") for step in ("verify", "callback")]


async def test_observers_are_left_in_reverse():
    """Who was added first is entered first and left last."""
    order: list[str] = []

    class Named(Observer):
        def __init__(self, name: str) -> None:
            self.name = name

        @contextmanager
        def append(self, details):
            order.append(f"enter {self.name}")
            yield
            order.append(f"leave {self.name}")

    await run(Named("a"), Named("b"), Named("c"))
    assert order == ["enter a", "enter b", "enter c", "leave c", "leave b", "leave a"]


class Bad(Observer):
    """Misbehaves in each hook: at once, on entering, or on leaving."""

    def __init__(self, when: str, error: type[BaseException]) -> None:
        self._when = when
        self._error = error

    def _hook(self, details):
        if self._when == "at once":
            raise self._error(details)
        return self._around(details)

    @contextmanager
    def _around(self, details):
        if self._when == "on entering":
            raise self._error(details)
        try:
            yield
        finally:
            if self._when == "on leaving":
                raise self._error(details)

    callback = verify = parse = append = attempt = _hook


class Swallowing(Observer):
    """Lets no exception pass, as far as it is up to it."""

    @contextmanager
    def _around(self, details):
        with suppress(BaseException):
            yield

    callback = verify = parse = append = attempt = _around


@pytest.mark.parametrize("when", ["at once", "on entering", "on leaving"])
@pytest.mark.parametrize("error", [ValueError, StopIteration, SystemExit, asyncio.CancelledError])
async def test_an_observer_that_raises_hurts_nobody(when, error, caplog):
    """The callback is taken and delivered, others watch, and one line for each hook says it."""
    noting = Noting()
    with caplog.at_level(logging.ERROR):
        assert await run(Bad(when, error), noting, Bad(when, error)) == ["1"]
    assert [note[1] for note in noting.notes if note[0] == "leave"] == [
        *("verify", "parse", "append", "callback"),
        "attempt",
    ]
    failures = [record for record in caplog.records if record.message == "an observer failed"]
    assert failures
    assert "hello" not in caplog.text


async def test_an_observer_cannot_swallow_a_refusal():
    """What the bridge raises reaches its caller through an observer that catches everything."""
    with pytest.raises(NotAuthentic):
        await run(Swallowing(), tail="wrong")


async def test_an_observer_cannot_swallow_a_failure():
    """A subscriber that failed is tried again although an observer catches everything."""
    tries = 0

    async def crm(message: Message) -> None:
        nonlocal tries
        tries += 1
        raise ValueError

    await run(Swallowing(), function=crm)
    assert tries == 2


async def test_an_observer_may_run_as_long_as_the_bridge():
    """One that is an async context manager is entered before the journal, and left after it."""
    order: list[str] = []

    class Running(Observer):
        async def __aenter__(self):
            order.append("begins")

        async def __aexit__(self, *_: object) -> None:
            order.append("ends")

    class Noticing(MemoryJournal):
        async def __aenter__(self):
            order.append("opens")
            return await super().__aenter__()

        async def __aexit__(self, *about: object) -> None:
            await super().__aexit__(*about)
            order.append("closes")

    bridge = Bridge(journal=Noticing())
    bridge.observe(Running())
    async with bridge:
        with pytest.raises(ConfigurationError, match="before the start"):
            bridge.observe(Running())
    assert order == ["begins", "opens", "closes", "ends"]


def test_who_watches_one_thing_is_asked_for_nothing_else():
    """Only the hooks that an observer implements are called, so that the others cost nothing."""

    class One(Observer):
        def append(self, details):
            raise AssertionError

    observers = Observers(One())
    with observers.callback(None), observers.verify(None), observers.attempt(None):
        pass


@pytest.mark.parametrize("observer", [object(), None, Noting, print])
async def test_what_is_no_observer_is_refused(observer):
    """A class in the place of its object, or something else, is told where it is given."""
    bridge = Bridge(journal=MemoryJournal())
    with pytest.raises(ConfigurationError, match="an observer is an object of a class made from"):
        bridge.observe(observer)
    async with bridge:
        pass
